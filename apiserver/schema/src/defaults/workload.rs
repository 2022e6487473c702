//! Defaults of deployments, replica sets and jobs.

use super::pod::pod_spec;
use crate::view::{default, given, list_mut, object_mut, present_mut, text};
use serde_json::Value;

pub(crate) fn deployment(spec: &mut Value) {
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    if let Some(strategy) = object_mut(spec, "strategy") {
        default(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = object_mut(strategy, "rollingUpdate")
        {
            default(rolling, "maxUnavailable", "25%");
            default(rolling, "maxSurge", "25%");
        }
    }
    template(spec);
}

pub(crate) fn replica_set(spec: &mut Value) {
    default(spec, "replicas", 1);
    template(spec);
}

pub(crate) fn job(object: &mut Value) {
    let Some(spec) = object_mut(object, "spec") else { return };
    job_spec(spec);
    labels_from_template(object);
}

/// The spec of a job, or of the jobs of a cron job.
pub(crate) fn job_spec(spec: &mut Value) {
    if !given(spec, "completions") && !given(spec, "parallelism") {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    let per_index = given(spec, "backoffLimitPerIndex");
    default(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    let failing = given(spec, "podFailurePolicy");
    default(spec, "podReplacementPolicy", if failing { "Failed" } else { "TerminatingOrFailed" });
    if let Some(policy) = present_mut(spec, "podFailurePolicy") {
        list_mut(policy, "rules").iter_mut().for_each(failure_rule);
    }
    template(spec);
}

fn failure_rule(rule: &mut Value) {
    for condition in list_mut(rule, "onPodConditions") {
        default(condition, "status", "True");
    }
}

/// The template in a spec.
pub(crate) fn template(spec: &mut Value) {
    if let Some(spec) = object_mut(spec, "template").and_then(|template| object_mut(template, "spec")) {
        pod_spec(spec);
    }
}

/// What has no labels has those of its pods.
pub(crate) fn labels_from_template(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
    let has_none = object.pointer("/metadata/labels").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    if has_none
        && labels.as_object().is_some_and(|labels| !labels.is_empty())
        && let Some(metadata) = object_mut(object, "metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("labels".to_owned(), labels);
    }
}
