//! Binding: a pod gets its node, once.

use crate::registry::object::{is_terminating, meta, now};
use crate::registry::{Registry, Run, Target};
use crate::status::Status;
use serde_json::{Value, json};
use skiff_schema::Decoded;

/// Puts the pod at `target` on the node that `binding` names.
pub(crate) async fn bind(registry: &Registry, target: &Target<'_>, binding: &Value, run: Run) -> Result<(), Status> {
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    if node.is_empty() || !matches!(kind, "" | "Node") {
        return Err(Status::unprocessable("target: a binding names the kind Node and a node's name"));
    }
    // The name of the subresource tells the registry that both the node and the condition may change.
    registry.update(target, "binding", run, |pod| bound(target, pod, binding, node)).await.map(drop)
}

fn bound(target: &Target<'_>, pod: &Value, binding: &Value, node: &str) -> Result<Decoded, Status> {
    let conflict = |why: String| Err(Status::conflict(target.resource, target.name, &why));
    let uid = meta(binding, "uid");
    if !uid.is_empty() && uid != meta(pod, "uid") {
        return conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta(pod, "uid")
        ));
    }
    if is_terminating(pod) {
        return conflict(format!("pod {} is being deleted, cannot be assigned to a host", target.name));
    }
    let present = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !present.is_empty() {
        return conflict(format!("pod {} is already assigned to node {present:?}", target.name));
    }
    let gates = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    if gates {
        return conflict(format!("pod {} has non-empty .spec.schedulingGates", target.name));
    }
    let mut next = pod.clone();
    next["spec"]["nodeName"] = node.into();
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    conditions.push(json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now()}));
    next["status"]["conditions"] = conditions.into();
    Ok(Decoded { object: next, warnings: Vec::new() })
}
