//! CSINode: the CSI drivers of a node.

use super::shared::driver_name;
use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::update;
use crate::view::{list, text};
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules { validate, printer: &PRINTER, returns_deleted: true, unconditional_update: false, ..Rules::PLAIN },
    ..Row::cluster(["storage.k8s.io", "v1", "CSINode"], ["csinodes", "csinode"], "io.k8s.api.storage.v1.CSINode")
};

static PRINTER: Printer = Printer {
    columns: &[NAME, Column::number("Drivers", "Number of drivers."), AGE],
    cells: |it, now| vec![name(it), list(&it["spec"], "drivers").len().into(), age(it, now)],
};

/// Most bytes of what a driver calls a node.
const NODE_ID_MOST: usize = 256;

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (drivers, spec) = (list(&change.new["spec"], "drivers"), Path::Root.field("spec"));
    let path = spec.field("drivers");
    for (index, one) in drivers.iter().enumerate() {
        driver(one, &path.index(index), errors);
        if drivers.iter().take(index).any(|before| text(before, "name") == text(one, "name")) {
            errors.duplicate(&path.index(index).field("name"), text(one, "name"));
        }
    }
    let before = change.old.map_or(&[][..], |old| list(&old["spec"], "drivers"));
    for old in before {
        for new in drivers.iter().filter(|new| text(new, "name") == text(old, "name")) {
            let same = |field: &str| update::equal(&new[field], &old[field]);
            if !["nodeID", "topologyKeys"].into_iter().all(same) {
                errors.invalid(&path, new.clone(), "field is immutable");
            }
        }
    }
}

fn driver(driver: &Value, path: &Path<'_>, errors: &mut Errors) {
    driver_name(text(driver, "name"), &path.field("name"), errors);
    let id = text(driver, "nodeID");
    if id.is_empty() {
        errors.required(&path.field("nodeID"), "");
    } else if id.len() > NODE_ID_MOST {
        errors.invalid(&path.field("nodeID"), id, format!("must be {NODE_ID_MOST} characters or less"));
    }
    errors.not_negative(&path.field("allocatable").field("count"), &driver["allocatable"]["count"]);
    let keys = list(driver, "topologyKeys");
    for (index, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        if name.is_empty() {
            errors.required(path, "");
        }
        if keys.iter().take(index).any(|before| before == key) {
            errors.duplicate(path, name);
        }
        Format::QualifiedName.require(name, path, errors);
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, update_errors};
    use serde_json::json;

    #[test]
    fn drivers_are_named_once_and_stay_what_they_are() {
        let node = |drivers: serde_json::Value| json!({"metadata": {"name": "n"}, "spec": {"drivers": drivers}});
        let of = |drivers| errors(&super::ROW, &node(drivers));
        assert_eq!(of(json!([{"name": "D.example", "nodeID": "x", "topologyKeys": ["a/b"]}])), [""; 0]);
        assert_eq!(of(json!([{"name": "d", "nodeID": ""}])), ["spec.drivers[0].nodeID: Required"]);
        assert_eq!(
            of(json!([{"name": "d", "nodeID": "x"}, {"name": "d", "nodeID": "x"}])),
            ["spec.drivers[1].name: Duplicate"]
        );
        assert_eq!(
            of(json!([{"name": "d", "nodeID": "x", "allocatable": {"count": -1}}])),
            ["spec.drivers[0].allocatable.count: Invalid"]
        );
        let (old, new) = (node(json!([{"name": "d", "nodeID": "x"}])), node(json!([{"name": "d", "nodeID": "y"}])));
        assert_eq!(update_errors(&super::ROW, &new, &old), ["spec.drivers: Invalid"]);
        assert_eq!(update_errors(&super::ROW, &node(json!([])), &old), [""; 0]);
    }
}
