//! How long a pod may stay on a tainted node. No I/O.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use serde_json::{Value, json};
use skiff_client::affinity::tolerates;
use std::time::Duration;

/// How long a pod may stay, from when the taints were first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    Forever,
    For(Duration),
}

/// The taints of a node that remove pods.
pub(super) fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

/// As long as the most impatient of the tolerations that are needed says; not at all with a taint that none is for.
pub(super) fn stay(pod: &Pod, node: &Node) -> Stay {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut shortest = Stay::Forever;
    for taint in no_execute(node) {
        // Of several for the same taint the first counts, as in Kubernetes.
        let Some(first) = tolerations.iter().find(|toleration| tolerates(toleration, &taint)) else {
            return Stay::For(Duration::ZERO);
        };
        if let Some(seconds) = first.toleration_seconds {
            let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            shortest = match shortest {
                Stay::For(other) => Stay::For(other.min(time)),
                Stay::Forever => Stay::For(time),
            };
        }
    }
    shortest
}

/// What the pod's status says of its removal.
pub(super) fn disruption(pod: &Pod, now: Timestamp) -> Value {
    json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastProbeTime": null, "lastTransitionTime": now.to_string(), "observedGeneration": pod.metadata.generation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stays(taints: Value, tolerations: Value) -> Option<u64> {
        let node = json!({"metadata": {"name": "n"}, "spec": {"taints": taints}});
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [], "tolerations": tolerations}});
        match stay(&serde_json::from_value(pod).unwrap(), &serde_json::from_value(node).unwrap()) {
            Stay::Forever => None,
            Stay::For(time) => Some(time.as_secs()),
        }
    }

    #[test]
    fn pods_stay_as_long_as_they_tolerate_the_taints() {
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
        let for_ =
            |key: &str, seconds: Option<i64>| json!({"key": key, "operator": "Exists", "tolerationSeconds": seconds});
        let (a, b) = (taint("a", "NoExecute"), taint("b", "NoExecute"));
        let cases = [
            (json!([taint("a", "NoSchedule")]), json!([]), None),
            (json!([a]), json!([]), Some(0)),
            (json!([a]), json!([for_("a", None)]), None),
            (json!([a]), json!([for_("a", Some(7))]), Some(7)),
            (json!([a]), json!([for_("a", Some(-3))]), Some(0)),
            (json!([a, b]), json!([for_("a", Some(7)), for_("b", Some(5))]), Some(5)),
            (json!([a, b]), json!([for_("a", Some(7))]), Some(0)),
            (json!([a]), json!([for_("a", Some(7)), for_("b", Some(5))]), Some(7)),
            (json!([a]), json!([{"operator": "Exists"}]), None),
        ];
        for (taints, tolerations, expected) in cases {
            assert_eq!(stays(taints.clone(), tolerations.clone()), expected, "{taints} {tolerations}");
        }
    }
}
