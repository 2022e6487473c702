//! NodeRestriction: a kubelet writes its own node, and the pods, leases and requests that are its node's.
//!
//! The authorizer has seen which resource is written; here the object is seen.

mod pod; // pods that kubelets make, and what they say of pods

use super::{Admitted, Attributes, Operation, Plugin, known, later};
use crate::auth::user;
use crate::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use skiff_authz::node_name;
use std::collections::BTreeSet;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "NodeRestriction",
    handles: &[Operation::Create, Operation::Update, Operation::Delete],
    mutate: Some(admit),
    validate: None,
};

const LEASES: &str = "kube-node-lease";
/// Who signs certificates of kubelets.
const KUBELET_SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
/// Labels of Kubernetes' own that kubelets say of their nodes.
const LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// Domains of Kubernetes' own in which kubelets may say whatever they like.
const LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The domain in which they may say nothing.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// What a plugin sees, and whose kubelet asks.
struct Asked<'a> {
    node: &'a str,
    seen: &'a Attributes<'a>,
}

impl Asked<'_> {
    fn no(&self, why: &str) -> Status {
        self.seen.forbidden(why)
    }

    fn require(&self, holds: bool, why: impl FnOnce() -> String) -> Result<(), Status> {
        if holds { Ok(()) } else { Err(self.no(&why())) }
    }
}

fn admit<'a>(seen: &'a Attributes<'a>, object: &'a mut Value) -> Admitted<'a> {
    let user = user(&seen.request.who);
    let Some(node) = node_name(&user) else { return known(Ok(())) };
    later(async move {
        let asked = Asked { node, seen };
        if node.is_empty() {
            return Err(asked.no(&format!("could not determine node from user {:?}", user.name)));
        }
        let (resource, part) = (&seen.request.resource, seen.request.part.as_str());
        match (&*resource.group, &*resource.plural, part) {
            ("", "pods", _) => pod::admit(&asked, part, object).await,
            ("", "nodes", _) => own_node(&asked, object),
            ("", "persistentvolumeclaims", "status") => claim_status(&asked, object),
            ("", "persistentvolumeclaims", _) => Err(asked.no("may only update PVC status")),
            ("", "serviceaccounts", "token") => pod::token(&asked, object).await,
            ("coordination.k8s.io", "leases", _) => lease(&asked),
            ("storage.k8s.io", "csinodes", _) => asked.require(seen.name == node, || {
                "can only access CSINode with the same name as the requesting node".to_owned()
            }),
            ("resource.k8s.io", "resourceslices", _) => slice(&asked, object),
            ("certificates.k8s.io", "certificatesigningrequests", "") => request(&asked, object),
            _ => Ok(()),
        }
    })
}

fn lease(asked: &Asked<'_>) -> Result<(), Status> {
    asked.require(asked.seen.request.namespace == LEASES, || {
        format!("can only access leases in the {LEASES:?} system namespace")
    })?;
    asked.require(asked.seen.name == asked.node, || {
        "can only access node lease with the same name as the requesting node".to_owned()
    })
}

fn slice(asked: &Asked<'_>, object: &Value) -> Result<(), Status> {
    let (slice, verb) = match asked.seen.operation {
        Operation::Create => (object, "create"),
        Operation::Delete => (asked.seen.old.unwrap_or(&Value::Null), "delete"),
        Operation::Update | Operation::Connect => return Ok(()),
    };
    asked.require(slice["spec"]["nodeName"] == asked.node, || {
        format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")
    })
}

/// A certificate for a kubelet is asked for by this kubelet.
fn request(asked: &Asked<'_>, object: &Value) -> Result<(), Status> {
    let spec = &object["spec"];
    let of_kubelets = spec["signerName"].as_str().is_some_and(|signer| KUBELET_SIGNERS.contains(&signer));
    if asked.seen.operation != Operation::Create || !of_kubelets {
        return Ok(());
    }
    let name = common_name(&spec["request"])
        .ok_or_else(|| asked.no("unable to parse csr: PEM block type must be CERTIFICATE REQUEST"))?;
    let own = format!("system:node:{}", asked.node);
    asked.require(name == own, || format!("can only create a node CSR with CN={own}"))
}

