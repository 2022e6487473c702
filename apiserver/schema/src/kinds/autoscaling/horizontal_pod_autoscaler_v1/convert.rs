//! From `autoscaling/v1` to `autoscaling/v2` and back. An annotation that cannot be read counts as absent, as in Kubernetes.

use super::annotations::{field, write};
use crate::kinds::autoscaling::horizontal_pod_autoscaler::{
    CARRIED, cpu_utilization, default_metric, defaults, drop_carried,
};
use crate::view::{object_mut, text};
use serde_json::{Map, Value, json};
use skiff_proto::quantity::Quantity;

const METRICS: &str = CARRIED[0];
const BEHAVIOR: &str = CARRIED[1];
const CURRENT: &str = CARRIED[4];
const CONDITIONS: &str = CARRIED[5];

/// Makes the object one of `autoscaling/v2`.
pub(super) fn to_v2(it: &mut Value) {
    if !it.is_object() {
        return;
    }
    let carried =
        |key: &str| -> Option<Value> { serde_json::from_str(it["metadata"]["annotations"].get(key)?.as_str()?).ok() };
    let each = |key: &str, convert: fn(&Value) -> Option<Value>| -> Option<Vec<Value>> {
        carried(key)?.as_array()?.iter().map(convert).collect()
    };
    let mut metrics = each(METRICS, |metric| metric_to_v2(metric, &SPEC)).unwrap_or_default();
    let current = each(CURRENT, |metric| metric_to_v2(metric, &STATUS));
    let behavior = carried(BEHAVIOR).and_then(|it| behavior_to_v2(&it));
    let conditions = each(CONDITIONS, condition);
    if let Some(spec) = object_mut(it, "spec") {
        let percent = spec.as_object_mut().and_then(|spec| spec.remove("targetCPUUtilizationPercentage"));
        metrics.extend(percent.as_ref().and_then(Value::as_i64).map(cpu_utilization));
        if metrics.is_empty() {
            metrics.push(default_metric());
        }
        spec["metrics"] = metrics.into();
        if let Some(behavior) = behavior {
            spec["behavior"] = behavior;
        }
    }
    if let Some(status) = object_mut(it, "status") {
        status_to_v2(status, current, conditions);
    }
    drop_carried(it);
    defaults(it);
}

fn status_to_v2(status: &mut Value, current: Option<Vec<Value>>, conditions: Option<Vec<Value>>) {
    let percent = status.as_object_mut().and_then(|status| status.remove("currentCPUUtilizationPercentage"));
    let of_cpu = || {
        let percent = percent.as_ref()?.as_i64()?;
        let resource = json!({"name": "cpu", "current": {"averageUtilization": percent}});
        Some(vec![json!({"type": "Resource", "resource": resource})])
    };
    status["currentMetrics"] = current.or_else(of_cpu).map_or(Value::Null, Value::from);
    if let Some(conditions) = conditions.filter(|it| !it.is_empty()) {
        status["conditions"] = conditions.into();
    }
    // What this version always writes, the other one leaves out.
    if status["currentReplicas"] == 0 {
        status.as_object_mut().and_then(|status| status.remove("currentReplicas"));
    }
}

/// Makes the object one of `autoscaling/v1`.
pub(super) fn to_v1(it: &mut Value) {
    if !it.is_object() {
        return;
    }
    drop_carried(it);
    let mut carried = Map::new();
    if let Some(spec) = object_mut(it, "spec").and_then(Value::as_object_mut) {
        let metrics = spec.remove("metrics").unwrap_or_default();
        let metrics = metrics.as_array().map_or(&[][..], Vec::as_slice);
        let (cpu, others): (Vec<&Value>, Vec<&Value>) = metrics.iter().partition(|metric| is_cpu(metric));
        let others: Vec<Value> = others.into_iter().map(|metric| metric_to_v1(metric, &SPEC)).collect();
        if let Some(cpu) = cpu.first() {
            let percent = cpu["resource"]["target"]["averageUtilization"].clone();
            spec.insert("targetCPUUtilizationPercentage".to_owned(), percent);
        }
        if !others.is_empty() {
            carried.insert(METRICS.to_owned(), write(&others.into()).into());
        }
        if let Some(behavior) = spec.remove("behavior").filter(Value::is_object) {
            carried.insert(BEHAVIOR.to_owned(), write(&behavior_to_v1(&behavior)).into());
        }
    }
    if let Some(status) = object_mut(it, "status") {
        status_to_v1(status, &mut carried);
    }
    if !carried.is_empty()
        && let Some(metadata) = object_mut(it, "metadata")
        && let Some(annotations) = object_mut(metadata, "annotations").and_then(Value::as_object_mut)
    {
        annotations.extend(carried);
    }
}

