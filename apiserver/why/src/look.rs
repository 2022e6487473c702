//! Fields of JSON, by pointer; what is missing is empty.

use serde_json::Value;

/// The text at `pointer`.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at `pointer`.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The number at `pointer`.
pub(crate) fn number(value: &Value, pointer: &str) -> Option<i64> {
    let value = value.pointer(pointer)?;
    value.as_i64().or_else(|| value.as_u64().and_then(|number| i64::try_from(number).ok()))
}

/// Whether `pointer` says yes.
pub(crate) fn is_true(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool) == Some(true)
}

/// The pairs of names and texts at `pointer`.
pub(crate) fn pairs<'a>(value: &'a Value, pointer: &str) -> Vec<(&'a str, &'a str)> {
    let map = value.pointer(pointer).and_then(Value::as_object);
    map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())).collect()
}

/// `namespace/name` of an object.
pub(crate) fn full_name(object: &Value) -> String {
    match (text(object, "/metadata/namespace"), text(object, "/metadata/name")) {
        ("", name) => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

/// Name of an object.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The condition of this type, if the object's status has one.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|condition| condition["type"] == kind)
}

/// The protocol of a port, which is TCP where none is named.
pub(crate) fn protocol(port: &Value) -> &str {
    Some(text(port, "/protocol")).filter(|protocol| !protocol.is_empty()).unwrap_or("TCP")
}

/// A number, or the text that stands for one, as ports have it.
pub(crate) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