fn common_name(request: &Value) -> Option<String> {
    let bytes = STANDARD.decode(request.as_str()?).ok()?;
    let (_, block) = parse_x509_pem(&bytes).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).ok()?;
    let mut names = request.certification_request_info.subject.iter_common_name();
    Some(names.next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned())
}

/// How large the volume has become is for the kubelet to say, and nothing else.
fn claim_status(asked: &Asked<'_>, object: &Value) -> Result<(), Status> {
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for (place, fields) in [
            ("metadata", &["resourceVersion", "managedFields"][..]),
            ("status", &["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"][..]),
        ] {
            if let Some(map) = claim[place].as_object_mut() {
                map.retain(|field, _| !fields.contains(&field.as_str()));
            }
        }
        claim
    };
    let old = asked.seen.old.unwrap_or(&Value::Null);
    asked.require(asked.seen.operation == Operation::Update && rest(old) == rest(object), || {
        format!(
            "node {:?} is not allowed to update fields other than status.quantity and status.conditions",
            asked.node
        )
    })
}

fn own_node(asked: &Asked<'_>, object: &Value) -> Result<(), Status> {
    let (node, name) = (asked.node, asked.seen.name);
    asked.require(name == node, || format!("node {node:?} is not allowed to modify node {name:?}"))?;
    let config = &object["spec"]["configSource"];
    match asked.seen.operation {
        Operation::Create => {
            asked.require(config.is_null(), || {
                format!("node {node:?} is not allowed to create pods with a non-nil configSource")
            })?;
            let labels = forbidden_labels(&object["metadata"]["labels"], &Value::Null);
            asked.require(labels.is_empty(), || {
                format!("node {node:?} is not allowed to set the following labels: {labels}")
            })
        }
        Operation::Update => changed_node(asked, asked.seen.old.unwrap_or(&Value::Null), object),
        Operation::Delete | Operation::Connect => Ok(()),
    }
}

/// By its taints, owners and labels a node could draw pods to itself that are not meant for it.
fn changed_node(asked: &Asked<'_>, old: &Value, new: &Value) -> Result<(), Status> {
    let node = asked.node;
    let empty = json!([]);
    let list = |value: &Value| if value.is_null() { empty.clone() } else { value.clone() };
    let config = &new["spec"]["configSource"];
    asked.require(config.is_null() || *config == old["spec"]["configSource"], || {
        format!("node {node:?} is not allowed to update configSource to a new non-nil configSource")
    })?;
    asked.require(list(&new["spec"]["taints"]) == list(&old["spec"]["taints"]), || {
        format!("node {node:?} is not allowed to modify taints")
    })?;
    let owners = |node: &Value| list(&node["metadata"]["ownerReferences"]);
    asked.require(owners(new) == owners(old), || format!("node {node:?} is not allowed to modify ownerReferences"))?;
    let labels = forbidden_labels(&new["metadata"]["labels"], &old["metadata"]["labels"]);
    asked.require(labels.is_empty(), || format!("is not allowed to modify labels: {labels}"))
}

/// The labels that differ and are not for kubelets to say, with commas.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let keys = |labels: &Value| -> Vec<String> {
        labels.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let all: BTreeSet<String> = keys(new).into_iter().chain(keys(old)).collect();
    let forbidden = all.into_iter().filter(|key| new[key] != old[key] && !is_for_kubelets(key));
    forbidden.collect::<Vec<_>>().join(", ")
}

fn is_for_kubelets(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let is_in = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    if is_in(RESTRICTED) {
        return false;
    }
    let of_kubernetes = is_in("kubernetes.io") || is_in("k8s.io");
    !of_kubernetes || LABELS.contains(&label) || LABEL_DOMAINS.into_iter().any(is_in)
}

#[cfg(test)]
mod tests;
