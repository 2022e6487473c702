//! How values read in a cell: names, ages, durations, lists, selectors.

use crate::view::{entries, list, text};
use jiff::Timestamp;
use serde_json::Value;
pub(crate) use skiff_proto::age::duration;

pub(crate) fn name(object: &Value) -> Value {
    text(&object["metadata"], "name").into()
}

pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// Time from `start` until `now`; `<unknown>` when there is no start.
pub(crate) fn since(start: &Value, now: Timestamp) -> String {
    seconds(start).map_or_else(|| "<unknown>".to_owned(), |start| duration(now.as_second() - start))
}

/// A time field in seconds since the epoch.
pub(crate) fn seconds(time: &Value) -> Option<i64> {
    Some(time.as_str()?.parse::<Timestamp>().ok()?.as_second())
}

/// The text, or a placeholder such as `<none>` when there is none.
pub(crate) fn or<'a>(text: &'a str, placeholder: &'a str) -> Value {
    if text.is_empty() { placeholder } else { text }.into()
}

/// One field of each element, joined with commas.
pub(crate) fn each(elements: &[Value], field: &str) -> Value {
    elements.iter().map(|element| text(element, field)).collect::<Vec<_>>().join(",").into()
}

/// A map of labels as `a=b,c=d`; `<none>` when it is empty.
pub(crate) fn labels(object: &Value, field: &str) -> String {
    let pairs: Vec<_> =
        entries(object, field).map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A label selector as kubectl reads it: `a=b,c in (d,e),!f`.
pub(crate) fn selector(selector: &Value) -> String {
    let mut terms: Vec<_> = entries(selector, "matchLabels")
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for requirement in list(selector, "matchExpressions") {
        let key = text(requirement, "key");
        let values = list(requirement, "values").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        terms.push(match text(requirement, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if terms.is_empty() { "<none>".to_owned() } else { terms.join(",") }
}

/// A whole number, 0 when it is absent.
pub(crate) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The condition of a type, if it is there.
pub(crate) fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    list(status, "conditions").iter().find(|condition| text(condition, "type") == kind)
}

/// Whether a condition of a type is `True`.
pub(crate) fn is_true(status: &Value, kind: &str) -> bool {
    condition(status, kind).is_some_and(|condition| text(condition, "status") == "True")
}
