//! What follows from a node's conditions: taints, and what to say of a node that says nothing any more. No I/O.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// How long a node may be silent before nothing is known of it (kube-controller-manager `--node-monitor-grace-period`).
pub(super) const GRACE: Duration = Duration::from_secs(50);

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Condition, its status, and the taint that keeps new pods away then.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
/// Conditions that only the kubelet can tell.
const TOLD_BY_KUBELET: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

fn conditions(node: &Node) -> &[NodeCondition] {
    node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    conditions(node).iter().find(|condition| condition.type_ == kind)
}

/// Whether the node is ready to run pods.
pub(super) fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status == "True")
}

/// What changes in a node's status whenever its kubelet reports.
pub(super) fn heartbeat(node: &Node) -> Option<Timestamp> {
    condition(node, "Ready")?.last_heartbeat_time.as_ref().map(|time| time.0)
}

/// The taints a node should have, if they are others than it has. Those of other people stay.
pub(super) fn taints(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let present = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let wanted = wanted(node);
    let is = |taint: &Taint, (key, effect): &(&str, &str)| taint.key == *key && taint.effect == *effect;
    let mut taints: Vec<Taint> = present
        .iter()
        .filter(|taint| !is_ours(taint) || wanted.iter().any(|wanted| is(taint, wanted)))
        .cloned()
        .collect();
    for one in &wanted {
        if taints.iter().all(|taint| !is(taint, one)) {
            let (key, effect) = (one.0.to_owned(), one.1.to_owned());
            taints.push(Taint { key, effect, time_added: Some(Time(now)), value: None });
        }
    }
    (taints != present).then_some(taints)
}

fn is_ours(taint: &Taint) -> bool {
    let of_condition = TAINTS.iter().any(|(_, _, key)| *key == taint.key);
    match taint.effect.as_str() {
        "NoSchedule" => of_condition || taint.key == UNSCHEDULABLE,
        "NoExecute" => taint.key == NOT_READY || taint.key == UNREACHABLE,
        _ => false,
    }
}

/// Key and effect.
fn wanted(node: &Node) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    for (kind, status, key) in TAINTS {
        if condition(node, kind).is_some_and(|condition| condition.status == status) {
            wanted.push((key, "NoSchedule"));
            if kind == "Ready" {
                wanted.push((key, "NoExecute"));
            }
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    wanted
}

/// The conditions of a node that has been silent for [`GRACE`]: nothing is known. `None`: that is what they say already.
pub(super) fn unknown(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let news = TOLD_BY_KUBELET.iter().filter_map(|kind| {
        let (reason, message, last) = match condition(node, kind) {
            Some(condition) if condition.status == "Unknown" => return None,
            Some(condition) => {
                ("NodeStatusUnknown", "Kubelet stopped posting node status.", condition.last_heartbeat_time.clone())
            }
            None => (
                "NodeStatusNeverUpdated",
                "Kubelet never posted node status.",
                node.metadata.creation_timestamp.clone(),
            ),
        };
        Some(NodeCondition {
            type_: (*kind).to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: last,
            last_transition_time: Some(Time(now)),
        })
    });
    let news: Vec<_> = news.collect();
    (!news.is_empty()).then_some(news)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(conditions: &[(&str, &str)], spec: Value) -> Node {
        let conditions: Vec<Value> =
            conditions.iter().map(|(kind, status)| json!({"type": kind, "status": status})).collect();
        serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}}))
            .unwrap()
    }

    fn shown(taints: Option<Vec<Taint>>) -> Option<Vec<String>> {
        taints.map(|taints| taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect())
    }

    /// Fault N25: taints follow conditions, both ways, and others' taints are left alone.
    #[test]
    fn taints_follow_conditions() {
        let after =
            |conditions: &[(&str, &str)], spec: Value| shown(taints(&node(conditions, spec), Timestamp::UNIX_EPOCH));
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
        assert_eq!(after(&[("Ready", "True"), ("DiskPressure", "False")], json!({})), None);
        let not_ready = [format!("{NOT_READY}:NoSchedule"), format!("{NOT_READY}:NoExecute")];
        assert_eq!(after(&[("Ready", "False")], json!({})).unwrap(), not_ready);
        // What a cloud's or an administrator's tools set before the first kubelet came is taken off.
        let both = json!({"taints": [taint(NOT_READY, "NoSchedule"), taint("own", "NoSchedule"), taint(UNREACHABLE, "NoExecute")]});
        assert_eq!(after(&[("Ready", "True")], both).unwrap(), ["own:NoSchedule"]);
        let was = json!({"taints": [taint(NOT_READY, "NoSchedule"), taint(NOT_READY, "NoExecute")]});
        assert_eq!(after(&[("Ready", "False")], was.clone()), None);
        let unreachable = [format!("{UNREACHABLE}:NoSchedule"), format!("{UNREACHABLE}:NoExecute")];
        assert_eq!(after(&[("Ready", "Unknown")], was).unwrap(), unreachable);
        let pressed = after(&[("Ready", "True"), ("DiskPressure", "True")], json!({"unschedulable": true}));
        assert_eq!(
            pressed.unwrap(),
            ["node.kubernetes.io/disk-pressure:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"]
        );
        assert_eq!(after(&[("Ready", "True")], json!({"taints": [taint(NOT_READY, "PreferNoSchedule")]})), None);
    }

    /// Fault N25: of a silent node nothing is known, which is said once.
    #[test]
    fn a_silent_node_is_unknown() {
        let said =
            unknown(&node(&[("Ready", "True"), ("DiskPressure", "False")], json!({})), Timestamp::UNIX_EPOCH).unwrap();
        let reasons: Vec<_> = said.iter().map(|one| (one.type_.as_str(), one.reason.as_deref().unwrap())).collect();
        assert_eq!(
            reasons,
            [
                ("Ready", "NodeStatusUnknown"),
                ("MemoryPressure", "NodeStatusNeverUpdated"),
                ("DiskPressure", "NodeStatusUnknown"),
                ("PIDPressure", "NodeStatusNeverUpdated"),
            ]
        );
        let all = TOLD_BY_KUBELET.map(|kind| (kind, "Unknown"));
        assert_eq!(unknown(&node(&all, json!({})), Timestamp::UNIX_EPOCH), None);
    }
}