fn status_to_v1(status: &mut Value, carried: &mut Map<String, Value>) {
    let Some(fields) = status.as_object_mut() else { return };
    let current = fields.remove("currentMetrics").unwrap_or_default();
    let current = current.as_array().map_or(&[][..], Vec::as_slice);
    let percent = current.iter().filter(|it| text(it, "type") == "Resource" && text(&it["resource"], "name") == "cpu");
    let percent = percent.filter_map(|it| it["resource"]["current"]["averageUtilization"].as_i64()).next_back();
    if let Some(percent) = percent {
        fields.insert("currentCPUUtilizationPercentage".to_owned(), percent.into());
    }
    if !current.is_empty() {
        let all: Vec<Value> = current.iter().map(|it| metric_to_v1(it, &STATUS)).collect();
        carried.insert(CURRENT.to_owned(), write(&all.into()).into());
    }
    let conditions = fields.remove("conditions").unwrap_or_default();
    let conditions: Vec<Value> = conditions.as_array().into_iter().flatten().filter_map(condition).collect();
    if !conditions.is_empty() {
        carried.insert(CONDITIONS.to_owned(), write(&conditions.into()).into());
    }
    for count in ["currentReplicas", "desiredReplicas"] {
        fields.entry(count).or_insert_with(|| 0.into());
    }
}

fn is_cpu(metric: &Value) -> bool {
    let resource = &metric["resource"];
    text(metric, "type") == "Resource"
        && text(resource, "name") == "cpu"
        && resource["target"]["averageUtilization"].is_i64()
}

/// How the two versions call the same: what is wanted (`target`) and what is (`current`).
struct Words {
    /// The struct of the newer version that has the figures.
    figures: &'static str,
    /// The older version's fields.
    value: &'static str,
    average: &'static str,
    utilization: &'static str,
    /// Whether there is a type of target.
    has_type: bool,
}

const SPEC: Words = Words {
    figures: "target",
    value: "targetValue",
    average: "targetAverageValue",
    utilization: "targetAverageUtilization",
    has_type: true,
};
const STATUS: Words = Words {
    figures: "current",
    value: "currentValue",
    average: "currentAverageValue",
    utilization: "currentAverageUtilization",
    has_type: false,
};

/// The older version's field of an average of this source.
fn average(source: &str, words: &Words) -> &'static str {
    if source == "object" { "averageValue" } else { words.average }
}

fn metric_to_v1(metric: &Value, words: &Words) -> Value {
    let mut out = json!({"type": text(metric, "type")});
    for source in ["object", "pods", "resource", "containerResource", "external"] {
        if metric[source].is_object() {
            out[source] = source_to_v1(source, &metric[source], words);
        }
    }
    out
}

