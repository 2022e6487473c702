//! Namespace.

use crate::kinds::{Part, Row, Rules, Selectable, status};
use crate::validate::names::Format;
use crate::view::{list, object_mut};
use crate::{defaults, table};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["ns"],
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[Part { name: "finalize", body: GVK, verbs: &["update"] }, status(GVK)],
    rules: Rules {
        name: Format::Label,
        defaults: defaults::core::namespace,
        prepare,
        complete: |new, old| {
            if old.is_none() {
                hold(new);
            }
        },
        leave: |namespace, _| {
            if let Some(status) = object_mut(namespace, "status") {
                status["phase"] = "Terminating".into();
            }
        },
        is_held: |namespace| !list(&namespace["spec"], "finalizers").is_empty(),
        printer: &table::core::NAMESPACE,
        fields: &[Selectable::at("status.phase")],
        ..Rules::PLAIN
    },
    ..Row::cluster(["", "v1", "Namespace"], ["namespaces", "namespace"], "io.k8s.api.core.v1.Namespace")
};

const GVK: [&str; 3] = ["", "v1", "Namespace"];

/// A new namespace is active; only the `finalize` part lets go of one.
fn prepare(new: &mut Value, old: Option<&Value>, part: &str) {
    match (old, part) {
        (None, _) => new["status"] = json!({"phase": "Active"}),
        (Some(old), "") => match old.get("spec") {
            Some(spec) => new["spec"] = spec.clone(),
            None => drop(new.as_object_mut().and_then(|namespace| namespace.remove("spec"))),
        },
        _ => {}
    }
}

/// What lets go of a namespace when the namespace controller has emptied it.
const KUBERNETES: &str = "kubernetes";

/// A new namespace stays until it is empty.
fn hold(namespace: &mut Value) {
    let Some(spec) = object_mut(namespace, "spec") else { return };
    let mut finalizers = list(spec, "finalizers").to_vec();
    if !finalizers.iter().any(|finalizer| finalizer == KUBERNETES) {
        finalizers.push(KUBERNETES.into());
    }
    spec["finalizers"] = finalizers.into();
}
