//! PodSecurity: labels that ask for a Pod Security Standard (KEP-2579), which this server does not check yet: it says so instead of
//! letting the user believe in a guard that is not there.

use super::{Admitted, Attributes, Operation, Plugin, built_in};
use crate::registry::Target;
use crate::registry::object::name_of;
use serde_json::Value;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "PodSecurity",
    handles: &[Operation::Create, Operation::Update],
    mutate: None,
    validate: Some(warn),
};

const PREFIX: &str = "pod-security.kubernetes.io/";

fn warn<'a>(seen: &'a Attributes<'a>, object: &'a Value) -> Admitted<'a> {
    Box::pin(async move {
        if seen.request.resource.is("", "namespaces") {
            seen.request.warn(about_namespace(seen.old.unwrap_or(&Value::Null), object));
        }
        if seen.operation == Operation::Create && seen.is_about("", "pods") {
            let name = seen.request.namespace.as_str();
            let namespace = Target { resource: built_in("", "namespaces")?, namespace: "", name };
            // A namespace that has gone meanwhile asks for nothing.
            if let Ok(namespace) = seen.stored.get(namespace).await {
                seen.request.warn(about_pod(&namespace, seen.name));
            }
        }
        Ok(())
    })
}

/// About a namespace that is made (`old` is null) or changed: each label that newly asks for a standard.
fn about_namespace(old: &Value, namespace: &Value) -> Vec<String> {
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
fn about_pod(namespace: &Value, name: &str) -> Vec<String> {
    let place = name_of(namespace);
    let sentence = |(key, level): (String, String)| {
        format!(
            "pod {name:?} was not checked against the Pod Security Standard {level:?}, which namespace {place:?} asks \
             for ({key}): this server does not check pods yet and admits them all"
        )
    };
    asked(namespace, &["enforce", "warn"]).into_iter().map(sentence).collect()
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
