//! CSIStorageCapacity: how much a driver has left in a part of the cluster.

use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::CREATED;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::{meta, resources, update};
use crate::view::text;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules { validate, printer: &CREATED, unconditional_update: false, ..Rules::PLAIN },
    ..Row::namespaced(
        ["storage.k8s.io", "v1", "CSIStorageCapacity"],
        ["csistoragecapacities", "csistoragecapacity"],
        "io.k8s.api.storage.v1.CSIStorageCapacity",
    )
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let new = change.new;
    if let Some(old) = change.old {
        for field in ["nodeTopology", "storageClassName"] {
            update::same(field, new, old, &Path::Root, errors);
        }
    }
    meta::selector(&new["nodeTopology"], &Path::Root.field("nodeTopology"), errors);
    Format::Subdomain.require(text(new, "storageClassName"), &Path::Root.field("storageClassName"), errors);
    resources::not_negative(&new["capacity"], &Path::Root.field("capacity"), errors);
}
