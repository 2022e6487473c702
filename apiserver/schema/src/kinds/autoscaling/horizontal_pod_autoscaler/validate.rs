//! What an autoscaler may say, in the form of `autoscaling/v2`; older versions are looked at in this form too.

use crate::kinds::Change;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::{resources, workload};
use crate::view::{list, text};
use serde_json::Value;
use skiff_proto::quantity::Quantity;

/// Longest time that one policy counts.
const PERIOD_SECONDS_MOST: i64 = 1800;
/// Longest time that decisions are looked back at.
const WINDOW_SECONDS_MOST: i64 = 3600;

/// What is wrong with a change.
pub(in super::super) fn whole(change: &Change<'_>, errors: &mut Errors) {
    if change.part == "status" {
        let counts = ["currentReplicas", "desiredReplicas"];
        return workload::counts(&change.new["status"], &counts, &Path::Root.field("status"), errors);
    }
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    let old = change.old.map(|old| &old["spec"]);
    replicas(spec, old, &path, errors);
    let target = &spec["scaleTargetRef"];
    let was = old.map(|old| &old["scaleTargetRef"]);
    let version = match was {
        Some(was) if ["apiVersion", "kind"].iter().all(|field| was[*field] == target[*field]) => ApiVersion::Any,
        _ if text(target, "kind") == "ReplicationController" => ApiVersion::Core,
        _ => ApiVersion::Grouped,
    };
    reference(target, version, &path.field("scaleTargetRef"), errors);
    metrics(spec, old, &path.field("metrics"), errors);
    for direction in ["scaleUp", "scaleDown"] {
        rules(&spec["behavior"][direction], &path.field("behavior").field(direction), errors);
    }
}

fn replicas(spec: &Value, old: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    let (least, most) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64().unwrap_or_default());
    // Scaling to zero is asked of a feature that is off; who has it keeps it.
    let bound = if old.is_some_and(|old| old["minReplicas"] == 0) { 0 } else { 1 };
    errors.at_least(&path.field("minReplicas"), &spec["minReplicas"], bound);
    let path = path.field("maxReplicas");
    match most {
        0 => errors.required(&path, "must be set and greater than 0"),
        ..0 => errors.invalid(&path, most, "must be greater than or equal to 1"),
        _ => {}
    }
    if least.is_some_and(|least| most < least) {
        errors.invalid(&path, most, "must be greater than or equal to `minReplicas`");
    }
}

/// Which `apiVersion` a reference may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ApiVersion {
    /// Whatever it says.
    Any,
    /// One that can be read, of the core group too.
    Core,
    /// One of a named group.
    Grouped,
}

impl ApiVersion {
    fn check(self, text: &str) -> Option<String> {
        let group = match text.split_once('/') {
            _ if self == Self::Any => return None,
            Some((_, version)) if version.contains('/') => {
                return Some(format!("unexpected GroupVersion string: {text}"));
            }
            Some((group, _)) => group,
            None => "",
        };
        (self == Self::Grouped && group.is_empty()).then(|| "apiVersion must specify API group".to_owned())
    }
}

fn reference(reference: &Value, version: ApiVersion, path: &Path<'_>, errors: &mut Errors) {
    for field in ["kind", "name"] {
        Format::PathSegment.require_given(text(reference, field), &path.field(field), errors);
    }
    let given = text(reference, "apiVersion");
    if let Some(detail) = version.check(given) {
        errors.invalid(&path.field("apiVersion"), given, detail);
    }
}

fn metrics(spec: &Value, old: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    // One that was wrong before this was looked at may stay.
    let was_wrong = old.is_some_and(|old| {
        list(old, "metrics").iter().any(|metric| {
            let object = &metric["object"];
            text(metric, "type") == "Object"
                && object.is_object()
                && ApiVersion::Core.check(text(&object["describedObject"], "apiVersion")).is_some()
        })
    });
    let version = if was_wrong { ApiVersion::Any } else { ApiVersion::Core };
    let metrics = list(spec, "metrics");
    for (index, metric) in metrics.iter().enumerate() {
        metric_of(metric, version, &path.index(index), errors);
    }
    let counts = |metric: &Value| matches!(text(metric, "type"), "Object" | "External");
    if spec["minReplicas"] == 0 && !metrics.iter().any(counts) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(path, detail);
    }
}

