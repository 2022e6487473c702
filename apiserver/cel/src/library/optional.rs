//! Optional values.

use super::dispatch::Body;
use crate::fault::Fault;
use crate::value::{List, Value};
use std::sync::Arc;

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "optional_of" => |args| Ok(some(args[0].clone())),
        "optional_ofNonZeroValue" => {
            |args| Ok(if is_zero(&args[0]) { Value::Optional(None) } else { some(args[0].clone()) })
        }
        "optional_none" => |_| Ok(Value::Optional(None)),
        "optional_value" => |args| match &args[0] {
            Value::Optional(Some(value)) => Ok((**value).clone()),
            _ => Err(Fault::new("optional.none() dereference")),
        },
        "optional_hasValue" => |args| Ok(Value::Bool(matches!(&args[0], Value::Optional(Some(_))))),
        "list_last" => |args| match &args[0] {
            Value::List(list) if !list.is_empty() => list.get(list.len() - 1).map(some),
            _ => Ok(Value::Optional(None)),
        },
        "list_first" => |args| match &args[0] {
            Value::List(list) if !list.is_empty() => list.get(0).map(some),
            _ => Ok(Value::Optional(None)),
        },
        "optional_unwrap" | "optional_unwrapOpt" => |args| {
            let Value::List(list) = &args[0] else { return Err(Fault::no_overload()) };
            let mut values = Vec::new();
            for value in list.values() {
                match value? {
                    Value::Optional(inner) => values.extend(inner.map(|value| (*value).clone())),
                    other => return Err(Fault::new(format!("value {} is not optional", crate::value::show(&other)))),
                }
            }
            Ok(Value::List(List::of(values)))
        },
        _ => return None,
    })
}

fn some(value: Value<'_>) -> Value<'_> {
    Value::Optional(Some(Arc::new(value)))
}

/// Zero, empty, null.
fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.as_str().is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Duration(nanos) => *nanos == 0,
        // Year 1, the zero of Go's times.
        Value::Timestamp(time) => time.instant() == (-62_135_596_800, 0),
        // Lists and objects of schemas cannot be asked.
        Value::List(list) => list.shape().is_none() && list.is_empty(),
        Value::Map(map) => !matches!(map, crate::value::Map::Json(_, Some(_))) && map.is_empty(),
        Value::Optional(inner) => inner.as_ref().is_none_or(|inner| is_zero(inner)),
        Value::Object(made) => made.fields.is_empty(),
        _ => false,
    }
}
