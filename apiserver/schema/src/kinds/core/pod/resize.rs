//! The part `resize`: how much of cpu and memory the containers of a pod get, while it runs (KEP-1287). The API server keeps what is
//! wanted; its kubelet does it, or says why not.

use super::quality::quality;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::update;
use crate::view::{entries, list, list_mut, text};
use serde_json::Value;

const LISTS: [&str; 2] = ["containers", "initContainers"];
/// What may change of a container.
const CHANGEABLE: [&str; 2] = ["resources", "resizePolicy"];
/// The resources that may change.
const RESIZED: [&str; 2] = ["cpu", "memory"];

fn names<'a>(pod: &'a Value, field: &str) -> Vec<&'a str> {
    list(&pod["spec"], field).iter().map(|container| text(container, "name")).collect()
}

/// Everything but resources stays as it was. Where containers are others, the validation says so.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    if LISTS.iter().any(|field| names(new, field) != names(old, field)) {
        return;
    }
    let mut next = old.clone();
    let Some(spec) = next.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    copy(spec, &new["spec"], "resources");
    for field in LISTS {
        for (next, wanted) in list_mut(spec, field).iter_mut().zip(list(&new["spec"], field)) {
            for field in CHANGEABLE {
                copy(next, wanted, field);
            }
        }
    }
    *new = next;
}

fn copy(to: &mut Value, from: &Value, field: &str) {
    let Some(to) = to.as_object_mut() else { return };
    match from.get(field).filter(|value| !value.is_null()) {
        Some(value) => to.insert(field.to_owned(), value.clone()),
        None => to.remove(field),
    };
}

/// What may not become of a pod in this way.
pub(super) fn validate(new: &Value, old: &Value, errors: &mut Errors) {
    let spec = Path::Root.field("spec");
    if super::is_mirror(old) {
        return errors.forbidden(&Path::Root, "static pods cannot be resized");
    }
    let class = text(&old["status"], "qosClass");
    let class = if class.is_empty() { quality(&old["spec"]) } else { class };
    if class != quality(&new["spec"]) {
        let shown = text(&new["status"], "qosClass");
        errors.invalid(&spec, shown, "Pod QOS Class may not change as a result of resizing");
    }
    if !is_supported(old) {
        errors.forbidden(&spec, "Pod running on node without support for resize");
    }
    let before = errors.len();
    same_containers(new, old, &spec, errors);
    if errors.len() > before {
        return;
    }
    for field in ["initContainers", "containers"] {
        for (index, (after, before)) in pairs(new, old, field).enumerate() {
            let (path, is_init) = (spec.field(field), field == "initContainers");
            let path = path.index(index);
            if is_init && text(before, "restartPolicy") != "Always" {
                if !update::equal(after, before) {
                    errors.forbidden(&spec, "resources for non-sidecar init containers are immutable");
                }
                continue;
            }
            removed(after, before, &path.field("resources"), errors);
            if !update::equal(&without(after, before), before) {
                match is_init {
                    false => errors.forbidden(&spec, "only cpu and memory resources are mutable"),
                    true => {
                        let detail = "only cpu and memory resources for init or sidecar containers are mutable";
                        errors.forbidden(&path, detail);
                    }
                }
            }
        }
    }
}

fn pairs<'a>(new: &'a Value, old: &'a Value, field: &str) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    list(&new["spec"], field).iter().zip(list(&old["spec"], field))
}

/// Whether the node of a running container has ever said what the container has.
fn is_supported(pod: &Value) -> bool {
    let statuses = list(&pod["status"], "containerStatuses");
    let running = statuses.iter().find(|status| !status["state"]["running"].is_null());
    running.is_none_or(|status| !status["resources"].is_null())
}

fn same_containers(new: &Value, old: &Value, spec: &Path<'_>, errors: &mut Errors) {
    for field in LISTS {
        let (after, before, path) = (names(new, field), names(old, field), spec.field(field));
        if after.len() != before.len() {
            errors.forbidden(&path, format!("{field} may not be added or removed on resize"));
            continue;
        }
        for (index, _) in after.iter().zip(&before).enumerate().filter(|(_, (after, before))| after != before) {
            let detail = format!("{field} may not be renamed or reordered on resize");
            errors.forbidden(&path.index(index).field("name"), detail);
        }
    }
}

