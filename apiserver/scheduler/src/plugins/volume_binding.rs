//! VolumeBinding: claims, and the volumes that they have or could have on a node.

use super::Counts;
use super::volumes::no_claim;
use crate::amounts::units;
use crate::cluster::Cluster;
use crate::cycle::Cycle;
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Refusal, Remedy};
use crate::pod::PodInfo;
use crate::selector::{Selector, labels};
use crate::storage::{class_of_claim, class_of_volume, is_fully_bound, selected_node, volume_name, waits_for_consumer};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use skiff_client::affinity::any_term_holds;
use std::collections::BTreeSet;
use std::sync::Arc;

type Shared = Arc<PersistentVolumeClaim>;

/// The pod's claims.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    bound: Vec<Shared>,
    /// Without a volume until the pod has a node; the smallest first.
    waiting: Vec<Shared>,
}

/// What is to be written when the pod goes to a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct OnNode {
    /// Volumes that are there, with the claims that get them.
    pub(crate) bindings: Vec<(Arc<PersistentVolume>, Shared)>,
    /// Claims that get volumes made for them.
    pub(crate) provisions: Vec<Shared>,
}

impl OnNode {
    pub(crate) fn is_nothing(&self) -> bool {
        self.bindings.is_empty() && self.provisions.is_empty()
    }
}

fn refuse(reason: String) -> Refusal {
    Refusal::lasting(Plugin::VolumeBinding, reason)
}

pub(super) fn before(cycle: &Cycle<'_>, counts: &mut Counts) -> Result<(), Refusal> {
    let storage = &cycle.cluster.storage;
    for named in cycle.pod.claims() {
        let claim = storage.claim(&cycle.pod.namespace, &named.name);
        let Some(claim) = claim else {
            let waits = "waiting for ephemeral volume controller to create the persistentvolumeclaim";
            return Err(match named.ephemeral {
                true => refuse(format!("{waits} \"{}\"", named.name)),
                false => no_claim(Plugin::VolumeBinding, &named.name),
            });
        };
        check(claim, &named.name, named.ephemeral.then_some(cycle.pod))?;
        if is_fully_bound(claim) {
            counts.volumes.bound.push(Arc::clone(claim));
            continue;
        }
        // Of a class that is not there nothing says that it waits.
        let waits = storage.class(class_of_claim(claim)).is_some_and(waits_for_consumer);
        if !waits || !volume_name(claim).is_empty() {
            return Err(refuse("pod has unbound immediate PersistentVolumeClaims".to_owned()));
        }
        counts.volumes.waiting.push(Arc::clone(claim));
    }
    counts.volumes.waiting.sort_by_key(|claim| bytes(claim));
    Ok(())
}

fn check(claim: &PersistentVolumeClaim, name: &str, owner: Option<&PodInfo>) -> Result<(), Refusal> {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase == Some("Lost") {
        let volume = volume_name(claim);
        let reason = format!("persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\"");
        return Err(refuse(reason));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(refuse(format!("persistentvolumeclaim \"{name}\" is being deleted")));
    }
    let Some(pod) = owner else { return Ok(()) };
    let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
    let own = owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == pod.uid);
    let (namespace, pod) = (&pod.namespace, &pod.name);
    let reason = || format!("PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)");
    if own { Ok(()) } else { Err(refuse(reason())) }
}

fn bytes(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    resources.and_then(|resources| resources.requests.as_ref()?.get("storage")).map_or(0, units)
}

pub(super) fn filter(cycle: &Cycle<'_>, counts: &Counts, node: &NodeInfo) -> Option<Refusal> {
    on_node(cycle.cluster, counts, node).err()
}

/// What the pod's claims get on a node.
///
/// # Errors
/// They cannot get what they need there.
pub(crate) fn on_node(cluster: &Cluster, counts: &Counts, node: &NodeInfo) -> Result<OnNode, Refusal> {
    let claims = &counts.volumes;
    let mut refusal = Refusal { plugin: Plugin::VolumeBinding, remedy: Remedy::None, reasons: Vec::new() };
    for claim in &claims.bound {
        match cluster.storage.volume(volume_name(claim)) {
            None => {
                let reason = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
                refusal.reasons.push(reason.into());
                break;
            }
            Some(volume) if !is_reachable(volume, &node.node) => {
                refusal.reasons.push("node(s) didn't match PersistentVolume's node affinity".into());
                break;
            }
            Some(_) => {}
        }
    }
    let found = find(cluster, &claims.waiting, node);
    match found {
        Err(reason) => refusal.reasons.push(reason.into()),
        Ok(on_node) if refusal.reasons.is_empty() => return Ok(on_node),
        Ok(_) => {}
    }
    // In the order in which kube-scheduler names them.
    refusal.reasons.sort_by_key(|reason| reason.contains("non-existent"));
    Err(refusal)
}

const NONE_TO_BIND: &str = "node(s) didn't find available persistent volumes to bind";