/// Sources by the field that has them, in the order in which they are looked at, with the type that means them.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];
const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

fn metric_of(metric: &Value, version: ApiVersion, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(metric, "type");
    let at = path.field("type");
    if kind.is_empty() {
        errors.required(&at, "must specify a metric source type");
    }
    errors.exactly_one_of(&at, kind, &TYPES);
    let present: Vec<&str> =
        SOURCES.iter().map(|(field, _)| *field).filter(|field| !metric[*field].is_null()).collect();
    if let Some(first) = present.first() {
        source(first, &metric[*first], version, &path.field(first), errors);
    }
    let expected = SOURCES.iter().find(|(_, name)| *name == kind).map(|(field, _)| *field);
    match expected {
        Some(field) if metric[field].is_null() => {
            errors.required(&path.field(field), "must populate information for the given metric source");
        }
        Some(_) => {}
        None => errors.exactly_one_of(&at, kind, &TYPES),
    }
    if present.len() != 1 {
        for other in present.into_iter().filter(|field| Some(*field) != expected) {
            errors.forbidden(&path.field(other), "must populate the given metric source only");
        }
    }
}

fn source(field: &str, source: &Value, version: ApiVersion, path: &Path<'_>, errors: &mut Errors) {
    let is_resource = matches!(field, "resource" | "containerResource");
    if field == "object" {
        reference(&source["describedObject"], version, &path.field("describedObject"), errors);
    }
    if is_resource {
        resource_name(field, source, path, errors);
    } else {
        let (name, at) = (text(&source["metric"], "name"), path.field("metric"));
        match name {
            "" => errors.required(&at.field("name"), "must specify a metric name"),
            name => Format::PathSegment.require(name, &at.field("name"), errors),
        }
    }
    let (wanted, at) = (&source["target"], path.field("target"));
    target(wanted, &at, errors);
    let has = |field: &str| !wanted[field].is_null();
    let average = at.field("averageValue");
    match field {
        "object" if !has("value") && !has("averageValue") => {
            errors.required(&average, "must set either a target value or averageValue");
        }
        "external" if !has("value") && !has("averageValue") => {
            errors.required(&average, "must set either a target value for metric or a per-pod target");
        }
        "external" if has("value") && has("averageValue") => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&at.field("value"), detail);
        }
        "pods" if !has("averageValue") => errors.required(&average, "must specify a positive target averageValue"),
        _ if is_resource && !has("averageUtilization") && !has("averageValue") => {
            let detail = "must set either a target raw value or a target utilization";
            errors.required(&at.field("averageUtilization"), detail);
        }
        _ if is_resource && has("averageUtilization") && has("averageValue") => {
            errors.forbidden(&average, "may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn resource_name(field: &str, source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (name, at) = (text(source, "name"), path.field("name"));
    if name.is_empty() {
        errors.required(&at, "must specify a resource name");
    } else if field == "containerResource" {
        resources::container_resource_name(name, &at, errors);
    }
    if field == "containerResource" {
        match text(source, "container") {
            "" => errors.required(&path.field("container"), "must specify a container"),
            container => Format::Label.require(container, &path.field("container"), errors),
        }
    }
}

fn target(target: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.required(&path.field("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&path.field("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let amount = target[field].as_str().and_then(|text| Quantity::parse(text).ok());
        if let Some(amount) = amount.filter(|amount| amount.nanos() <= 0) {
            errors.invalid(&path.field(field), amount.canonical(), "must be positive");
        }
    }
    if let Some(percent) = target["averageUtilization"].as_i64().filter(|percent| *percent < 1) {
        errors.invalid(&path.field("averageUtilization"), percent, "must be greater than 0");
    }
}

fn rules(rules: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !rules.is_object() {
        return;
    }
    let window = path.field("stabilizationWindowSeconds");
    match rules["stabilizationWindowSeconds"].as_i64() {
        Some(seconds @ ..0) => errors.invalid(&window, seconds, "must be greater than or equal to zero"),
        Some(seconds) if seconds > WINDOW_SECONDS_MOST => {
            errors.invalid(&window, seconds, format!("must be less than or equal to {WINDOW_SECONDS_MOST}"));
        }
        _ => {}
    }
    if let Some(policy) = rules["selectPolicy"].as_str() {
        errors.exactly_one_of(&path.field("selectPolicy"), policy, &["Disabled", "Max", "Min"]);
    }
    let (policies, at) = (list(rules, "policies"), path.field("policies"));
    if policies.is_empty() {
        errors.required(&at, "must specify at least one Policy");
    }
    for (index, one) in policies.iter().enumerate() {
        policy(one, &at.index(index), errors);
    }
    resources::not_negative(&rules["tolerance"], &path.field("tolerance"), errors);
}

fn policy(policy: &Value, path: &Path<'_>, errors: &mut Errors) {
    errors.exactly_one_of(&path.field("type"), text(policy, "type"), &["Percent", "Pods"]);
    for field in ["value", "periodSeconds"] {
        let number = policy[field].as_i64().unwrap_or_default();
        if number <= 0 {
            errors.invalid(&path.field(field), number, "must be greater than zero");
        }
    }
    let period = policy["periodSeconds"].as_i64().unwrap_or_default();
    if period > PERIOD_SECONDS_MOST {
        let detail = format!("must be less than or equal to {PERIOD_SECONDS_MOST}");
        errors.invalid(&path.field("periodSeconds"), period, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ROW;
    use crate::kinds::testing::{errors, set, update_errors};
    use serde_json::{Value, json};

    fn with(pointer: &str, value: Value) -> Value {
        let mut it = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
        set(&mut it, pointer, value);
        it
    }

    #[test]
    fn what_is_refused() {
        let of = |pointer: &str, value: Value| errors(&ROW, &with(pointer, value));
        assert_eq!(of("/spec/minReplicas", json!(5)), [""; 0]);
        let both = json!([{"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue",
            "averageValue": "1"}}, "resource": {}}]);
        for (pointer, value, expected) in [
            ("/spec/minReplicas", json!(0), vec!["spec.minReplicas: Invalid", "spec.metrics: Forbidden"]),
            ("/spec/minReplicas", json!(6), vec!["spec.maxReplicas: Invalid"]),
            ("/spec/maxReplicas", json!(0), vec!["spec.maxReplicas: Required", "spec.maxReplicas: Invalid"]),
            ("/spec/scaleTargetRef/apiVersion", json!("v1"), vec!["spec.scaleTargetRef.apiVersion: Invalid"]),
            ("/spec/metrics", both, vec!["spec.metrics[0].resource: Forbidden"]),
            (
                "/spec/behavior",
                json!({"scaleUp": {"selectPolicy": "No"}}),
                vec!["spec.behavior.scaleUp.selectPolicy: NotSupported"],
            ),
            (
                "/spec/behavior",
                json!({"scaleDown": {"policies": []}}),
                vec!["spec.behavior.scaleDown.policies: Required"],
            ),
        ] {
            assert_eq!(of(pointer, value), expected, "{pointer}");
        }
    }

    #[test]
    fn what_was_there_may_stay() {
        let old = with("/spec/scaleTargetRef/apiVersion", json!(""));
        let mut new = old.clone();
        new["spec"]["maxReplicas"] = json!(6);
        assert_eq!(update_errors(&ROW, &new, &old), [""; 0]);
    }
}
