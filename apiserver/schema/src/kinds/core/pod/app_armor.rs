//! Profiles of AppArmor that annotations name, as before Kubernetes 1.30: the field says it from then on.

use serde_json::{Map, Value, json};

/// The annotation of a container is this and its name.
const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
/// `PATH_MAX` without its end.
const PROFILE_BYTES_MAX: usize = 4095;

/// What an annotation says, as a field; `None` if it is no profile.
fn profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let name = annotation.strip_prefix("localhost/")?;
            let fits = !name.is_empty() && name.trim() == name && name.len() <= PROFILE_BYTES_MAX;
            fits.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

/// Gives containers without a profile the one that their annotation names, unless it is the pod's anyway.
pub(super) fn fill_in(pod: &mut Value) {
    let Some(annotations) = pod["metadata"]["annotations"].as_object().cloned() else { return };
    if pod["spec"]["os"]["name"] == "windows" {
        return;
    }
    let of_pod = pod["spec"]["securityContext"]["appArmorProfile"].clone();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            let said = annotations.get(&format!("{PREFIX}{name}")).and_then(Value::as_str).and_then(profile);
            let Some(said) = said.filter(|said| *said != of_pod) else { continue };
            let context = container.entry("securityContext").or_insert(Value::Null);
            if context.is_null() {
                *context = Value::Object(Map::new());
            }
            if let Some(context) = context.as_object_mut() {
                context.entry("appArmorProfile").or_insert(said);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_fields() {
        let pod = |annotation: &str, of_pod: Value, own: Value| {
            let mut pod = json!({"metadata": {"annotations": {(format!("{PREFIX}a")): annotation}},
                "spec": {"securityContext": {"appArmorProfile": of_pod}, "containers": [{"name": "a", "securityContext": own}, {"name": "b"}]}});
            fill_in(&mut pod);
            assert!(pod["spec"]["containers"][1].get("securityContext").is_none());
            pod["spec"]["containers"][0]["securityContext"]["appArmorProfile"].clone()
        };
        let unconfined = || json!({"type": "Unconfined"});
        assert_eq!(pod("unconfined", Value::Null, Value::Null), unconfined());
        assert_eq!(pod("runtime/default", unconfined(), Value::Null), json!({"type": "RuntimeDefault"}));
        assert_eq!(pod("localhost/x", Value::Null, json!({})), json!({"type": "Localhost", "localhostProfile": "x"}));
        // What is said already stays, what the pod says is not said twice, and what is no profile is none.
        assert_eq!(pod("runtime/default", Value::Null, json!({"appArmorProfile": unconfined()})), unconfined());
        assert_eq!(pod("unconfined", unconfined(), Value::Null), Value::Null);
        assert_eq!(pod("localhost/", Value::Null, Value::Null), Value::Null);
        assert_eq!(pod("other", Value::Null, Value::Null), Value::Null);
    }
}
