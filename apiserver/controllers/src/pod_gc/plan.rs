//! Which pods nobody will end, and what their status says then. No I/O.

use crate::owned::has_ended;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use serde_json::{Value, json};
use std::sync::Arc;

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its node does not exist.
    NodeGone,
    /// It goes, and never had a node.
    Unscheduled,
    /// It goes, and its node will not say that it has ended.
    OutOfService,
    /// Very many have ended after it.
    TooMany,
}

/// The node that a pod is on.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// Whether somebody has said that a node which is not ready stays so.
pub(super) fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let marked = taints.into_iter().any(|taint| taint.key == "node.kubernetes.io/out-of-service");
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True");
    marked && !ready
}

/// Why nobody will end the pod, whose node is `node`, if it exists.
pub(super) fn why(pod: &Pod, node: Option<&Node>) -> Option<Why> {
    let leaving = pod.metadata.deletion_timestamp.is_some();
    match (node_of(pod), node) {
        (None, _) if leaving => Some(Why::Unscheduled),
        (Some(_), None) => Some(Why::NodeGone),
        (Some(_), Some(node)) if leaving && is_out_of_service(node) => Some(Why::OutOfService),
        _ => None,
    }
}

/// The oldest of those that ended, beyond `most`; evicted ones before all others.
pub(super) fn too_many(mut pods: Vec<Arc<Pod>>, most: usize) -> Vec<Arc<Pod>> {
    pods.retain(|pod| has_ended(pod));
    let evicted = |pod: &Pod| pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted");
    pods.sort_by_key(|pod| (!evicted(pod), pod.metadata.creation_timestamp.clone(), pod.name_any()));
    pods.truncate(pods.len().saturating_sub(most));
    pods
}

/// What a pod's status says before it is deleted: it has failed, unless it ended otherwise. `None`: that stands there.
pub(super) fn change(pod: &Pod, why: Why, now: Timestamp) -> Option<Value> {
    if has_ended(pod) {
        return None;
    }
    let mut status = json!({"phase": "Failed"});
    if why == Why::NodeGone {
        let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists", "lastTransitionTime": now.to_string()});
        status["conditions"] = json!([condition]);
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: Option<&str>, leaving: bool, phase: &str) -> Arc<Pod> {
        let deleted = leaving.then(|| Timestamp::UNIX_EPOCH.to_string());
        let value = json!({"metadata": {"name": name, "deletionTimestamp": deleted, "creationTimestamp":
            format!("2026-01-01T00:00:0{name}Z")}, "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn node(taint: &str, ready: &str) -> Node {
        serde_json::from_value(json!({"spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap()
    }

    #[test]
    fn only_what_nobody_will_end_is_deleted() {
        let out = "node.kubernetes.io/out-of-service";
        let of = |node_name, leaving, node: Option<&Node>| why(&pod("1", node_name, leaving, "Running"), node);
        assert_eq!(of(None, true, None), Some(Why::Unscheduled));
        assert_eq!(of(None, false, None), None);
        assert_eq!(of(Some("n"), false, None), Some(Why::NodeGone));
        assert_eq!(of(Some("n"), true, Some(&node(out, "Unknown"))), Some(Why::OutOfService));
        assert_eq!(of(Some("n"), false, Some(&node(out, "Unknown"))), None);
        assert_eq!(of(Some("n"), true, Some(&node(out, "True"))), None);
        assert_eq!(of(Some("n"), true, Some(&node("other", "Unknown"))), None);
    }

    #[test]
    fn a_pod_of_a_lost_node_has_failed_for_that_reason() {
        let now = Timestamp::UNIX_EPOCH;
        let status = change(&pod("1", Some("n"), false, "Running"), Why::NodeGone, now).unwrap();
        assert_eq!(
            (&status["phase"], &status["conditions"][0]["reason"]),
            (&json!("Failed"), &json!("DeletionByPodGC"))
        );
        assert_eq!(change(&pod("1", None, true, "Pending"), Why::Unscheduled, now), Some(json!({"phase": "Failed"})));
        assert_eq!(change(&pod("1", Some("n"), true, "Succeeded"), Why::NodeGone, now), None);
    }

    #[test]
    fn the_oldest_that_ended_go_when_there_are_too_many() {
        let pods = vec![
            pod("3", None, false, "Succeeded"),
            pod("1", None, false, "Failed"),
            pod("0", None, false, "Running"),
            pod("2", None, false, "Failed"),
        ];
        let names = |most| too_many(pods.clone(), most).iter().map(|pod| pod.name_any()).collect::<Vec<_>>();
        assert_eq!(names(1), ["1", "2"]);
        assert!(names(3).is_empty());
    }
}
