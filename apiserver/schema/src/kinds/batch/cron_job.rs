//! CronJob.

use super::schedule;
use crate::defaults::workload as fill;
use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, name, selector, since};
use crate::table::workload::{CONTAINERS, IMAGES, SELECTOR, names_and_images};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::{job as rules, workload};
use crate::view::{default, given, list, object_mut, text};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["cj"],
    categories: &["all"],
    subresources: &[status(["batch", "v1", "CronJob"])],
    rules: Rules {
        defaults: |it| crate::defaults::with_spec(it, defaults),
        validate,
        printer: &PRINTER,
        generation: true,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["batch", "v1", "CronJob"], ["cronjobs", "cronjob"], "io.k8s.api.batch.v1.CronJob")
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Schedule", "When it runs."),
        Column::text("Timezone", "The time zone of the schedule."),
        Column::boolean("Suspend", "Whether it rests."),
        Column::number("Active", "Its jobs that run."),
        Column::text("Last Schedule", "Time since it last ran."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |it, now| {
        let (spec, status) = (&it["spec"], &it["status"]);
        let last = match &status["lastScheduleTime"] {
            Value::Null => "<none>".to_owned(),
            time => since(time, now),
        };
        let suspend = match spec["suspend"].as_bool() {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        let job = &spec["jobTemplate"]["spec"];
        let [names, images] = names_and_images(&job["template"]);
        vec![
            name(it),
            text(spec, "schedule").into(),
            spec["timeZone"].as_str().unwrap_or("<none>").into(),
            suspend.into(),
            list(status, "active").len().into(),
            last.into(),
            age(it, now),
            names,
            images,
            selector(&job["selector"]).into(),
        ]
    },
};

fn defaults(spec: &mut Value) {
    default(spec, "concurrencyPolicy", "Allow");
    default(spec, "suspend", false);
    default(spec, "successfulJobsHistoryLimit", 3);
    default(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = object_mut(spec, "jobTemplate").and_then(|template| object_mut(template, "spec")) {
        // The defaults of jobs come when the job is made; those of its pods stand here.
        fill::template(job);
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return;
    }
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    let old = change.old.map(|old| &old["spec"]);
    times(spec, old, &path, errors);
    let policies = ["Allow", "Forbid", "Replace"];
    errors.required_one_of(&path.field("concurrencyPolicy"), text(spec, "concurrencyPolicy"), &policies);
    job_template(&spec["jobTemplate"]["spec"], &path, errors);
    let numbers = ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
    workload::counts(spec, &numbers, &path, errors);
    // Jobs are named by the cron job and eleven more characters.
    let name = text(&change.new["metadata"], "name");
    if old.is_none() && name.len() > 52 {
        errors.invalid(&Path::Root.field("metadata").field("name"), name, "must be no more than 52 characters");
    }
}

fn job_template(job: &Value, path: &Path<'_>, errors: &mut Errors) {
    let template = path.field("jobTemplate");
    let at = template.field("spec");
    // What a job has by default, its rules ask for.
    let mut whole = json!({"completionMode": "NonIndexed"});
    if let (Some(whole), Some(job)) = (whole.as_object_mut(), job.as_object()) {
        whole.extend(job.iter().filter(|(key, _)| *key != "selector").map(|(key, it)| (key.clone(), it.clone())));
        whole.insert("manualSelector".to_owned(), false.into());
    }
    rules::spec(&whole, &at, errors);
    if job["selector"].is_object() {
        errors.invalid(&at.field("selector"), job["selector"].clone(), "`selector` will be auto-generated");
    }
    if job["manualSelector"] == true {
        errors.unsupported(&at.field("manualSelector"), true.into(), &["nil", "false"]);
    }
}

fn times(spec: &Value, old: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    let (when, at) = (text(spec, "schedule"), path.field("schedule"));
    if when.is_empty() {
        errors.required(&at, "");
    } else {
        if let Err(detail) = schedule::check(when) {
            errors.invalid(&at, when, detail);
        }
        // Those that have a zone in their schedule keep it.
        let had = old.is_some_and(|old| text(old, "schedule").contains("TZ"));
        if when.contains("TZ") && !had {
            errors.invalid(&at, when, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        } else if when.contains("TZ") && given(spec, "timeZone") {
            errors.invalid(&at, when, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
    }
    if old.is_none_or(|old| old["timeZone"] != spec["timeZone"])
        && let Some(zone) = spec["timeZone"].as_str()
    {
        time_zone(zone, &path.field("timeZone"), errors);
    }
}

fn time_zone(zone: &str, path: &Path<'_>, errors: &mut Errors) {
    if zone.is_empty() {
        return errors.invalid(path, zone, "timeZone must be nil or non-empty string");
    }
    if zone.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path, zone, detail);
    }
    if zone != "Local" && !schedule::is_zone(zone) {
        errors.invalid(path, zone, format!("unknown time zone {zone}"));
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, set, update_errors};
    use serde_json::{Value, json};

    fn with(pointer: &str, value: Value) -> Value {
        let mut it = json!({"metadata": {"name": "a"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec":
            {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}}}});
        set(&mut it, pointer, value);
        it
    }

    #[test]
    fn what_is_refused() {
        let of = |pointer: &str, value: Value| errors(&super::ROW, &with(pointer, value));
        assert_eq!(of("/spec/timeZone", json!("UTC")), [""; 0]);
        for (pointer, value, expected) in [
            ("/spec/schedule", json!(""), "spec.schedule: Required"),
            ("/spec/schedule", json!("error"), "spec.schedule: Invalid"),
            ("/spec/schedule", json!("TZ=UTC 0 * * * *"), "spec.schedule: Invalid"),
            ("/spec/timeZone", json!("Mars/Base"), "spec.timeZone: Invalid"),
            ("/spec/timeZone", json!("Local"), "spec.timeZone: Invalid"),
            ("/spec/concurrencyPolicy", json!("Some"), "spec.concurrencyPolicy: NotSupported"),
            ("/spec/startingDeadlineSeconds", json!(-1), "spec.startingDeadlineSeconds: Invalid"),
            ("/spec/failedJobsHistoryLimit", json!(-1), "spec.failedJobsHistoryLimit: Invalid"),
            ("/metadata/name", json!("a".repeat(53)), "metadata.name: Invalid"),
            (
                "/spec/jobTemplate/spec/manualSelector",
                json!(true),
                "spec.jobTemplate.spec.manualSelector: NotSupported",
            ),
            (
                "/spec/jobTemplate/spec/template/spec/restartPolicy",
                json!("Always"),
                "spec.jobTemplate.spec.template.spec.restartPolicy: Required",
            ),
        ] {
            assert_eq!(of(pointer, value), [expected]);
        }
    }

    #[test]
    fn a_zone_in_a_schedule_stays_where_it_was() {
        let old = with("/spec/schedule", json!("TZ=UTC 0 * * * *"));
        assert_eq!(update_errors(&super::ROW, &with("/spec/schedule", json!("TZ=UTC 1 * * * *")), &old), [""; 0]);
    }
}
