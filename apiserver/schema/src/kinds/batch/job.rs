//! Job.

use crate::kinds::{Change, Row, Rules, Selectable, status};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::{job, update, workload};
use crate::view::{object_mut, present_mut, text};
use crate::{defaults, table};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    categories: &["all"],
    subresources: &[status(["batch", "v1", "Job"])],
    rules: Rules {
        defaults: defaults::workload::job,
        complete: |new, old| {
            if old.is_none() {
                select_by_uid(new);
            }
        },
        validate,
        printer: &table::workload::JOB,
        fields: &[Selectable {
            path: "status.successful",
            value: Some(|it| it["status"]["succeeded"].as_i64().unwrap_or_default().to_string()),
        }],
        generation: true,
        // As it was when `batch/v1` was new.
        keeps_dependents: true,
        keeps_dependents_warning: "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
                                   remove them or set propagationPolicy=Orphan to suppress this warning",
        ..Rules::PLAIN
    },
    ..Row::namespaced(["batch", "v1", "Job"], ["jobs", "job"], "io.k8s.api.batch.v1.Job")
};

/// The label with the uid of the job that a pod is of.
const UID: &str = "batch.kubernetes.io/controller-uid";

/// Selects by the job's uid, so that no two jobs ever count each other's pods, unless the author selects (`manualSelector`).
fn select_by_uid(job: &mut Value) {
    let (uid, name) = (text(&job["metadata"], "uid").to_owned(), text(&job["metadata"], "name").to_owned());
    let Some(spec) = job.get_mut("spec").filter(|it| it.is_object() && it["manualSelector"] != true) else { return };
    if spec["selector"].is_null() {
        spec["selector"] = json!({"matchLabels": {UID: uid}});
    }
    let template = present_mut(spec, "template").and_then(|template| object_mut(template, "metadata"));
    let Some(labels) = template.and_then(|metadata| object_mut(metadata, "labels")) else { return };
    // The names without a prefix are what clients before 1.27 look for.
    for (key, value) in
        [(UID, &uid), ("controller-uid", &uid), ("batch.kubernetes.io/job-name", &name), ("job-name", &name)]
    {
        labels[key] = value.as_str().into();
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return;
    }
    let spec = Path::Root.field("spec");
    job::spec(&change.new["spec"], &spec, errors);
    // Unless `manualSelector` is set, the server has made one.
    if !change.new["spec"]["selector"].is_object() {
        errors.required(&spec.field("selector"), "");
        workload::unselected(&change.new["spec"], &spec.field("template"), errors);
    }
    match change.old {
        None => job::indexed_hostnames(change.new, errors),
        Some(old) => {
            update::job(&change.new["spec"], &old["spec"], &spec, errors);
            update::job_template(&change.new["spec"], old, &spec, errors);
        }
    }
}
