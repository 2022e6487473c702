//! IPAddress: an address that a service has.

use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::update;
use crate::view::text;
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["ip"],
    rules: Rules { name: Format::Address, validate, printer: &PRINTER, ..Rules::PLAIN },
    ..Row::cluster(
        ["networking.k8s.io", "v1", "IPAddress"],
        ["ipaddresses", "ipaddress"],
        "io.k8s.api.networking.v1.IPAddress",
    )
};

static PRINTER: Printer = Printer {
    // A real server gives an age without a column for it.
    columns: &[NAME, Column::text("ParentRef", "Whose address it is.")],
    cells: |it, now| vec![name(it), parent(&it["spec"]["parentRef"]).into(), age(it, now)],
};

fn parent(parent: &Value) -> String {
    if parent.is_null() {
        return "<none>".to_owned();
    }
    let dotted = |text: &str| if text.is_empty() { String::new() } else { format!(".{text}") };
    let slashed = |text: &str| if text.is_empty() { String::new() } else { format!("/{text}") };
    let resource = format!("{}{}", text(parent, "resource"), dotted(text(parent, "group"))).to_lowercase();
    format!("{resource}{}/{}", slashed(text(parent, "namespace")), text(parent, "name"))
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    if let Some(old) = change.old {
        update::same("parentRef", spec, &old["spec"], &path, errors);
    }
    let (parent, path) = (&spec["parentRef"], path.field("parentRef"));
    if parent.is_null() {
        return errors.required(&path, "");
    }
    if !text(parent, "group").is_empty() {
        Format::Subdomain.require(text(parent, "group"), &path.field("group"), errors);
    }
    for field in ["resource", "name"] {
        Format::PathSegment.require_given(text(parent, field), &path.field(field), errors);
    }
    Format::PathSegment.require(text(parent, "namespace"), &path.field("namespace"), errors);
}
