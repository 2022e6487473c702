//! EndpointSlice.

use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::{core, update};
use crate::{defaults, table};
use serde_json::json;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules {
        defaults: defaults::core::endpoint_slice,
        validate,
        printer: &table::core::ENDPOINT_SLICE,
        bookmark: |it| (it["addressType"], it["endpoints"]) = ("".into(), json!([])),
        generation: true,
        generation_counts: &["annotations", "labels", "ownerReferences", "finalizers"],
        ..Rules::PLAIN
    },
    ..Row::namespaced(
        ["discovery.k8s.io", "v1", "EndpointSlice"],
        ["endpointslices", "endpointslice"],
        "io.k8s.api.discovery.v1.EndpointSlice",
    )
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    core::endpoint_slice(change.new, errors);
    if let Some(old) = change.old {
        update::same("addressType", change.new, old, &Path::Root, errors);
    }
}
