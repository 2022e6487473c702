//! ResourceClaimTemplate: what claims of pods are made from.

use super::claim;
use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::{meta, update};
use crate::view::object_mut;
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules { defaults, validate, returns_deleted: true, ..Rules::PLAIN },
    ..Row::namespaced(
        ["resource.k8s.io", "v1", "ResourceClaimTemplate"],
        ["resourceclaimtemplates", "resourceclaimtemplate"],
        "io.k8s.api.resource.v1.ResourceClaimTemplate",
    )
};

fn defaults(it: &mut Value) {
    if let Some(spec) = object_mut(it, "spec").and_then(|spec| object_mut(spec, "spec")) {
        claim::defaults(spec);
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    meta::labels_and_annotations(&spec["metadata"], &path.field("metadata"), errors);
    claim::spec(&spec["spec"], &path.field("spec"), errors);
    if let Some(old) = change.old {
        update::same("spec", change.new, old, &Path::Root, errors);
    }
}