fn removed(after: &Value, before: &Value, path: &Path<'_>, errors: &mut Errors) {
    for kind in ["requests", "limits"] {
        let stays = |name: &String| !after["resources"][kind][name].is_null();
        if !entries(&before["resources"], kind).all(|(name, _)| stays(name)) {
            errors.forbidden(&path.field(kind), format!("resource {kind} cannot be removed"));
        }
    }
}

/// The container with the cpu and memory that it had, and its policy of resizing.
fn without(after: &Value, before: &Value) -> Value {
    let mut same = after.clone();
    update::take("resizePolicy", &mut same, before);
    for kind in ["requests", "limits"] {
        for name in RESIZED {
            let had = before["resources"].get(kind).and_then(|amounts| amounts.get(name));
            let Some(amounts) = same.get_mut("resources").and_then(|it| it.get_mut(kind)?.as_object_mut()) else {
                continue;
            };
            match had {
                Some(amount) => amounts.insert(name.to_owned(), amount.clone()),
                None => amounts.remove(name),
            };
        }
    }
    same
}

#[cfg(test)]
mod tests {
    use super::super::ROW;
    use super::*;
    use crate::kinds::testing::part_errors;
    use serde_json::json;

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i:1", "resources": resources}]}})
    }

    #[test]
    fn only_resources_change() {
        let old = pod(json!({"requests": {"cpu": "1"}}));
        let mut new = pod(json!({"requests": {"cpu": "2"}}));
        new["spec"]["containers"][0]["image"] = "other".into();
        new["metadata"]["labels"] = json!({"a": "b"});
        prepare(&mut new, &old);
        assert_eq!(new, pod(json!({"requests": {"cpu": "2"}})));
    }

    #[test]
    fn what_is_refused() {
        let old = pod(json!({"requests": {"cpu": "1"}}));
        let of = |resources: Value| part_errors(&ROW, &pod(resources), &old, Some("resize"));
        assert_eq!(of(json!({"requests": {"cpu": "2", "memory": "1Gi"}})), [""; 0]);
        assert_eq!(of(json!({"requests": {"memory": "1Gi"}})), ["spec.containers[0].resources.requests: Forbidden"]);
        assert_eq!(of(json!({"requests": {"cpu": "1", "x.example/y": "1"}})), ["spec: Forbidden"]);
        let guaranteed = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(of(json!({"requests": guaranteed, "limits": guaranteed})), ["spec: Invalid"]);
        let mut two = pod(json!({"requests": {"cpu": "1"}}));
        two["spec"]["containers"][0]["name"] = "d".into();
        assert_eq!(part_errors(&ROW, &two, &old, Some("resize")), ["spec.containers[0].name: Forbidden"]);
    }

    #[test]
    fn ephemeral_containers_come_and_stay() {
        let with = |containers: Value| {
            let mut it = pod(json!({}));
            it["spec"]["ephemeralContainers"] = containers;
            it
        };
        let of = |new: Value, old: Value| part_errors(&ROW, &with(new), &with(old), Some("ephemeralcontainers"));
        let one = json!([{"name": "d", "image": "i:1", "targetContainerName": "c"}]);
        assert_eq!(of(one.clone(), json!([])), [""; 0]);
        assert_eq!(of(json!([]), one.clone()), ["spec.ephemeralContainers: Forbidden"]);
        assert_eq!(of(json!([{"name": "d", "image": "i:2"}]), one), ["spec.ephemeralContainers: Forbidden"]);
        let path = "spec.ephemeralContainers[0]";
        let odd = json!([{"name": "c", "image": "i:1", "targetContainerName": "x", "lifecycle": {"preStop": {"exec": {"command": ["a"]}}}}]);
        assert_eq!(
            of(odd, json!([])),
            [
                format!("{path}.lifecycle: Forbidden"),
                format!("{path}.name: Duplicate"),
                format!("{path}.targetContainerName: NotFound")
            ]
        );
    }
}
