//! Job.

use crate::kinds::{Change, Row, Rules, Selectable, status};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::{update, workload};
use crate::{defaults, table};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    categories: &["all"],
    subresources: &[status(["batch", "v1", "Job"])],
    rules: Rules {
        defaults: defaults::workload::job,
        validate,
        printer: &table::workload::JOB,
        fields: &[Selectable {
            path: "status.successful",
            value: Some(|it| it["status"]["succeeded"].as_i64().unwrap_or_default().to_string()),
        }],
        generation: true,
        // As it was when `batch/v1` was new.
        keeps_dependents: true,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["batch", "v1", "Job"], ["jobs", "job"], "io.k8s.api.batch.v1.Job")
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return;
    }
    let spec = Path::Root.field("spec");
    workload::job(&change.new["spec"], &spec, errors);
    match change.old {
        None => workload::indexed_hostnames(change.new, errors),
        Some(old) => update::job(&change.new["spec"], &old["spec"], &spec, errors),
    }
}