fn source_to_v1(name: &str, source: &Value, words: &Words) -> Value {
    let figures = &source[words.figures];
    let mut out = json!({});
    let mut put = |field: &str, value: &Value| {
        if !value.is_null() {
            out[field] = value.clone();
        }
    };
    let or_zero = |value: &Value| if value.is_null() { "0".into() } else { value.clone() };
    match name {
        "resource" | "containerResource" => {
            put("name", &text(source, "name").into());
            put(words.utilization, &figures["averageUtilization"]);
            let always = !words.has_type;
            put(
                words.average,
                &if always { or_zero(&figures["averageValue"]) } else { figures["averageValue"].clone() },
            );
            if name == "containerResource" {
                put("container", &text(source, "container").into());
            }
            return out;
        }
        "object" => {
            put("target", &source["describedObject"]);
            put(words.value, &or_zero(&figures["value"]));
            put("averageValue", &figures["averageValue"]);
        }
        "pods" => put(words.average, &or_zero(&figures["averageValue"])),
        _ => {
            put(words.value, &if words.has_type { figures["value"].clone() } else { or_zero(&figures["value"]) });
            put(words.average, &figures["averageValue"]);
        }
    }
    put("metricName", &text(&source["metric"], "name").into());
    put(if name == "external" { "metricSelector" } else { "selector" }, &source["metric"]["selector"]);
    out
}

/// `None`: something in it is of another type.
fn metric_to_v2(metric: &Value, words: &Words) -> Option<Value> {
    let mut out = json!({"type": string(field(metric, "type"))?});
    for source in ["object", "pods", "resource", "containerResource", "external"] {
        let given = field(metric, source);
        if !given.is_null() {
            out[source] = source_to_v2(source, given, words)?;
        }
    }
    Some(out)
}

fn source_to_v2(name: &str, source: &Value, words: &Words) -> Option<Value> {
    source.as_object()?;
    let value = quantity(field(source, words.value))?;
    let mean = quantity(field(source, average(name, words)))?;
    let percent = integer(field(source, words.utilization))?;
    let (mut out, zero) = (json!({}), || Some("0".to_owned()));
    let is_zero = value.as_deref().is_none_or(|value| value == "0");
    let (kind, value, mean, percent) = match name {
        "resource" | "containerResource" => {
            out["name"] = string(field(source, "name"))?.into();
            if name == "containerResource" {
                out["container"] = string(field(source, "container"))?.into();
            }
            let kind = if percent.is_some() { "Utilization" } else { "AverageValue" };
            let mean = if words.has_type { mean } else { mean.or_else(zero) };
            (kind, None, mean, percent)
        }
        "object" => {
            out["describedObject"] = reference(field(source, "target"))?;
            // A zero beside an average is the older version's way to say nothing.
            let value = if words.has_type && mean.is_some() && is_zero { None } else { value.or_else(zero) };
            (if mean.is_some() { "AverageValue" } else { "Value" }, value, mean, None)
        }
        "pods" => ("AverageValue", None, mean.or_else(zero), None),
        _ => {
            let kind = if value.is_some() { "Value" } else { "AverageValue" };
            (kind, if words.has_type { value } else { value.or_else(zero) }, mean, None)
        }
    };
    if !matches!(name, "resource" | "containerResource") {
        let chosen = if name == "external" { "metricSelector" } else { "selector" };
        let mut metric = json!({"name": string(field(source, "metricName"))?});
        let chosen = field(source, chosen);
        if !chosen.is_null() {
            metric["selector"] = selector(chosen)?;
        }
        out["metric"] = metric;
    }
    let mut figures = if words.has_type { json!({"type": kind}) } else { json!({}) };
    let amounts = [("value", value.map(Value::from)), ("averageValue", mean.map(Value::from))];
    for (field, amount) in amounts.into_iter().chain([("averageUtilization", percent.map(Value::from))]) {
        if let Some(amount) = amount {
            figures[field] = amount;
        }
    }
    out[words.figures] = figures;
    Some(out)
}

fn string(value: &Value) -> Option<String> {
    if value.is_null() { Some(String::new()) } else { value.as_str().map(ToOwned::to_owned) }
}

/// Outer `None`: it is none; inner: it is not given.
fn quantity(value: &Value) -> Option<Option<String>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(Quantity::parse(text).ok()?.canonical())),
        Value::Number(number) => Some(Some(Quantity::parse(&number.to_string()).ok()?.canonical())),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<Option<i64>> {
    if value.is_null() { Some(None) } else { i32::try_from(value.as_i64()?).ok().map(|it| Some(it.into())) }
}

