//! AlwaysPullImages: every start of a pod asks the registry, so that nobody runs an image that only others may pull.

use super::reading::{CONTAINERS, items, text};
use super::{Admitted, Attributes, Operation, Plugin, known};
use serde_json::Value;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "AlwaysPullImages",
    handles: &[Operation::Create, Operation::Update],
    mutate: Some(admit),
    validate: Some(validate),
};

const ALWAYS: &str = "Always";

fn admit<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    if !seen.is_about("", "pods") || keeps_images(seen, pod) || !pod["spec"].is_object() {
        return known(Ok(()));
    }
    for list in CONTAINERS {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten().filter(|one| one.is_object()) {
            container["imagePullPolicy"] = ALWAYS.into();
        }
    }
    for volume in pod["spec"]["volumes"].as_array_mut().into_iter().flatten() {
        if volume["image"].is_object() {
            volume["image"]["pullPolicy"] = ALWAYS.into();
        }
    }
    known(Ok(()))
}

fn validate<'a>(seen: &'a Attributes<'a>, pod: &'a Value) -> Admitted<'a> {
    if !seen.is_about("", "pods") || keeps_images(seen, pod) {
        return known(Ok(()));
    }
    known(other(pod).map_or(Ok(()), |(path, said)| {
        Err(seen.forbidden(&format!("{path}: Unsupported value: \"{said}\": supported values: \"{ALWAYS}\"")))
    }))
}

/// What somebody has changed since; where, and into what.
fn other(pod: &Value) -> Option<(String, &str)> {
    let spec = &pod["spec"];
    for list in CONTAINERS {
        for (index, container) in items(spec, list).iter().enumerate() {
            let policy = text(container, "imagePullPolicy");
            if policy != ALWAYS {
                return Some((format!("spec.{list}[{index}].imagePullPolicy"), policy));
            }
        }
    }
    let mut images = items(spec, "volumes").iter().enumerate().filter(|(_, volume)| volume["image"].is_object());
    let found = images.find(|(_, volume)| volume["image"]["pullPolicy"] != ALWAYS)?;
    Some((format!("spec.volumes[{}].image.pullPolicy", found.0), text(&found.1["image"], "pullPolicy")))
}

/// Whether it is an update by which the pod runs nothing that it did not run before.
fn keeps_images(seen: &Attributes<'_>, pod: &Value) -> bool {
    let Some(old) = seen.old.filter(|_| seen.operation == Operation::Update) else { return false };
    let images = |pod: &'_ Value| -> Vec<String> {
        let lists = CONTAINERS.iter().flat_map(|list| items(&pod["spec"], list));
        lists.map(|container| text(container, "image").to_owned()).collect()
    };
    let before = images(old);
    images(pod).iter().all(|image| before.contains(image))
}
