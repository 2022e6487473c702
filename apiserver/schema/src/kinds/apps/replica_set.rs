//! ReplicaSet.

use crate::kinds::{Change, Row, Rules, SCALE, Selectable, status};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::warnings::of_template;
use crate::validate::{update, workload};
use crate::{defaults, table};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["rs"],
    categories: &["all"],
    subresources: &[SCALE, status(["apps", "v1", "ReplicaSet"])],
    rules: Rules {
        defaults: |it| defaults::with_spec(it, defaults::workload::replica_set),
        validate,
        warnings: of_template,
        printer: &table::workload::REPLICA_SET,
        generation: true,
        fields: &[Selectable {
            path: "status.replicas",
            value: Some(|it| it["status"]["replicas"].as_i64().unwrap_or_default().to_string()),
        }],
        ..Rules::PLAIN
    },
    ..Row::namespaced(["apps", "v1", "ReplicaSet"], ["replicasets", "replicaset"], "io.k8s.api.apps.v1.ReplicaSet")
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return;
    }
    let spec = Path::Root.field("spec");
    workload::replica_set(&change.new["spec"], &spec, errors);
    if let Some(old) = change.old {
        update::same("selector", &change.new["spec"], &old["spec"], &spec, errors);
    }
}
