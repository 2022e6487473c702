//! Pods: a kubelet makes mirrors of its own files only, and speaks of and for pods of its own node only.

use super::super::built_in;
use super::{Asked, Operation};
use crate::registry::Target;
use crate::status::Status;
use serde_json::Value;

/// Marks a pod that a kubelet has made of a file.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Sources of volumes that name an object of the API, with what a refusal calls them.
const REFERENCES: [(&str, &str); 7] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];
/// The same of sources of projected volumes.
const PROJECTED: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];
/// Volumes that name a secret by `secretRef`.
const SECRET_VOLUMES: [&str; 7] = ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"];

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[field].as_array().into_iter().flatten()
}

pub(super) async fn admit(asked: &Asked<'_>, part: &str, object: &Value) -> Result<(), Status> {
    let (node, old) = (asked.node, asked.seen.old.unwrap_or(&Value::Null));
    let is_own = old["spec"]["nodeName"] == node;
    match (part, asked.seen.operation) {
        ("", Operation::Create) => create(asked, object).await,
        ("", Operation::Delete) => {
            asked.require(is_own, || format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        ("", Operation::Update) => {
            Err(asked
                .no(&format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods")))
        }
        ("status", Operation::Update) => {
            asked.require(is_own, || {
                format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself")
            })?;
            status(asked, old, object)
        }
        ("eviction", Operation::Create) => {
            asked.require(is_own, || format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        ("status" | "eviction", _) => Err(asked.no("unexpected operation")),
        _ => Err(asked.no(&format!("unexpected pod subresource {part:?}, only 'status' and 'eviction' are allowed"))),
    }
}

fn status(asked: &Asked<'_>, old: &Value, new: &Value) -> Result<(), Status> {
    let node = asked.node;
    let same = |value: fn(&Value) -> &Value| {
        let is_empty = |value: &Value| {
            value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
        };
        let some = |object| Some(value(object)).filter(|value| !value.is_null() && !is_empty(value));
        some(old) == some(new)
    };
    asked.require(same(|pod| &pod["metadata"]["labels"]), || {
        format!("node {node:?} cannot update labels through pod status")
    })?;
    asked.require(same(|pod| &pod["status"]["resourceClaimStatuses"]), || {
        format!("node {node:?} cannot update resource claim statues")
    })?;
    asked.require(same(|pod| &pod["status"]["extendedResourceClaimStatus"]), || {
        format!("node {node:?} cannot update extended resource claim status")
    })
}

async fn create(asked: &Asked<'_>, pod: &Value) -> Result<(), Status> {
    let node = asked.node;
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    asked.require(!metadata["annotations"][MIRROR].is_null(), || {
        format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods")
    })?;
    asked.require(spec["nodeName"] == node, || {
        format!("node {node:?} can only create pods with spec.nodeName set to itself")
    })?;
    let owners: Vec<&Value> = items(metadata, "ownerReferences").collect();
    let not_itself = || format!("node {node:?} can only create pods with an owner reference set to itself");
    asked.require(owners.len() < 2, || {
        format!("node {node:?} can only create pods with a single owner reference set to itself")
    })?;
    let Some(owner) = owners.first() else { return Err(asked.no(&not_itself())) };
    let is_itself = text(owner, "apiVersion") == "v1" && text(owner, "kind") == "Node" && text(owner, "name") == node;
    asked.require(is_itself, not_itself)?;
    asked.require(owner["controller"] == true, || {
        format!("node {node:?} can only create pods with a controller owner reference set to itself")
    })?;
    asked.require(owner["blockOwnerDeletion"] != true, || {
        format!("node {node:?} must not set blockOwnerDeletion on an owner reference")
    })?;
    let target = Target { resource: built_in("", "nodes")?, namespace: "", name: node };
    let stored = asked.seen.stored.get(target).await?;
    let (uid, said) = (text(&stored["metadata"], "uid"), text(owner, "uid"));
    asked.require(uid == said, || format!("node {node} UID mismatch: expected {said} got {uid}"))?;
    match reference(pod) {
        Some(what) => Err(asked.no(&format!("node {node:?} can not create pods that reference {what}"))),
        None => Ok(()),
    }
}

/// What of the API a pod refers to, if anything: its node could read that.
pub(super) fn reference(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    let containers =
        || ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| items(spec, list));
    let variables = |from: &str, key: &str| {
        containers().any(|container| {
            items(container, "envFrom").any(|one| !one[from].is_null())
                || items(container, "env").any(|one| !one["valueFrom"][key].is_null())
        })
    };
    if !text(spec, "serviceAccountName").is_empty() {
        return Some("serviceaccounts");
    }
    let volumes = || items(spec, "volumes");
    let by_volume = volumes().any(|volume| SECRET_VOLUMES.iter().any(|field| !volume[field]["secretRef"].is_null()));
    if items(spec, "imagePullSecrets").next().is_some() || variables("secretRef", "secretKeyRef") || by_volume {
        return Some("secrets");
    }
    if variables("configMapRef", "configMapKeyRef") {
        return Some("configmaps");
    }
    if items(spec, "resourceClaims").next().is_some() {
        return Some("resourceclaims");
    }
    let named = |value: &Value, names: &[(&'static str, &'static str)]| {
        names.iter().find(|(field, _)| !value[*field].is_null()).map(|(_, what)| *what)
    };
    volumes().find_map(|volume| {
        named(volume, &REFERENCES)
            .or_else(|| items(&volume["projected"], "sources").find_map(|source| named(source, &PROJECTED)))
    })
}

/// A token of an account is bound to a pod of the node that runs as this account.
pub(super) async fn token(asked: &Asked<'_>, request: &Value) -> Result<(), Status> {
    if asked.seen.operation != Operation::Create {
        return Ok(());
    }
    let (spec, bound) = (&request["spec"], &request["spec"]["boundObjectRef"]);
    let is_pod = text(bound, "apiVersion") == "v1" && text(bound, "kind") == "Pod" && !text(bound, "name").is_empty();
    asked.require(is_pod, || "node requested token not bound to a pod".to_owned())?;
    let uid = text(bound, "uid");
    asked.require(!uid.is_empty(), || "node requested token with a pod binding without a uid".to_owned())?;
    let namespace = asked.seen.request.namespace.as_str();
    let target = Target { resource: built_in("", "pods")?, namespace, name: text(bound, "name") };
    let pod = asked.seen.stored.get(target).await?;
    asked.require(text(&pod["metadata"], "uid") == uid, || {
        format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        )
    })?;
    asked.require(pod["spec"]["nodeName"] == asked.node, || {
        "node requested token bound to a pod scheduled on a different node".to_owned()
    })?;
    audience(asked, spec, &pod)
}

/// Only for whom the pod's own volumes want a token.
fn audience(asked: &Asked<'_>, spec: &Value, pod: &Value) -> Result<(), Status> {
    let audiences: Vec<&str> = items(spec, "audiences").filter_map(Value::as_str).collect();
    asked.require(audiences.len() < 2, || "node may only request 0 or 1 audiences".to_owned())?;
    let audience = audiences.first().copied().unwrap_or_default();
    let sources = items(&pod["spec"], "volumes").flat_map(|volume| items(&volume["projected"], "sources"));
    let mut tokens = sources.map(|source| &source["serviceAccountToken"]).filter(|token| !token.is_null());
    asked.require(tokens.any(|token| text(token, "audience") == audience), || {
        format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            asked.seen.request.who.user
        )
    })
}
