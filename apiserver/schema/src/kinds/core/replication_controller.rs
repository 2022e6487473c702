//! ReplicationController.

use crate::defaults::workload as fill;
use crate::kinds::{Change, Row, Rules, SCALE, Selectable, Storage, status};
use crate::path::Path;
use crate::table::Printer;
use crate::table::text::{labels, number};
use crate::table::workload::{REPLICAS, names_and_images, replicas};
use crate::validate::errors::Errors;
use crate::validate::{pod, workload};
use crate::view::{default, given, object_mut};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["rc"],
    categories: &["all"],
    subresources: &[SCALE, status(["", "v1", "ReplicationController"])],
    storage: Storage { folder: "controllers", version: None },
    rules: Rules {
        defaults,
        validate,
        printer: &PRINTER,
        generation: true,
        // As it was before there was a garbage collector.
        keeps_dependents: true,
        fields: &[Selectable {
            path: "status.replicas",
            value: Some(|it| it["status"]["replicas"].as_i64().unwrap_or_default().to_string()),
        }],
        ..Rules::PLAIN
    },
    ..Row::namespaced(
        ["", "v1", "ReplicationController"],
        ["replicationcontrollers", "replicationcontroller"],
        "io.k8s.api.core.v1.ReplicationController",
    )
};

static PRINTER: Printer = Printer {
    columns: REPLICAS,
    cells: |it, now| {
        let mut cells = replicas(it, now);
        cells.extend(names_and_images(&it["spec"]["template"]));
        cells.push(labels(&it["spec"], "selector").into());
        cells
    },
};

/// The selector, and the labels of the controller, are those of its pods unless they are given.
fn defaults(object: &mut Value) {
    let Some(spec) = object_mut(object, "spec") else { return };
    default(spec, "replicas", 1);
    let labels = spec["template"]["metadata"]["labels"].clone();
    let has_none = spec["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    if labels.is_object() && has_none {
        spec["selector"] = labels;
    }
    if given(spec, "template") {
        fill::template(spec);
    }
    fill::labels_from_template(object);
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    if !change.is_whole() {
        return status_counts(&change.new["status"], errors);
    }
    workload::counts(spec, &["replicas", "minReadySeconds"], &path, errors);
    let template = path.field("template");
    if spec["selector"].as_object().is_none_or(serde_json::Map::is_empty) {
        errors.required(&path.field("selector"), "");
    }
    if !spec["template"].is_object() {
        return errors.required(&template, "");
    }
    let selector = json!({"matchLabels": spec["selector"]});
    pod::template(&spec["template"], &selector, &["Always"], &template, errors);
    workload::no_deadline(&spec["template"], "ReplicationController", &template, errors);
}

fn status_counts(status: &Value, errors: &mut Errors) {
    let path = Path::Root.field("status");
    let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    workload::counts(status, &["replicas", "observedGeneration"], &path, errors);
    workload::counts(status, &parts, &path, errors);
    let all = number(&status["replicas"]);
    for part in parts.into_iter().filter(|part| number(&status[*part]) > all) {
        errors.invalid(&path.field(part), number(&status[part]), "cannot be greater than status.replicas");
    }
    if number(&status["availableReplicas"]) > number(&status["readyReplicas"]) {
        let path = path.field("availableReplicas");
        errors.invalid(&path, number(&status["availableReplicas"]), "cannot be greater than readyReplicas");
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, part_errors};
    use serde_json::{Value, json};

    fn controller() -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
    }

    #[test]
    fn labels_and_selector_are_those_of_the_pods() {
        let mut it = controller();
        (super::ROW.rules.defaults)(&mut it);
        assert_eq!(it["spec"]["selector"], json!({"a": "b"}));
        assert_eq!(it["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(it["spec"]["replicas"], 1);
    }

    #[test]
    fn what_is_refused() {
        let of = |pointer: &str, value: Value| {
            let mut it = controller();
            crate::kinds::testing::set(&mut it, pointer, value);
            errors(&super::ROW, &it)
        };
        assert_eq!(of("/spec/replicas", json!(1)), [""; 0]);
        assert_eq!(of("/spec/replicas", json!(-1)), ["spec.replicas: Invalid"]);
        assert_eq!(of("/spec/selector", json!({"a": "c"})), ["spec.template.metadata.labels: Invalid"]);
        assert_eq!(
            of("/spec/template/spec/restartPolicy", json!("Never")),
            ["spec.template.spec.restartPolicy: NotSupported"]
        );
        assert_eq!(of("/spec/template", Value::Null), ["spec.selector: Required", "spec.template: Required"]);
        let mut status = controller();
        status["status"] = json!({"replicas": 1, "readyReplicas": 2});
        assert_eq!(part_errors(&super::ROW, &status, &controller(), Some("status")), ["status.readyReplicas: Invalid"]);
    }
}
