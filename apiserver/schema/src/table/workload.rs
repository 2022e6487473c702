//! Rows of deployments, replica sets, jobs and scales.

use super::text::{age, duration, each, is_true, name, number, seconds, selector};
use super::{AGE, Column, NAME, Printer};
use crate::view::{given, list};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Names of containers.
pub(crate) const CONTAINERS: Column = Column::wide("Containers", "Names of the containers in the pods.");
/// Images of containers.
pub(crate) const IMAGES: Column = Column::wide("Images", "Images of the containers in the pods.");
/// Selector of pods.
pub(crate) const SELECTOR: Column = Column::wide("Selector", "Selector of the pods.");

pub(crate) static DEPLOYMENT: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Ready", "Pods that are ready, of those wanted."),
        Column::text("Up-to-date", "Pods made from the current template."),
        Column::text("Available", "Pods that have been ready for long enough."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |it, now| {
        let (spec, status) = (&it["spec"], &it["status"]);
        let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
        let updated = number(&status["updatedReplicas"]);
        let available = number(&status["availableReplicas"]);
        with_template(vec![name(it), json!(ready), json!(updated), json!(available), age(it, now)], spec)
    },
};

pub(crate) static REPLICA_SET: Printer =
    Printer { columns: REPLICAS, cells: |it, now| with_template(replicas(it, now), &it["spec"]) };

pub(crate) static JOB: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Status", "What the job is doing."),
        Column::text("Completions", "Pods that succeeded, of those wanted."),
        Column::text("Duration", "How long the job ran, or runs."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |it, now| {
        let cells =
            vec![name(it), job_status(it).into(), completions(it).into(), job_duration(it, now).into(), age(it, now)];
        with_template(cells, &it["spec"])
    },
};

pub(crate) static SCALE: Printer = Printer {
    columns: &[NAME, Column::number("Desired", "Pods wanted."), Column::number("Available", "Pods that exist."), AGE],
    cells: |it, now| {
        let (wanted, found) = (number(&it["spec"]["replicas"]), number(&it["status"]["replicas"]));
        vec![name(it), wanted.into(), found.into(), age(it, now)]
    },
};

/// Cells, and those of the template: containers, images, selector.
pub(crate) fn with_template(mut cells: Vec<Value>, spec: &Value) -> Vec<Value> {
    cells.extend(names_and_images(&spec["template"]));
    cells.push(selector(&spec["selector"]).into());
    cells
}

/// Names and images of the containers of a pod template: the cells of [`CONTAINERS`] and [`IMAGES`].
pub(crate) fn names_and_images(template: &Value) -> [Value; 2] {
    let containers = list(&template["spec"], "containers");
    [each(containers, "name"), each(containers, "image")]
}

/// Columns of what keeps a number of pods.
pub(crate) const REPLICAS: &[Column] = &[
    NAME,
    Column::number("Desired", "Pods wanted."),
    Column::number("Current", "Pods that exist."),
    Column::number("Ready", "Pods that are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// The first five cells of [`REPLICAS`].
pub(crate) fn replicas(it: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&it["spec"], &it["status"]);
    let counts = [&spec["replicas"], &status["replicas"], &status["readyReplicas"]].map(|count| json!(number(count)));
    std::iter::once(name(it)).chain(counts).chain([age(it, now)]).collect()
}

fn job_status(job: &Value) -> &'static str {
    let status = &job["status"];
    for done in ["Complete", "Failed"] {
        if is_true(status, done) {
            return done;
        }
    }
    if given(&job["metadata"], "deletionTimestamp") {
        return "Terminating";
    }
    if is_true(status, "Suspended") {
        return "Suspended";
    }
    if is_true(status, "FailureTarget") {
        return "FailureTarget";
    }
    if is_true(status, "SuccessCriteriaMet") { "SuccessCriteriaMet" } else { "Running" }
}

fn completions(job: &Value) -> String {
    let (spec, succeeded) = (&job["spec"], number(&job["status"]["succeeded"]));
    match (spec["completions"].as_i64(), spec["parallelism"].as_i64().unwrap_or(1)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, ..=1) => format!("{succeeded}/1"),
        (None, parallelism) => format!("{succeeded}/1 of {parallelism}"),
    }
}

fn job_duration(job: &Value, now: Timestamp) -> String {
    let status = &job["status"];
    let Some(start) = seconds(&status["startTime"]) else { return String::new() };
    duration(seconds(&status["completionTime"]).unwrap_or(now.as_second()) - start)
}
