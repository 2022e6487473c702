//! RuntimeClass: which handler of the container runtime runs a pod.

use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::{meta, pod, resources, update};
use crate::view::{list, text};
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules {
        validate,
        printer: &PRINTER,
        free_finalizers: true,
        create_on_update: true,
        unconditional_update: false,
        ..Rules::PLAIN
    },
    ..Row::cluster(
        ["node.k8s.io", "v1", "RuntimeClass"],
        ["runtimeclasses", "runtimeclass"],
        "io.k8s.api.node.v1.RuntimeClass",
    )
};

static PRINTER: Printer = Printer {
    columns: &[NAME, Column::text("Handler", "What the container runtime calls it."), AGE],
    cells: |it, now| vec![name(it), text(it, "handler").into(), age(it, now)],
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let new = change.new;
    if let Some(old) = change.old {
        update::same("handler", new, old, &Path::Root, errors);
    }
    Format::Label.require_given(text(new, "handler"), &Path::Root.field("handler"), errors);
    let overhead = Path::Root.field("overhead");
    resources::requirements(&serde_json::json!({"limits": new["overhead"]["podFixed"]}), &overhead, errors);
    let scheduling = Path::Root.field("scheduling");
    meta::labels(&new["scheduling"], "nodeSelector", &scheduling, errors);
    let (tolerations, path) = (list(&new["scheduling"], "tolerations"), scheduling.field("tolerations"));
    pod::tolerations(tolerations, &path, errors);
    let key = |one: &Value| ["key", "operator", "value", "effect"].map(|field| text(one, field).to_owned());
    for (index, one) in tolerations.iter().enumerate() {
        if tolerations.iter().take(index).any(|before| key(before) == key(one)) {
            errors.duplicate(&path.index(index), one.clone());
        }
    }
}
