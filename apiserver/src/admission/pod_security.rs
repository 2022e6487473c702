//! Labels that ask for a Pod Security Standard (KEP-2579), which this server does not check yet: it says so instead of
//! letting the user believe in a guard that is not there.

use crate::registry::object::{meta, name_of};
use crate::registry::{Registry, Target};
use serde_json::Value;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// About a namespace that is made (`old` is null) or changed: each label that newly asks for a standard.
pub(super) fn about_namespace(old: &Value, namespace: &Value) -> Vec<String> {
    let name = name_of(namespace);
    let new = asked(namespace, &["enforce", "audit", "warn"]);
    let new = new.into_iter().filter(|(key, level)| old["metadata"]["labels"][key] != *level);
    let sentence = |(key, level): (String, String)| {
        format!(
            "namespace {name:?}: label {key}={level} has no effect yet: this server does not check pods against the Pod \
             Security Standards and admits them all"
        )
    };
    new.map(sentence).collect()
}

/// About a pod that is made in a namespace with such labels.
pub(super) async fn about_pod(registry: &Registry, namespace: &str, pod: &Value) -> Vec<String> {
    let resource = skiff_schema::find("", "v1", "namespaces").expect("the table of resources has namespaces");
    let found = registry.get(&Target { resource, namespace: "", name: namespace }).await;
    // The pod is stored already; a namespace that has gone meanwhile asks for nothing.
    let Some(found) = found.ok().and_then(|found| found.value().ok()) else { return Vec::new() };
    let name = if name_of(pod).is_empty() { meta(pod, "generateName") } else { name_of(pod) };
    let sentence = |(key, level): (String, String)| {
        format!(
            "pod {name:?} was not checked against the Pod Security Standard {level:?}, which namespace {namespace:?} asks \
             for ({key}): this server does not check pods yet and admits them all"
        )
    };
    asked(&found, &["enforce", "warn"]).into_iter().map(sentence).collect()
}

/// The labels of these modes that ask for anything; `privileged` allows all that this server allows.
fn asked(namespace: &Value, modes: &[&str]) -> Vec<(String, String)> {
    let keys = modes.iter().map(|mode| format!("{PREFIX}{mode}"));
    let levels = keys.filter_map(|key| {
        let level = namespace["metadata"]["labels"][&key].as_str()?.to_owned();
        (level != "privileged").then_some((key, level))
    });
    levels.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Fault N9: a label that does nothing says so, once.
    #[test]
    fn labels_without_effect_are_told_when_they_are_set() {
        let labelled = |labels: Value| json!({"metadata": {"name": "a", "labels": labels}});
        let wanted = labelled(json!({"pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest", "pod-security.kubernetes.io/audit": "privileged"}));
        let told = about_namespace(&Value::Null, &wanted);
        assert_eq!(
            told,
            [
                "namespace \"a\": label pod-security.kubernetes.io/enforce=restricted has no effect yet: this server does not \
              check pods against the Pod Security Standards and admits them all"
            ]
        );
        assert!(about_namespace(&wanted, &wanted).is_empty());
        assert_eq!(
            about_namespace(&labelled(json!({"pod-security.kubernetes.io/enforce": "baseline"})), &wanted).len(),
            1
        );
    }
}
