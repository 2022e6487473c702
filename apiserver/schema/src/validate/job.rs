//! Jobs: how many pods, which failures count, and when a job has succeeded.

use super::errors::Errors;
use super::names::Format;
use super::workload::counts;
use super::{meta, pod};
use crate::path::Path;
use crate::view::{given, list, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// Most pods at once, and most indexes that may fail, of an indexed job.
const INDEXES_MOST: i64 = 100_000;
/// The same of a job with more completions than that, whose indexes fail one by one.
const MANY_INDEXES_MOST: i64 = 10_000;
/// Most rules of a policy, and most conditions of one rule.
const RULES_MOST: usize = 20;
/// Most exit codes of a rule.
const CODES_MOST: usize = 255;
/// Longest list of indexes.
const INDEXES_BYTES_MOST: usize = 64 << 10;
/// Longest name of who looks after a job.
const MANAGER_BYTES_MOST: usize = 63;

/// A job's spec, or that of the jobs of a cron job.
pub(crate) fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let numbers = ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"];
    counts(spec, &numbers, path, errors);
    counts(spec, &["backoffLimitPerIndex", "maxFailedIndexes"], path, errors);
    if spec["maxFailedIndexes"].is_number() && spec["backoffLimitPerIndex"].is_null() {
        errors.required(&path.field("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec["managedBy"].as_str() {
        managed_by(manager, &path.field("managedBy"), errors);
    }
    let mode = text(spec, "completionMode");
    errors.required_one_of(&path.field("completionMode"), mode, &["Indexed", "NonIndexed"]);
    match mode {
        "Indexed" => indexed(spec, path, errors),
        "NonIndexed" => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"].iter().filter(|field| !spec[**field].is_null()) {
                errors.invalid(&path.field(field), spec[*field].clone(), "requires indexed completion mode");
            }
        }
        _ => {}
    }
    failure_policy(spec, &path.field("podFailurePolicy"), errors);
    success_policy(spec, &path.field("successPolicy"), errors);
    let policy = text(spec, "podReplacementPolicy");
    let policies: &[&str] =
        if spec["podFailurePolicy"].is_object() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    errors.one_of(&path.field("podReplacementPolicy"), policy, policies);
    meta::selector(&spec["selector"], &path.field("selector"), errors);
    let template = path.field("template");
    pod::template(&spec["template"], &spec["selector"], &["Never", "OnFailure"], &template, errors);
    if spec["podFailurePolicy"].is_object() && text(&spec["template"]["spec"], "restartPolicy") == "OnFailure" {
        let at = template.field("spec");
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.invalid(&at.field("restartPolicy"), "OnFailure", detail);
    }
}

