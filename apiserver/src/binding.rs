//! Binding: a pod gets its node, once.

use crate::registry::object::{is_terminating, meta, now};
use crate::registry::{Change, Owners, Registry, Target};
use crate::request::Request;
use crate::status::Status;
use serde_json::{Value, json};
use skiff_schema::Decoded;

/// Puts the pod that `request` names on the node that `binding` names.
pub(crate) async fn bind(registry: &Registry, request: &Request, binding: &Value) -> Result<(), Status> {
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    if node.is_empty() || !matches!(kind, "" | "Node") {
        return Err(Status::unprocessable("target: a binding names the kind Node and a node's name"));
    }
    // The node and the condition change, and nobody owns them by that.
    let change = Change::of_present(|pod| bound(&request.target(), pod, binding, node)).owned(Owners::Keep);
    registry.write(request, &change).await.map(drop)
}

/// The binding that `pod`, which is bound, has been given.
pub(crate) fn of(pod: &Value) -> Value {
    let named = |field: &str| meta(pod, field).to_owned();
    json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": named("name"), "namespace": named("namespace")},
        "target": {"kind": "Node", "name": pod["spec"]["nodeName"]}})
}

/// `pod`, as another binding would have it.
pub(crate) fn rebound(pod: &Value, binding: &Value) -> Value {
    let mut next = pod.clone();
    next["spec"]["nodeName"] = binding["target"]["name"].clone();
    hand_over(binding, &mut next);
    next
}

fn bound(target: &Target<'_>, pod: &Value, binding: &Value, node: &str) -> Result<Decoded, Status> {
    let conflict = |why: String| Err(Status::conflict(target.resource, target.name, &why).of_part("binding"));
    for (word, field) in [("UID", "uid"), ("ResourceVersion", "resourceVersion")] {
        let (wanted, present) = (meta(binding, field), meta(pod, field));
        if !wanted.is_empty() && wanted != present {
            return conflict(format!(
                "Precondition failed: {word} in precondition: {wanted}, {word} in object meta: {present}"
            ));
        }
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
    conditions
        .push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now()}));
    next["status"]["conditions"] = conditions.into();
    hand_over(binding, &mut next);
    Ok(Decoded { object: next, warnings: Vec::new() })
}

/// Annotations of the binding become the pod's; so do labels that it doesn't have yet.
fn hand_over(binding: &Value, pod: &mut Value) {
    let given = |field: &str| binding["metadata"][field].as_object().cloned().unwrap_or_default();
    for (key, value) in given("annotations") {
        pod["metadata"]["annotations"][key] = value;
    }
    for (key, value) in given("labels") {
        let label = &mut pod["metadata"]["labels"][key];
        if label.is_null() {
            *label = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault N4: what a binding says about the pod's metadata is not passed over.
    #[test]
    fn a_binding_hands_its_metadata_over() {
        let binding = json!({"metadata": {"annotations": {"a": "1", "b": "2"}, "labels": {"x": "1", "y": "2"}}});
        let mut pod = json!({"metadata": {"name": "p", "annotations": {"a": "0"}, "labels": {"x": "0"}}});
        hand_over(&binding, &mut pod);
        assert_eq!(
            pod["metadata"],
            json!({"name": "p", "annotations": {"a": "1", "b": "2"}, "labels": {"x": "0", "y": "2"}})
        );
        let mut bare = json!({"metadata": {"name": "p"}});
        hand_over(&json!({"metadata": {"name": "p"}}), &mut bare);
        assert_eq!(bare, json!({"metadata": {"name": "p"}}));
    }
}