fn reference(value: &Value) -> Option<Value> {
    let mut out = json!({"kind": string(field(value, "kind"))?, "name": string(field(value, "name"))?});
    let version = string(field(value, "apiVersion"))?;
    if !version.is_empty() {
        out["apiVersion"] = version.into();
    }
    Some(out)
}

fn selector(value: &Value) -> Option<Value> {
    value.as_object()?;
    let mut out = json!({});
    let labels = field(value, "matchLabels");
    if !labels.is_null() {
        let all = labels.as_object()?.iter().map(|(key, value)| Some((key.clone(), string(value)?.into())));
        out["matchLabels"] = Value::Object(all.collect::<Option<_>>()?);
    }
    let terms = field(value, "matchExpressions");
    if !terms.is_null() {
        let term = |term: &Value| {
            let mut out = json!({"key": string(field(term, "key"))?, "operator": string(field(term, "operator"))?});
            let values = field(term, "values");
            if !values.is_null() {
                out["values"] = values.as_array()?.iter().map(string).collect::<Option<Vec<_>>>()?.into();
            }
            Some(out)
        };
        out["matchExpressions"] = terms.as_array()?.iter().map(term).collect::<Option<Vec<_>>>()?.into();
    }
    Some(out)
}

/// A condition, which is alike in both versions.
fn condition(value: &Value) -> Option<Value> {
    value.as_object()?;
    let mut out = json!({"type": string(field(value, "type"))?, "status": string(field(value, "status"))?});
    for name in ["lastTransitionTime", "reason", "message"] {
        let text = string(field(value, name))?;
        if !text.is_empty() {
            out[name] = text.into();
        }
    }
    Some(out)
}

const RULES: [(&str, &str); 2] = [("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown")];

/// The annotation has the names of Go's fields.
fn behavior_to_v1(behavior: &Value) -> Value {
    let mut out = json!({});
    for (go, name) in RULES {
        let rules = &behavior[name];
        let policy = |policy: &Value| {
            json!({"Type": text(policy, "type"), "Value": policy["value"].as_i64().unwrap_or_default(),
                "PeriodSeconds": policy["periodSeconds"].as_i64().unwrap_or_default()})
        };
        let policies = rules["policies"].as_array().map(|all| all.iter().map(policy).collect::<Vec<_>>());
        out[go] = match rules.is_object() {
            false => Value::Null,
            true => json!({"StabilizationWindowSeconds": rules["stabilizationWindowSeconds"],
                "SelectPolicy": rules["selectPolicy"], "Policies": policies, "Tolerance": rules["tolerance"]}),
        };
    }
    out
}

fn behavior_to_v2(behavior: &Value) -> Option<Value> {
    behavior.as_object()?;
    let mut out = json!({});
    for (go, name) in RULES {
        let given = field(behavior, go);
        if !given.is_null() {
            out[name] = rules_to_v2(given)?;
        }
    }
    // One that says nothing is none.
    Some(out).filter(|out| out.as_object().is_some_and(|out| !out.is_empty()))
}

fn rules_to_v2(rules: &Value) -> Option<Value> {
    rules.as_object()?;
    let mut out = json!({});
    if let Some(seconds) = integer(field(rules, "StabilizationWindowSeconds"))? {
        out["stabilizationWindowSeconds"] = seconds.into();
    }
    let select = field(rules, "SelectPolicy");
    if !select.is_null() {
        out["selectPolicy"] = select.as_str()?.into();
    }
    if let Some(tolerance) = quantity(field(rules, "Tolerance"))? {
        out["tolerance"] = tolerance.into();
    }
    let policies = field(rules, "Policies");
    if !policies.is_null() {
        let policy = |policy: &Value| {
            Some(json!({"type": string(field(policy, "Type"))?, "value": integer(field(policy, "Value"))?.unwrap_or(0),
                "periodSeconds": integer(field(policy, "PeriodSeconds"))?.unwrap_or(0)}))
        };
        out["policies"] = policies.as_array()?.iter().map(policy).collect::<Option<Vec<_>>>()?.into();
    }
    Some(out)
}
