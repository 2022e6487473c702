//! ExtendedResourceToleration: a pod that asks for a device tolerates the taint by which nodes with the device keep others away.

use super::reading::{items, text};
use super::{Admitted, Attributes, Operation, Plugin, known};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "ExtendedResourceToleration",
    handles: &[Operation::Create, Operation::Update],
    mutate: Some(admit),
    validate: None,
};

fn admit<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    if seen.is_about("", "pods") && pod["spec"].is_object() {
        for resource in devices(&pod["spec"]) {
            tolerate(&mut pod["spec"], &resource);
        }
    }
    known(Ok(()))
}

/// Resources of others than Kubernetes that containers ask for.
fn devices(spec: &Value) -> BTreeSet<String> {
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| items(spec, list));
    let names = containers.filter_map(|one| one["resources"]["requests"].as_object()).flatten();
    let is_device =
        |name: &&String| name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    names.map(|(name, _)| name).filter(is_device).cloned().collect()
}

/// What is there already stays in its place, but for how long is not limited.
fn tolerate(spec: &mut Value, resource: &str) {
    let toleration = json!({"key": resource, "operator": "Exists", "effect": "NoSchedule"});
    let is_same = |other: &Value| {
        ["key", "operator", "effect", "value"].iter().all(|field| text(other, field) == text(&toleration, field))
    };
    if spec["tolerations"].is_null() {
        spec["tolerations"] = json!([]);
    }
    let Some(list) = spec["tolerations"].as_array_mut() else { return };
    let mut is_there = false;
    for other in list.iter_mut().filter(|other| is_same(other)) {
        *other = toleration.clone();
        is_there = true;
    }
    if !is_there {
        list.push(toleration);
    }
}
