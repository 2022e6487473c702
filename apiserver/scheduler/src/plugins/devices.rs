//! DynamicResources: claims of devices, and what they have or could have on a node.

use super::Counts;
use crate::cluster::Cluster;
use crate::cycle::Cycle;
use crate::devices::{Given, RESERVED_MAX, is_reserved_for, reservations};
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Refusal};
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::NodeSelectorTerm;
use skiff_client::affinity::any_term_holds;
use skiff_client::loose::ResourceClaim;
use std::sync::Arc;

/// The pod's claims.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    pub(crate) allocated: Vec<Arc<ResourceClaim>>,
    waiting: Vec<Arc<ResourceClaim>>,
}

fn refuse(reason: impl Into<String>) -> Refusal {
    Refusal::lasting(Plugin::DynamicResources, reason.into())
}

pub(super) fn before(cycle: &Cycle<'_>, counts: &mut Counts) -> Result<(), Refusal> {
    let (pod, devices) = (cycle.pod, &cycle.cluster.devices);
    for (name, own) in pod.device_claims() {
        let Some(name) = name.map_err(refuse)? else { continue };
        let found = devices.claim(&pod.namespace, &name);
        let claim = found.ok_or_else(|| refuse(format!("resourceclaim.resource.k8s.io \"{name}\" not found")))?;
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(refuse(format!("resourceclaim \"{name}\" is being deleted")));
        }
        if own && !is_of(claim, pod) {
            let (namespace, pod) = (&pod.namespace, &pod.name);
            let why = "(pod is not owner)";
            return Err(refuse(format!(
                "ResourceClaim {namespace}/{name} was not created for pod {namespace}/{pod} {why}"
            )));
        }
        if claim.fields["status"]["allocation"].is_null() {
            if let Some((request, class)) = devices.missing_class(claim) {
                return Err(refuse(format!("request {request}: device class {class} does not exist")));
            }
            counts.devices.waiting.push(Arc::clone(claim));
        } else if !is_reserved_for(claim, &pod.uid) && reservations(claim) >= RESERVED_MAX {
            return Err(refuse("resourceclaim in use"));
        } else {
            counts.devices.allocated.push(Arc::clone(claim));
        }
    }
    Ok(())
}

fn is_of(claim: &ResourceClaim, pod: &PodInfo) -> bool {
    let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == pod.uid)
}

pub(super) fn filter(cycle: &Cycle<'_>, counts: &Counts, node: &NodeInfo) -> Option<Refusal> {
    devices_on(cycle.cluster, counts, node).err()
}

/// What the pod's claims get on a node.
///
/// # Errors
/// They cannot get what they need there.
pub(crate) fn devices_on(cluster: &Cluster, counts: &Counts, node: &NodeInfo) -> Result<Vec<Given>, Refusal> {
    let claims = &counts.devices;
    let usable = |claim: &Arc<ResourceClaim>| {
        let terms = claim.fields["status"]["allocation"]["nodeSelector"].get("nodeSelectorTerms").cloned();
        let terms: Option<Vec<NodeSelectorTerm>> = terms.and_then(|terms| serde_json::from_value(terms).ok());
        terms.is_none_or(|terms| any_term_holds(&terms, &node.node))
    };
    if !claims.allocated.iter().all(usable) {
        return Err(refuse("resourceclaim not available on the node"));
    }
    if claims.waiting.is_empty() {
        return Ok(Vec::new());
    }
    match cluster.devices.allocate(&claims.waiting, node) {
        Ok(Some(given)) => Ok(given),
        Ok(None) => Err(refuse("cannot allocate all claims")),
        Err(why) => Err(refuse(why)),
    }
}
