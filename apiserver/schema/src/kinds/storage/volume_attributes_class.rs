//! VolumeAttributesClass: attributes of a volume that may change while it lives.

use super::shared;
use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::update;
use crate::view::{entries, text};
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["vac"],
    rules: Rules { validate, printer: &PRINTER, returns_deleted: true, ..Rules::PLAIN },
    ..Row::cluster(
        ["storage.k8s.io", "v1", "VolumeAttributesClass"],
        ["volumeattributesclasses", "volumeattributesclass"],
        "io.k8s.api.storage.v1.VolumeAttributesClass",
    )
};

static PRINTER: Printer = Printer {
    columns: &[NAME, Column::text("DriverName", "The driver that knows the attributes."), AGE],
    cells: |it, now| vec![name(it), text(it, "driverName").into(), age(it, now)],
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let new = change.new;
    let changed = |old: &Value, field: &str| !update::equal(&new[field], &old[field]);
    for field in ["driverName", "parameters"] {
        if change.old.is_some_and(|old| changed(old, field)) {
            errors.forbidden(&Path::Root.field(field), format!("updates to {field} are forbidden."));
        }
    }
    shared::provisioner(text(new, "driverName"), &Path::Root.field("driverName"), errors);
    shared::parameters(new, errors);
    if entries(new, "parameters").next().is_none() {
        errors.required(&Path::Root.field("parameters"), "must contain at least one key/value pair");
    }
}
