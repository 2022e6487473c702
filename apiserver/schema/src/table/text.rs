//! How values read in a cell: names, ages, durations, lists, selectors.

use jiff::Timestamp;
use serde_json::Value;

use crate::view::{entries, list, text};

pub(super) fn name(object: &Value) -> Value {
    text(&object["metadata"], "name").into()
}

pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// Time from `start` until `now`; `<unknown>` when there is no start.
pub(super) fn since(start: &Value, now: Timestamp) -> String {
    seconds(start).map_or_else(|| "<unknown>".to_owned(), |start| duration(now.as_second() - start))
}

/// A time field in seconds since the epoch.
pub(super) fn seconds(time: &Value) -> Option<i64> {
    Some(time.as_str()?.parse::<Timestamp>().ok()?.as_second())
}

/// A duration as kubectl shows it: two units at most, fewer the longer it is (`90s`, `5m30s`, `3h5m`, `2d3h`, `40d`, `2y30d`).
pub(super) fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    // A clock may be a second off; more than that is a time that makes no sense.
    let seconds = match seconds {
        ..=-2 => return "<invalid>".to_owned(),
        -1 => 0,
        seconds => seconds,
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two((seconds / MINUTE, "m"), (seconds % MINUTE, "s")),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two((seconds / HOUR, "h"), (seconds % HOUR / MINUTE, "m")),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two((seconds / DAY, "d"), (seconds % DAY / HOUR, "h")),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two((seconds / YEAR, "y"), (seconds % YEAR / DAY, "d")),
        _ => format!("{}y", seconds / YEAR),
    }
}

fn two((large, large_unit): (i64, &str), (small, small_unit): (i64, &str)) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}

/// The text, or a placeholder such as `<none>` when there is none.
pub(super) fn or<'a>(text: &'a str, placeholder: &'a str) -> Value {
    if text.is_empty() { placeholder } else { text }.into()
}

/// One field of each element, joined with commas.
pub(super) fn each(elements: &[Value], field: &str) -> Value {
    elements.iter().map(|element| text(element, field)).collect::<Vec<_>>().join(",").into()
}

/// A map of labels as `a=b,c=d`; `<none>` when it is empty.
pub(super) fn labels(object: &Value, field: &str) -> String {
    let pairs: Vec<_> =
        entries(object, field).map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A label selector as kubectl reads it: `a=b,c in (d,e),!f`.
pub(super) fn selector(selector: &Value) -> String {
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
pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The condition of a type, if it is there.
pub(super) fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    list(status, "conditions").iter().find(|condition| text(condition, "type") == kind)
}

/// Whether a condition of a type is `True`.
pub(super) fn is_true(status: &Value, kind: &str) -> bool {
    condition(status, kind).is_some_and(|condition| text(condition, "status") == "True")
}
