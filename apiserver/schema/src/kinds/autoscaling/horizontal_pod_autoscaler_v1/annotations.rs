//! The texts of annotations: JSON with fields in the order of Kubernetes' Go structs, so that equal objects have equal texts.

use serde_json::Value;

/// Fields in the order in which they are written, in whichever struct they stand.
const ORDER: &[&str] = &[
    "type",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "kind",
    "target",
    "name",
    "apiVersion",
    "metricName",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "targetAverageValue",
    "currentAverageUtilization",
    "currentAverageValue",
    "container",
    "selector",
    "averageValue",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Tolerance",
    "Type",
    "Value",
    "PeriodSeconds",
];

/// A value as such a text.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    append(value, &mut out);
    out
}

fn append(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                append(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let place = |name: &str| ORDER.iter().position(|one| *one == name).unwrap_or(ORDER.len());
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| (place(name), name.as_str()));
            out.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                match name.as_str() {
                    // Keys of labels are sorted whatever they are called.
                    "matchLabels" => out.push_str(&value.to_string()),
                    _ => append(value, out),
                }
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// The field of an object, however its letters are cased, as Go reads JSON.
pub(super) fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    let Some(fields) = value.as_object() else { return &Value::Null };
    let other = || fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    fields.get(name).or_else(other).unwrap_or(&Value::Null)
}
