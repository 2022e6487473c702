//! JSON to values and back.

use super::{List, Map, Text, Timestamp, Value};
use crate::fault::Fault;
use crate::library::{parse_duration, parse_timestamp};
use crate::schema::{Format, Kind, Shape};
use base64::Engine;
use serde_json::Value as Json;

/// JSON without a schema.
pub(crate) fn from_json(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(int) => Value::Int(int),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Text::Borrowed(text)),
        Json::Array(items) => Value::List(List::Json(items, None)),
        Json::Object(fields) => Value::Map(Map::Json(fields, None)),
    }
}

/// JSON as its schema describes it.
pub(crate) fn from_shaped<'a>(json: &'a Json, shape: &'a Shape) -> Result<Value<'a>, Fault> {
    if json.is_null() {
        return if shape.nullable { Ok(Value::Null) } else { wrong("got null for schema with nullable=false") };
    }
    match (shape.kind, json) {
        (Kind::IntOrString, Json::String(text)) | (Kind::String, Json::String(text))
            if shape.kind != Kind::String || shape.format == Format::Text =>
        {
            Ok(Value::String(Text::Borrowed(text)))
        }
        (Kind::IntOrString, Json::Number(number)) if number.is_i64() => Ok(from_json(json)),
        (Kind::IntOrString, _) => wrong("expected XIntOrString value to be either a string or integer"),
        (Kind::Object, Json::Object(fields)) => Ok(Value::Map(Map::Json(fields, Some(shape)))),
        (Kind::Object, _) => wrong("expected a map for the provided schema with type=object"),
        (Kind::Array, Json::Array(_)) if shape.items.is_none() => {
            Err(Fault::new("invalid array type, expected Items with a non-empty Schema"))
        }
        (Kind::Array, Json::Array(items)) => Ok(Value::List(List::Json(items, Some(shape)))),
        (Kind::Array, _) => wrong("expected an array for the provided schema with type=array"),
        (Kind::String, Json::String(text)) => formatted(text, shape.format),
        (Kind::String, _) => wrong(&format!("expected string, got {}", go_type(json))),
        (Kind::Number, Json::Number(number)) => Ok(Value::Double(number.as_f64().unwrap_or(f64::NAN))),
        (Kind::Number, _) => wrong(&format!("expected float, got {}", go_type(json))),
        (Kind::Integer, Json::Number(number)) if number.is_i64() => Ok(from_json(json)),
        (Kind::Integer, _) => wrong(&format!("expected int, got {}", go_type(json))),
        (Kind::Boolean, Json::Bool(value)) => Ok(Value::Bool(*value)),
        (Kind::Boolean, _) => wrong(&format!("expected bool, got {}", go_type(json))),
        (Kind::Unsaid, _) if shape.preserve => Ok(Value::Preserved(json)),
        (Kind::Unsaid, _) => Err(Fault::new(
            "invalid type, expected object, array, number, integer, boolean or string, or no type with x-kubernetes-int-or-string or x-kubernetes-preserve-unknown-fields is true, got ",
        )),
    }
}

fn wrong<'a>(what: &str) -> Result<Value<'a>, Fault> {
    Err(Fault::new(format!("invalid data, {what}")))
}

/// The name that messages have for the type of a JSON value.
fn go_type(json: &Json) -> &'static str {
    match json {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_i64() => "int64",
        Json::Number(_) => "float64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}

fn formatted(text: &str, format: Format) -> Result<Value<'_>, Fault> {
    match format {
        Format::Text => Ok(Value::String(Text::Borrowed(text))),
        Format::Duration => parse_duration(text)
            .map(Value::Duration)
            .ok_or_else(|| Fault::new(format!("Invalid duration {text}: unable to parse {text} as duration"))),
        Format::Date => parse_timestamp(&format!("{text}T00:00:00Z"))
            .map(Value::Timestamp)
            .ok_or_else(|| Fault::new(format!("Invalid date formatted string {text}: cannot parse {text:?}"))),
        Format::DateTime => date_time(text)
            .map(Value::Timestamp)
            .ok_or_else(|| Fault::new(format!("Invalid date-time formatted string {text}: cannot parse {text:?}"))),
        Format::Byte => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map(|bytes| Value::Bytes(bytes.into()))
            .map_err(|error| Fault::new(format!("Invalid byte formatted string {text}: {error}"))),
    }
}

/// Dates and times of schemas may be written with a space or in lower case.
fn date_time(text: &str) -> Option<Timestamp> {
    parse_timestamp(text).or_else(|| parse_timestamp(&text.to_uppercase().replacen(' ', "T", 1)))
}

/// A value as JSON.
pub(crate) fn to_json(value: &Value<'_>) -> Option<Json> {
    Some(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Uint(value) => Json::from(*value),
        Value::Double(value) => Json::from(*value),
        Value::String(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => Json::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Value::Timestamp(_) | Value::Duration(_) => Json::from(super::show(value)),
        Value::List(List::Json(items, _)) => Json::Array(items.to_vec()),
        Value::Map(Map::Json(fields, _)) => Json::Object((*fields).clone()),
        Value::List(List::Made(items, _)) => Json::Array(items.iter().map(to_json).collect::<Option<_>>()?),
        Value::Map(Map::Made(entries)) => {
            let mut fields = serde_json::Map::new();
            for (key, value) in &**entries {
                let Value::String(name) = key.value() else { return None };
                fields.insert(name.as_str().to_owned(), to_json(value)?);
            }
            Json::Object(fields)
        }
        Value::Object(made) => {
            let fields = made.fields.iter().map(|(name, value)| Some((name.to_string(), to_json(value)?)));
            Json::Object(fields.collect::<Option<_>>()?)
        }
        Value::Optional(Some(value)) => to_json(value)?,
        Value::Quantity(amount) => Json::from(amount.quantity.canonical()),
        Value::Preserved(json) => (*json).clone(),
        _ => return None,
    })
}
