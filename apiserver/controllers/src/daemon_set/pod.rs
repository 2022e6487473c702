//! What the pods of a daemon set look like, and for which node one is. No I/O.

use crate::history::plan::POD_LABEL;
use crate::owned::{generated_name, owner_reference};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration};
use kube::ResourceExt;

/// The field by which a pod is tied to a node: the scheduler puts it there when it fits.
const NODE_FIELD: &str = "metadata.name";
/// Counts changes of a daemon set's template; the server keeps it.
const GENERATION: &str = "deprecated.daemonset.template.generation";
/// The same on its pods.
const GENERATION_LABEL: &str = "pod-template-generation";

/// The taints that keep no daemon away, for a node that is unwell needs them most.
const BORNE: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// Whoever uses the host's network does not wait for that of pods: it may be the one that sets it up.
const BORNE_ON_HOST: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The tolerations of a template's pods: its own, and those that every daemon has.
pub(super) fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    let host = spec.host_network == Some(true);
    for (key, effect) in BORNE.iter().chain(host.then_some(&BORNE_ON_HOST)) {
        let borne = Toleration {
            key: Some((*key).to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some((*effect).to_owned()),
            ..Toleration::default()
        };
        let same = |one: &Toleration| {
            (&one.key, &one.operator, &one.effect) == (&borne.key, &borne.operator, &borne.effect)
                && one.value.as_deref().unwrap_or_default().is_empty()
        };
        // One of its own that only lasts a while gives way.
        match all.iter_mut().find(|one| same(one)) {
            Some(one) => *one = borne,
            None => all.push(borne),
        }
    }
    all
}

/// A new pod of `set` for `node`, of the revision `hash`.
pub(super) fn pod_of(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = Some(generated_name(&set.name_any()));
    metadata.generate_name = Some(format!("{}-", set.name_any()));
    metadata.namespace = set.namespace();
    metadata.owner_references = Some(vec![owner_reference(set)]);
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(POD_LABEL.to_owned(), hash.to_owned());
    labels.extend(set.annotations().get(GENERATION).map(|number| (GENERATION_LABEL.to_owned(), number.clone())));
    let mut spec = template.spec.unwrap_or_default();
    spec.tolerations = Some(tolerations(&spec));
    tie(&mut spec, node);
    Pod { metadata, spec: Some(spec), status: None }
}

/// Ties a pod to `node`. What else its affinity requires was looked at when the node was chosen.
fn tie(spec: &mut PodSpec, node: &str) {
    let requirement = NodeSelectorRequirement {
        key: NODE_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![requirement]), match_expressions: None };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that a pod is on or tied to.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(name);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let tied = fields.find(|one| one.key == NODE_FIELD && one.operator == "In")?;
    match tied.values.as_deref()? {
        [only] => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_tied_to_its_node() {
        let set: DaemonSet = serde_json::from_value(json!({
            "metadata": {"name": "d", "namespace": "n", "uid": "u", "annotations": {GENERATION: "4"}},
            "spec": {"selector": {}, "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}}, "podAffinity": {}},
                "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 3}]}}}
        }))
        .unwrap();
        let pod = pod_of(&set, "one", "abc");
        assert_eq!(node_of(&pod), Some("one"));
        let labels = pod.labels();
        assert_eq!(
            (labels[POD_LABEL].as_str(), labels[GENERATION_LABEL].as_str(), labels["app"].as_str()),
            ("abc", "4", "d")
        );
        let written = json!(pod);
        let required = &written["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let field = json!({"key": NODE_FIELD, "operator": "In", "values": ["one"]});
        assert_eq!(required["nodeSelectorTerms"], json!([{"matchFields": [field]}]));
        assert!(written["spec"]["affinity"]["podAffinity"].is_object(), "other affinity stays");
        let tolerations = written["spec"]["tolerations"].as_array().unwrap();
        assert_eq!(tolerations.len(), 6);
        assert!(
            tolerations.iter().all(|one| one["tolerationSeconds"].is_null()),
            "daemons stay for as long as it lasts"
        );
        assert_eq!(written["metadata"]["ownerReferences"][0]["kind"], "DaemonSet");
    }

    #[test]
    fn the_node_of_a_pod_that_is_bound() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [], "nodeName": "two"}})).unwrap();
        assert_eq!((node_of(&pod), node_of(&Pod::default())), (Some("two"), None));
    }
}
