//! Deployment.

use crate::kinds::{Change, Row, Rules, SCALE, status};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::warnings::of_template;
use crate::validate::{update, workload};
use crate::{defaults, table};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &[SCALE, status(["apps", "v1", "Deployment"])],
    rules: Rules {
        defaults: |it| defaults::with_spec(it, defaults::workload::deployment),
        validate,
        warnings: of_template,
        printer: &table::workload::DEPLOYMENT,
        generation: true,
        generation_counts: &["annotations"],
        status_keeps: &["labels"],
        ..Rules::PLAIN
    },
    ..Row::namespaced(["apps", "v1", "Deployment"], ["deployments", "deployment"], "io.k8s.api.apps.v1.Deployment")
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return;
    }
    let spec = Path::Root.field("spec");
    workload::deployment(&change.new["spec"], &spec, errors);
    if let Some(old) = change.old {
        update::same("selector", &change.new["spec"], &old["spec"], &spec, errors);
    }
}