fn managed_by(manager: &str, path: &Path<'_>, errors: &mut Errors) {
    match manager.split_once('/') {
        _ if manager.is_empty() => errors.required(path, ""),
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            Format::Subdomain.require(host, path, errors);
            let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
            if !rest.bytes().all(is_path) {
                let detail = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
                errors.invalid(path, rest, detail);
            }
        }
        _ => errors.invalid(path, manager, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    if manager.len() > MANAGER_BYTES_MOST {
        errors.too_long(path, MANAGER_BYTES_MOST);
    }
}

fn indexed(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let number = |field: &str| spec[field].as_i64();
    let (parallel, failed) = (path.field("parallelism"), path.field("maxFailedIndexes"));
    let Some(completions) = number("completions") else {
        return errors.required(&path.field("completions"), "when completion mode is Indexed");
    };
    if let Some(many) = number("parallelism").filter(|many| *many > INDEXES_MOST) {
        let detail = format!("must be less than or equal to {INDEXES_MOST} when completion mode is Indexed");
        errors.invalid(&parallel, many, detail);
    }
    if let Some(many) = number("maxFailedIndexes") {
        if many > completions {
            errors.invalid(&failed, many, "must be less than or equal to completions");
        }
        if many > INDEXES_MOST {
            errors.invalid(&failed, many, format!("must be less than or equal to {INDEXES_MOST}"));
        }
    }
    if completions <= INDEXES_MOST || number("backoffLimitPerIndex").is_none() {
        return;
    }
    if number("maxFailedIndexes").is_none() {
        errors.required(&failed, &format!("must be specified when completions is above {INDEXES_MOST}"));
    }
    for (at, many) in [(parallel, number("parallelism")), (failed, number("maxFailedIndexes"))] {
        if let Some(many) = many.filter(|many| *many > MANY_INDEXES_MOST) {
            let detail = format!(
                "must be less than or equal to {MANY_INDEXES_MOST} when completions are above {INDEXES_MOST} and used with \
                 backoff limit per index"
            );
            errors.invalid(&at, many, detail);
        }
    }
}

fn failure_policy(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (rules, path) = (list(&spec["podFailurePolicy"], "rules"), path.field("rules"));
    if rules.len() > RULES_MOST {
        errors.too_many(&path, rules.len(), RULES_MOST);
    }
    for (index, rule) in rules.iter().enumerate() {
        failure_rule(spec, rule, &path.index(index), errors);
    }
}

/// A required choice, whose absence is told with what there is to choose.
fn choice(value: &str, choices: &[&str], path: &Path<'_>, errors: &mut Errors) {
    if value.is_empty() {
        let all: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
        return errors.required(path, &format!("valid values: [{}]", all.join(" ")));
    }
    errors.one_of(path, value, choices);
}

fn failure_rule(spec: &Value, rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (action, at) = (text(rule, "action"), path.field("action"));
    if action == "FailIndex" && spec["backoffLimitPerIndex"].is_null() {
        errors.invalid(&at, action, "requires the backoffLimitPerIndex to be set");
    }
    choice(action, &["Count", "FailIndex", "FailJob", "Ignore"], &at, errors);
    let (codes, conditions) = (&rule["onExitCodes"], list(rule, "onPodConditions"));
    if codes.is_object() {
        exit_codes(spec, codes, &path.field("onExitCodes"), errors);
    }
    pod_conditions(conditions, &path.field("onPodConditions"), errors);
    match (codes.is_object(), conditions.is_empty()) {
        (true, false) => {
            errors.invalid(path, Value::Null, "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        (false, true) => {
            errors.invalid(path, Value::Null, "specifying one of OnExitCodes and OnPodConditions is required");
        }
        _ => {}
    }
}

fn pod_conditions(conditions: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if conditions.len() > RULES_MOST {
        errors.too_many(path, conditions.len(), RULES_MOST);
    }
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        Format::QualifiedName.require(text(condition, "type"), &path.field("type"), errors);
        choice(text(condition, "status"), &["False", "True", "Unknown"], &path.field("status"), errors);
    }
}

fn exit_codes(spec: &Value, codes: &Value, path: &Path<'_>, errors: &mut Errors) {
    let operator = text(codes, "operator");
    choice(operator, &["In", "NotIn"], &path.field("operator"), errors);
    if let Some(name) = codes["containerName"].as_str() {
        let template = &spec["template"]["spec"];
        let mut containers = list(template, "containers").iter().chain(list(template, "initContainers"));
        if !containers.any(|container| text(container, "name") == name) {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.invalid(&path.field("containerName"), name, detail);
        }
    }
    let (values, at) = (list(codes, "values"), path.field("values"));
    match values.len() {
        0 => errors.invalid(&at, values, "at least one value is required"),
        many if many > CODES_MOST => errors.too_many(&at, many, CODES_MOST),
        _ => {}
    }
    let numbers: Vec<i64> = values.iter().map(|value| value.as_i64().unwrap_or_default()).collect();
    let mut seen = BTreeSet::new();
    for (index, number) in numbers.iter().enumerate() {
        if operator == "In" && *number == 0 {
            errors.invalid(&at.index(index), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(number) {
            errors.duplicate(&at.index(index), *number);
        }
    }
    if !numbers.is_sorted() {
        errors.invalid(&at, values, "must be ordered");
    }
}

fn success_policy(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let policy = &spec["successPolicy"];
    if !policy.is_object() {
        return;
    }
    if text(spec, "completionMode") != "Indexed" {
        return errors.invalid(path, policy.clone(), "requires indexed completion mode");
    }
    let (rules, path) = (list(policy, "rules"), path.field("rules"));
    if rules.is_empty() {
        errors.required(&path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MOST {
        errors.too_many(&path, rules.len(), RULES_MOST);
    }
    let completions = spec["completions"].as_i64().unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        success_rule(rule, completions, &path.index(index), errors);
    }
}

fn success_rule(rule: &Value, completions: i64, path: &Path<'_>, errors: &mut Errors) {
    let (count, indexes) = (rule["succeededCount"].as_i64(), rule["succeededIndexes"].as_str());
    if count.is_none() && indexes.is_none() {
        errors.required(path, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut listed = None;
    if let Some(text) = indexes {
        let at = path.field("succeededIndexes");
        if text.len() > INDEXES_BYTES_MOST {
            errors.too_long(&at, INDEXES_BYTES_MOST);
        }
        match indexes_of(text, completions) {
            Ok(total) => listed = Some(total),
            Err(detail) => {
                listed = Some(0);
                errors.invalid(&at, text, format!("error parsing succeededIndexes: {detail}"));
            }
        }
    }
    let at = path.field("succeededCount");
    errors.not_negative(&at, &rule["succeededCount"]);
    let Some(count) = count else { return };
    let bounds = [
        (Some(completions), "the number of specified completions"),
        (listed, "the number of indexes in the specified succeededIndexes field"),
    ];
    for (bound, of) in bounds {
        if let Some(most) = bound.filter(|most| count > *most) {
            errors.invalid(&at, count, format!("must be less than or equal to {most} ({of})"));
        }
    }
}

/// How many indexes a text such as `1,3-5` lists, which ascend and lie below `completions`.
fn indexes_of(text: &str, completions: i64) -> Result<i64, String> {
    let number = |text: &str| -> Result<i64, String> {
        let number =
            text.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if number >= completions { Err(format!("too large index: {text:?}")) } else { Ok(number) }
    };
    let order = |before: i64, now: i64| Err(format!("non-increasing order, previous: {before}, current: {now}"));
    let (mut total, mut last) = (0, None);
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = match interval.split('-').collect::<Vec<_>>()[..] {
            [one] => (number(one)?, number(one)?),
            [first, end] => {
                let (first, end) = (number(first)?, number(end)?);
                if first >= end {
                    return order(first, end);
                }
                (first, end)
            }
            _ => {
                return Err(format!(
                    "the fragment {interval:?} violates the requirement that an index interval can have at most two parts \
                     separated by '-'"
                ));
            }
        };
        if let Some(last) = last.filter(|last| *last >= first) {
            return order(last, first);
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The pods of an indexed job are named as hosts by job and index, so the job's name must leave room for the highest one.
pub(crate) fn indexed_hostnames(job: &Value, errors: &mut Errors) {
    let (spec, name) = (&job["spec"], text(&job["metadata"], "name"));
    let completions = spec["completions"].as_i64().unwrap_or(0);
    if text(spec, "completionMode") != "Indexed" || completions < 1 || !given(&job["metadata"], "name") {
        return;
    }
    let hostname = format!("{name}-{}", completions - 1);
    if let Some(detail) = Format::Label.check(&hostname) {
        let metadata = Path::Root.field("metadata");
        let detail = format!("will not able to create pod with invalid DNS label {hostname:?}: {detail}");
        errors.invalid(&metadata.field("name"), name, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(change: &[(&str, Value)]) -> Vec<String> {
        let mut job = json!({"completionMode": "Indexed", "completions": 5, "template": {"spec": {"restartPolicy": "Never",
            "dnsPolicy": "Default", "containers": [{"name": "c", "image": "i:1"}]}}});
        for (field, value) in change {
            job[field] = value.clone();
        }
        let mut errors = Errors::default();
        spec(&job, &Path::Root, &mut errors);
        errors.into_inner().into_iter().map(|error| format!("{}: {:?}", error.field, error.kind)).collect()
    }

    #[test]
    fn policies_are_checked() {
        let rule = |rule: Value| ("podFailurePolicy", json!({"rules": [rule]}));
        let codes = |operator: &str, values: Value| {
            rule(json!({"action": "FailJob", "onExitCodes": {"operator": operator, "values": values}}))
        };
        assert_eq!(errors(&[codes("In", json!([1, 2]))]), [""; 0]);
        assert_eq!(errors(&[codes("In", json!([2, 1]))]), ["podFailurePolicy.rules[0].onExitCodes.values: Invalid"]);
        assert_eq!(errors(&[codes("In", json!([0]))]), ["podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid"]);
        assert_eq!(errors(&[rule(json!({"action": "Count"}))]), ["podFailurePolicy.rules[0]: Invalid"]);
        let conditions = json!([{"type": "T", "status": "True"}]);
        let of_index = rule(json!({"action": "FailIndex", "onPodConditions": conditions}));
        assert_eq!(errors(std::slice::from_ref(&of_index)), ["podFailurePolicy.rules[0].action: Invalid"]);
        assert_eq!(errors(&[of_index, ("backoffLimitPerIndex", json!(1))]), [""; 0]);
        let success = |rule: Value| ("successPolicy", json!({"rules": [rule]}));
        assert_eq!(errors(&[success(json!({"succeededIndexes": "0,2-4", "succeededCount": 4}))]), [""; 0]);
        assert_eq!(
            errors(&[success(json!({"succeededIndexes": "4-9"}))]),
            ["successPolicy.rules[0].succeededIndexes: Invalid"]
        );
        assert_eq!(errors(&[success(json!({}))]), ["successPolicy.rules[0]: Required"]);
    }

    #[test]
    fn indexes_ascend() {
        assert_eq!(indexes_of("", 3), Ok(0));
        assert_eq!(indexes_of("0,2-4", 5), Ok(4));
        for wrong in ["1,1", "2-1", "5", "a", "1-2-3", "3,1-2"] {
            assert!(indexes_of(wrong, 5).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_looks_after_a_job_has_a_domain() {
        assert_eq!(errors(&[("managedBy", json!("a.example/b"))]), [""; 0]);
        assert_eq!(errors(&[("managedBy", json!("bare"))]), ["managedBy: Invalid"]);
        assert_eq!(errors(&[("maxFailedIndexes", json!(1))]), ["backoffLimitPerIndex: Required"]);
        assert_eq!(
            errors(&[("completionMode", json!("NonIndexed")), ("backoffLimitPerIndex", json!(1))]),
            ["backoffLimitPerIndex: Invalid"]
        );
    }
}
