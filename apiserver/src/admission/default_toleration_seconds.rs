//! DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or not reachable, unless it says otherwise.

use super::{Admitted, Attributes, Operation, Plugin, known};
use serde_json::{Value, json};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "DefaultTolerationSeconds",
    handles: &[Operation::Create, Operation::Update],
    mutate: Some(admit),
    validate: None,
};

/// How long.
const SECONDS: i64 = 300;
/// The taints of such nodes.
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

fn admit<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    if seen.is_about("", "pods") {
        tolerate(pod);
    }
    known(Ok(()))
}

fn tolerate(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let list = spec.entry("tolerations").or_insert(Value::Null);
    if list.is_null() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    for key in TAINTS {
        let covered = |toleration: &Value| {
            let text = |field: &str| toleration[field].as_str().unwrap_or_default();
            matches!(text("effect"), "" | "NoExecute") && (text("key").is_empty() || text("key") == key)
        };
        if !list.iter().any(covered) {
            let mut toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute"});
            toleration["tolerationSeconds"] = SECONDS.into();
            list.push(toleration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_added_once() {
        let count = |pod: &Value| pod["spec"]["tolerations"].as_array().map(Vec::len);
        let mut pod = json!({"spec": {"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]}});
        tolerate(&mut pod);
        assert_eq!(count(&pod), Some(1));
        let mut pod = json!({"spec": {}});
        tolerate(&mut pod);
        let once = pod.clone();
        tolerate(&mut pod);
        assert_eq!((count(&pod), &pod), (Some(2), &once));
    }
}
