//! What is settled about a new pod's place before anybody schedules it.

use crate::view::list;
use serde_json::{Value, json};

/// A pod with gates says itself why nobody schedules it (KEP-3521).
pub(super) fn gate(pod: &mut Value) {
    if list(&pod["spec"], "schedulingGates").is_empty() {
        return;
    }
    // The object is made now.
    let now = pod["metadata"]["creationTimestamp"].clone();
    pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates", "lastProbeTime": null, "lastTransitionTime": now}]);
}

/// Keys of labels become requirements with the values that the pod itself has (KEP-3243, KEP-3633): whoever schedules it need not know them.
pub(super) fn merge_label_keys(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    for constraint in each(spec.get_mut("topologySpreadConstraints")) {
        merge(constraint, &labels);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|affinity| affinity.get_mut(kind)) else { continue };
        for term in each(affinity.get_mut("requiredDuringSchedulingIgnoredDuringExecution")) {
            merge(term, &labels);
        }
        for weighted in each(affinity.get_mut("preferredDuringSchedulingIgnoredDuringExecution")) {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                merge(term, &labels);
            }
        }
    }
}

fn each(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

/// Without a selector nothing is selected, whatever the keys are.
fn merge(term: &mut Value, labels: &Value) {
    let mut requirements = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys = list(term, field).iter().filter_map(Value::as_str);
        let held = keys.filter_map(|key| Some((key, labels.get(key)?)));
        requirements.extend(held.map(|(key, value)| json!({"key": key, "operator": operator, "values": [value]})));
    }
    let Some(selector) = term.get_mut("labelSelector").filter(|selector| selector.is_object()) else { return };
    if requirements.is_empty() {
        return;
    }
    match selector["matchExpressions"].as_array_mut() {
        Some(list) => list.extend(requirements),
        None => selector["matchExpressions"] = requirements.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::text;

    #[test]
    fn a_gated_pod_says_so() {
        let mut pod = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}, "status": {}});
        let before = pod.clone();
        gate(&mut pod);
        assert_eq!(pod, before);
        pod["spec"]["schedulingGates"] = json!([{"name": "a/b"}]);
        gate(&mut pod);
        assert_eq!(text(&pod["status"]["conditions"][0], "reason"), "SchedulingGated");
    }

    #[test]
    fn keys_of_labels_become_requirements() {
        let term = |selector: Value| json!({"topologyKey": "k", "labelSelector": selector, "matchLabelKeys": ["app", "none"], "mismatchLabelKeys": ["tier"]});
        let mut pod = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}, "spec": {
            "topologySpreadConstraints": [{"labelSelector": {}, "matchLabelKeys": ["app"]}],
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(Value::Null)]},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "podAffinityTerm": term(json!({"matchExpressions": [{"key": "x", "operator": "Exists"}]}))}]}}}});
        merge_label_keys(&mut pod);
        let app = json!({"key": "app", "operator": "In", "values": ["web"]});
        let tier = json!({"key": "tier", "operator": "NotIn", "values": ["front"]});
        let spec = &pod["spec"];
        assert_eq!(spec["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"], json!([app]));
        let affinity = &spec["affinity"];
        assert!(
            affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"].is_null()
        );
        let preferred = &affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0];
        assert_eq!(
            preferred["podAffinityTerm"]["labelSelector"]["matchExpressions"],
            json!([{"key": "x", "operator": "Exists"}, app, tier])
        );
    }
}
