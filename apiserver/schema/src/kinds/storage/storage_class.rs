//! StorageClass: how volumes of a kind are made.

use super::shared;
use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, or};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::update;
use crate::view::{default, list, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["sc"],
    rules: Rules {
        defaults: |it| {
            default(it, "reclaimPolicy", "Delete");
            default(it, "volumeBindingMode", "Immediate");
        },
        validate,
        printer: &PRINTER,
        returns_deleted: true,
        ..Rules::PLAIN
    },
    ..Row::cluster(
        ["storage.k8s.io", "v1", "StorageClass"],
        ["storageclasses", "storageclass"],
        "io.k8s.api.storage.v1.StorageClass",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Provisioner", "Who makes the volumes."),
        Column::text("ReclaimPolicy", "What becomes of a volume after its claim."),
        Column::text("VolumeBindingMode", "When a claim gets its volume."),
        Column::text("AllowVolumeExpansion", "Whether claims may grow."),
        AGE,
    ],
    cells: |it, now| {
        vec![
            named(it).into(),
            text(it, "provisioner").into(),
            or(text(it, "reclaimPolicy"), "Delete"),
            or(text(it, "volumeBindingMode"), "Immediate"),
            (it["allowVolumeExpansion"] == true).into(),
            age(it, now),
        ]
    },
};

/// The name, and whether claims without a class get this one.
fn named(class: &Value) -> String {
    let annotations = &class["metadata"]["annotations"];
    let keys = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let suffix = if keys.iter().any(|key| text(annotations, key) == "true") { " (default)" } else { "" };
    format!("{}{suffix}", text(&class["metadata"], "name"))
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let new = change.new;
    if let Some(old) = change.old {
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            update::same(field, new, old, &Path::Root, errors);
        }
    }
    shared::provisioner(text(new, "provisioner"), &Path::Root.field("provisioner"), errors);
    shared::parameters(new, errors);
    errors.one_of(&Path::Root.field("reclaimPolicy"), text(new, "reclaimPolicy"), &["Delete", "Retain"]);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    errors.required_one_of(&Path::Root.field("volumeBindingMode"), text(new, "volumeBindingMode"), &modes);
    topologies(list(new, "allowedTopologies"), errors);
}

fn topologies(terms: &[Value], errors: &mut Errors) {
    let path = Path::Root.field("allowedTopologies");
    let set = |term: &Value| -> BTreeSet<(String, BTreeSet<String>)> {
        let values = |one: &Value| list(one, "values").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        list(term, "matchLabelExpressions").iter().map(|one| (text(one, "key").to_owned(), values(one))).collect()
    };
    for (index, term) in terms.iter().enumerate() {
        let term_path = path.index(index);
        let expressions = term_path.field("matchLabelExpressions");
        requirements(list(term, "matchLabelExpressions"), &expressions, errors);
        // A real server takes an empty term for one that it has seen.
        if set(term).is_empty() || terms.iter().take(index).any(|before| set(before) == set(term)) {
            errors.duplicate(&expressions, "");
        }
    }
}

fn requirements(requirements: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for (index, requirement) in requirements.iter().enumerate() {
        let path = path.index(index);
        let (values, values_path) = (list(requirement, "values"), path.field("values"));
        if values.is_empty() {
            errors.required(&values_path, "");
        }
        for (at, value) in values.iter().enumerate() {
            if values.iter().take(at).any(|before| before == value) {
                errors.duplicate(&values_path.index(at), value.clone());
            }
        }
        let key = text(requirement, "key");
        Format::QualifiedName.require(key, &path.field("key"), errors);
        if requirements.iter().take(index).any(|before| text(before, "key") == key) {
            errors.duplicate(&path.field("key"), key);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, update_errors};
    use serde_json::json;

    #[test]
    fn what_is_refused() {
        let class = json!({"metadata": {"name": "a"}, "provisioner": "x.example/y", "reclaimPolicy": "Retain"});
        assert_eq!(errors(&super::ROW, &class), [""; 0]);
        let with = |field: &str, value: serde_json::Value| {
            let mut class = class.clone();
            class[field] = value;
            class
        };
        let of = |field, value| errors(&super::ROW, &with(field, value));
        assert_eq!(of("provisioner", json!("")), ["provisioner: Required"]);
        assert_eq!(of("provisioner", json!("/y")), ["provisioner: Invalid"]);
        assert_eq!(of("reclaimPolicy", json!("Recycle")), ["reclaimPolicy: NotSupported"]);
        assert_eq!(of("volumeBindingMode", json!("Later")), ["volumeBindingMode: NotSupported"]);
        let term = json!({"matchLabelExpressions": [{"key": "z", "values": ["a"]}]});
        assert_eq!(
            of("allowedTopologies", json!([term, term])),
            ["allowedTopologies[1].matchLabelExpressions: Duplicate"]
        );
        let changed = with("reclaimPolicy", json!("Delete"));
        assert_eq!(update_errors(&super::ROW, &changed, &class), ["reclaimPolicy: Invalid"]);
    }
}