fn find(cluster: &Cluster, waiting: &[Shared], node: &NodeInfo) -> Result<OnNode, &'static str> {
    let (mut on_node, mut taken) = (OnNode::default(), BTreeSet::new());
    let mut to_make = Vec::new();
    for claim in waiting {
        match selected_node(claim) {
            Some(name) if name != node.name => return Err(NONE_TO_BIND),
            Some(_) => to_make.push(claim),
            None => match best(cluster, claim, &node.node, &taken) {
                Some(volume) => {
                    taken.insert(volume.metadata.name.clone());
                    on_node.bindings.push((volume, Arc::clone(claim)));
                }
                None => to_make.push(claim),
            },
        }
    }
    for claim in to_make {
        let class = cluster.storage.class(class_of_claim(claim)).ok_or(NONE_TO_BIND)?;
        let makes = !matches!(class.provisioner.as_str(), "" | "kubernetes.io/no-provisioner");
        if !makes || !is_allowed(class, &node.node) {
            return Err(NONE_TO_BIND);
        }
        if !has_capacity(cluster, class, claim, &node.node) {
            return Err("node(s) did not have enough free storage");
        }
        on_node.provisions.push(Arc::clone(claim));
    }
    Ok(on_node)
}

/// Whether a volume can be used on a node.
fn is_reachable(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    affinity.is_none_or(|required| any_term_holds(&required.node_selector_terms, node))
}

/// The volume that is made for the claim, or else the smallest that would do.
fn best(
    cluster: &Cluster,
    claim: &PersistentVolumeClaim,
    node: &Node,
    taken: &BTreeSet<Option<String>>,
) -> Option<Arc<PersistentVolume>> {
    let class = class_of_claim(claim);
    let mut smallest: Option<(i64, &Arc<PersistentVolume>)> = None;
    for volume in cluster.storage.volumes_of(class) {
        let bound = is_bound_to(volume, claim);
        let has_ref = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some());
        let size = capacity(volume);
        if taken.contains(&volume.metadata.name) || has_ref && !bound || size < bytes(claim) || !is_alike(volume, claim)
        {
            continue;
        }
        let reachable = is_reachable(volume, node);
        if bound {
            return reachable.then(|| Arc::clone(volume));
        }
        if reachable && is_free(volume, claim, class) && smallest.is_none_or(|(least, _)| size < least) {
            smallest = Some((size, volume));
        }
    }
    smallest.map(|(_, volume)| Arc::clone(volume))
}

fn capacity(volume: &PersistentVolume) -> i64 {
    volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage")).map_or(0, units)
}

fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else { return false };
    reference.name == claim.metadata.name
        && reference.namespace == claim.metadata.namespace
        && reference.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref())
}

/// The same mode and the same attributes, and it stays.
fn is_alike(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (Some(volume_spec), Some(claim_spec)) = (&volume.spec, &claim.spec) else { return false };
    let mode = |mode: &Option<String>| mode.as_deref() == Some("Block");
    let attributes = |class: &Option<String>| class.clone().unwrap_or_default();
    mode(&volume_spec.volume_mode) == mode(&claim_spec.volume_mode)
        && attributes(&volume_spec.volume_attributes_class_name) == attributes(&claim_spec.volume_attributes_class_name)
        && volume.metadata.deletion_timestamp.is_none()
}

fn is_free(volume: &PersistentVolume, claim: &PersistentVolumeClaim, class: &str) -> bool {
    let available = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Available");
    let spec = claim.spec.as_ref();
    let selector = spec.and_then(|spec| spec.selector.as_ref());
    let chosen = selector.is_none_or(|selector| Selector::of(Some(selector)).matches(labels(&volume.metadata)));
    let modes = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let wanted = spec.and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    available && chosen && class_of_volume(volume) == class && wanted.iter().all(|mode| modes.contains(mode))
}

/// Whether volumes of a class can be made for a node.
fn is_allowed(class: &StorageClass, node: &Node) -> bool {
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    let own = labels(&node.metadata);
    terms.is_empty()
        || terms.iter().any(|term| {
            let all = term.match_label_expressions.iter().flatten();
            all.clone().next().is_some()
                && all.clone().all(|one| own.get(&one.key).is_some_and(|value| one.values.contains(value)))
        })
}

/// A driver that publishes its capacity has to have enough where the node is.
fn has_capacity(cluster: &Cluster, class: &StorageClass, claim: &PersistentVolumeClaim, node: &Node) -> bool {
    let publishes = cluster.storage.driver(&class.provisioner).is_some_and(|it| it.spec.storage_capacity == Some(true));
    let wanted = bytes(claim);
    !publishes
        || wanted == 0
        || cluster.storage.capacities.values().any(|one| {
            let size = one.maximum_volume_size.as_ref().or(one.capacity.as_ref());
            Some(&one.storage_class_name) == class.metadata.name.as_ref()
                && size.is_some_and(|size| units(size) >= wanted)
                && Selector::of(one.node_topology.as_ref()).matches(labels(&node.metadata))
        })
}
