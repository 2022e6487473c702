//! LimitPodHardAntiAffinityTopology: no pod keeps others away from more than its node.

use super::reading::{items, text};
use super::{Admitted, Attributes, Operation, Plugin, known};
use serde_json::Value;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "LimitPodHardAntiAffinityTopology",
    handles: &[Operation::Create, Operation::Update],
    mutate: None,
    validate: Some(validate),
};

/// The label that every node has for itself.
const HOST: &str = "kubernetes.io/hostname";

fn validate<'a>(seen: &'a Attributes<'a>, pod: &'a Value) -> Admitted<'a> {
    let refused = if seen.is_about("", "pods") { wider(pod) } else { None };
    known(refused.map_or(Ok(()), |key| {
        let what = "affinity.PodAntiAffinity.RequiredDuringScheduling";
        Err(seen.forbidden(&format!("{what} has TopologyKey {key} but only key {HOST} is allowed")))
    }))
}

/// A label by which the pod keeps others away from more than a node.
fn wider(pod: &Value) -> Option<&str> {
    let terms = items(&pod["spec"]["affinity"]["podAntiAffinity"], "requiredDuringSchedulingIgnoredDuringExecution");
    terms.iter().map(|term| text(term, "topologyKey")).find(|key| *key != HOST)
}
