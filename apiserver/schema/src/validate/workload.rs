//! Deployments, replica sets and scales.

use super::errors::Errors;
use super::{meta, pod};
use crate::path::Path;
use crate::view::text;
use serde_json::Value;

pub(crate) fn deployment(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    counts(spec, &["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], path, errors);
    selector(&spec["selector"], "deployment", &path.field("selector"), errors);
    let at = path.field("template");
    pod::template(&spec["template"], &spec["selector"], &["Always"], &at, errors);
    unselected(spec, &at, errors);
    no_deadline(&spec["template"], "ReplicaSet", &at, errors);
    strategy(&spec["strategy"], &path.field("strategy"), errors);
    let (ready, deadline) =
        (spec["minReadySeconds"].as_i64().unwrap_or_default(), spec["progressDeadlineSeconds"].as_i64());
    if let Some(deadline) = deadline
        && deadline <= ready
    {
        errors.invalid(&path.field("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
    }
}

pub(crate) fn replica_set(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    counts(spec, &["replicas", "minReadySeconds"], path, errors);
    selector(&spec["selector"], "replicaset", &path.field("selector"), errors);
    let at = path.field("template");
    pod::template(&spec["template"], &spec["selector"], &["Always"], &at, errors);
    unselected(spec, &at, errors);
    no_deadline(&spec["template"], "ReplicaSet", &at, errors);
}

pub(crate) fn scale(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    counts(spec, &["replicas"], path, errors);
}

/// Numbers that are 0 or more.
pub(crate) fn counts(spec: &Value, fields: &[&str], path: &Path<'_>, errors: &mut Errors) {
    for field in fields {
        errors.not_negative(&path.field(field), &spec[*field]);
    }
}

/// The selector of a workload, which must select something in particular.
pub(crate) fn selector(selector: &Value, of: &str, path: &Path<'_>, errors: &mut Errors) {
    if !selector.is_object() {
        return errors.required(path, "");
    }
    if pod::is_empty_selector(selector) {
        errors.invalid(path, selector.clone(), format!("empty selector is invalid for {of}"));
    }
    meta::selector(selector, path, errors);
}

/// An absent selector selects nothing; Kubernetes says it of the labels of the template at `path`.
pub(crate) fn unselected(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if spec["selector"].is_object() {
        return;
    }
    let labels = spec["template"]["metadata"]["labels"].clone();
    let metadata = path.field("metadata");
    errors.invalid(&metadata.field("labels"), labels, "`selector` does not match template `labels`");
}

/// Pods that are replaced have no deadline.
pub(crate) fn no_deadline(template: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    if template["spec"]["activeDeadlineSeconds"].is_number() {
        let spec = path.field("spec");
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&spec.field("activeDeadlineSeconds"), detail);
    }
}

fn strategy(strategy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(strategy, "type");
    errors.required_one_of(&path.field("type"), kind, &["Recreate", "RollingUpdate"]);
    let (rolling, path) = (&strategy["rollingUpdate"], path.field("rollingUpdate"));
    if kind == "Recreate" && rolling.is_object() {
        return errors.forbidden(&path, "may not be specified when strategy `type` is 'Recreate'");
    }
    if kind != "RollingUpdate" {
        return;
    }
    for field in ["maxUnavailable", "maxSurge"] {
        count_or_percent(&rolling[field], &path.field(field), errors);
    }
    let zero = |value: &Value| *value == 0 || value.as_str() == Some("0%");
    if zero(&rolling["maxUnavailable"]) && zero(&rolling["maxSurge"]) {
        let detail = "may not be 0 when `maxSurge` is 0";
        errors.invalid(&path.field("maxUnavailable"), rolling["maxUnavailable"].clone(), detail);
    }
    if percent(&rolling["maxUnavailable"]).is_some_and(|percent| percent > 100) {
        errors.invalid(
            &path.field("maxUnavailable"),
            rolling["maxUnavailable"].clone(),
            "must not be greater than 100%",
        );
    }
}

/// A count or a share of at most all.
pub(crate) fn count_or_share(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    count_or_percent(value, path, errors);
    if percent(value).is_some_and(|percent| percent > 100) {
        errors.invalid(path, value.clone(), "must not be greater than 100%");
    }
}

/// How many percent a text says.
pub(crate) fn percent(value: &Value) -> Option<u32> {
    value.as_str()?.strip_suffix('%')?.parse().ok()
}

/// A count or a share.
pub(crate) fn count_or_percent(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    if value.is_string() && percent(value).is_none() {
        errors.invalid(
            path,
            value.clone(),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '25%')",
        );
    }
    errors.not_negative(path, value);
}
