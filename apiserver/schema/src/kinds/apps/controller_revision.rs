//! ControllerRevision: a state that a DaemonSet or StatefulSet once had.

use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, name, number};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::update;
use crate::view::{list, text};
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules { validate, printer: &PRINTER, ..Rules::PLAIN },
    ..Row::namespaced(
        ["apps", "v1", "ControllerRevision"],
        ["controllerrevisions", "controllerrevision"],
        "io.k8s.api.apps.v1.ControllerRevision",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Controller", "Whose state it was."),
        Column::text("Revision", "Its number; the highest is the newest."),
        AGE,
    ],
    cells: |it, now| vec![name(it), controller(it).into(), number(&it["revision"]).into(), age(it, now)],
};

/// Its controller, as `daemonset.apps/name`.
fn controller(object: &Value) -> String {
    let owners = list(&object["metadata"], "ownerReferences");
    let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) else { return "<none>".to_owned() };
    let (kind, name) = (text(owner, "kind").to_lowercase(), text(owner, "name"));
    match text(owner, "apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let new = change.new;
    errors.not_negative(&Path::Root.field("revision"), &new["revision"]);
    match change.old {
        Some(old) => update::same("data", new, old, &Path::Root, errors),
        None if new["data"].is_null() => errors.required(&Path::Root.field("data"), "data is mandatory"),
        None if !new["data"].is_object() => {
            errors.required(&Path::Root.field("data"), "data must be a valid JSON object");
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, update_errors};
    use serde_json::json;

    #[test]
    fn the_state_is_an_object_and_stays() {
        let with = |data| json!({"metadata": {"name": "a"}, "revision": 1, "data": data});
        assert_eq!(errors(&super::ROW, &with(json!({"a": 1}))), [""; 0]);
        assert_eq!(errors(&super::ROW, &with(json!(null))), ["data: Required"]);
        assert_eq!(errors(&super::ROW, &with(json!([]))), ["data: Required"]);
        assert_eq!(update_errors(&super::ROW, &with(json!({"a": 2})), &with(json!({"a": 1}))), ["data: Invalid"]);
    }
}
