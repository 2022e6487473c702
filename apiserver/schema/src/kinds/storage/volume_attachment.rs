//! VolumeAttachment: a volume that is to be at a node.

use super::shared::{self, MAP_BYTES_MOST};
use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::update;
use crate::view::text;
use serde_json::Value;

const GVK: [&str; 3] = ["storage.k8s.io", "v1", "VolumeAttachment"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    subresources: &[status(GVK)],
    rules: Rules {
        validate,
        printer: &PRINTER,
        returns_deleted: true,
        unconditional_update: false,
        status_keeps: crate::kinds::METADATA,
        ..Rules::PLAIN
    },
    ..Row::cluster(GVK, ["volumeattachments", "volumeattachment"], "io.k8s.api.storage.v1.VolumeAttachment")
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Attacher", "The driver that attaches."),
        Column::text("PV", "The volume."),
        Column::text("Node", "The node."),
        Column::boolean("Attached", "Whether it is there."),
        AGE,
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        vec![
            name(it),
            text(spec, "attacher").into(),
            text(&spec["source"], "persistentVolumeName").into(),
            text(spec, "nodeName").into(),
            (it["status"]["attached"] == true).into(),
            age(it, now),
        ]
    },
};

/// Most bytes of an error's message.
const MESSAGE_MOST: usize = 1024;

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let new = change.new;
    let (spec, path) = (&new["spec"], Path::Root.field("spec"));
    shared::driver_name(text(spec, "attacher"), &path.field("attacher"), errors);
    source(&spec["source"], &path.field("source"), errors);
    Format::Subdomain.require(text(spec, "nodeName"), &path.field("nodeName"), errors);
    status_of(&new["status"], errors);
    if let Some(volume) = spec["source"]["persistentVolumeName"].as_str() {
        Format::Subdomain.require(volume, &path.field("source").field("persistentVolumeName"), errors);
    }
    if let Some(old) = change.old {
        update::same("spec", new, old, &Path::Root, errors);
    }
}

fn source(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (source["inlineVolumeSpec"].is_null(), source["persistentVolumeName"].as_str()) {
        (true, None) => errors.required(path, ONE),
        (false, Some(_)) => errors.forbidden(path, ONE),
        (true, Some("")) => {
            errors.required(&path.field("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        _ => {}
    }
}

fn status_of(status: &Value, errors: &mut Errors) {
    let path = Path::Root.field("status");
    if shared::size(status, "attachmentMetadata") > MAP_BYTES_MOST {
        errors.too_long(&path.field("attachmentMetadata"), MAP_BYTES_MOST);
    }
    for field in ["attachError", "detachError"] {
        let (error, path) = (&status[field], path.field(field));
        if text(error, "message").len() > MESSAGE_MOST {
            // Kubernetes names the bound of the other field.
            errors.too_long(&path.field("message"), MAP_BYTES_MOST);
        }
        errors.in_range(&path.field("errorCode"), &error["errorCode"], (0, i64::from(i32::MAX)));
    }
}
