//! Which values are the same. Lists and objects of schemas compare by their schema, and refuse what is no list or object.

use super::list::element_key;
use super::{List, Map, Value, to_json};
use crate::fault::Fault;
use crate::number::{compare_double_int, compare_double_uint, compare_int_uint};
use crate::schema::{ListType, Shape};
use serde_json::Value as Json;
use std::cmp::Ordering;

type Same = Result<bool, Fault>;

/// `==`.
pub(crate) fn equal(left: &Value<'_>, right: &Value<'_>) -> Same {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(true),
        (Value::Null, _) | (_, Value::Null) => Ok(false),
        _ => deep_equal(left, right),
    }
}

/// Whether they are the same, when what cannot be compared is not.
pub(crate) fn truly_equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    equal(left, right).unwrap_or(false)
}

/// Equality as the left value sees it.
pub(crate) fn deep_equal(left: &Value<'_>, right: &Value<'_>) -> Same {
    Ok(match (left, right) {
        (Value::Null, other) => matches!(other, Value::Null),
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), _) => numbers(left, right),
        (Value::String(a), Value::String(b)) => a.as_str() == b.as_str(),
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a.instant() == b.instant(),
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::List(a), Value::List(b)) => return lists(a, b),
        (Value::List(a), _) if a.shape().is_some() => return Err(Fault::no_overload()),
        (Value::Map(a), Value::Map(b)) => return maps(a, b),
        (Value::Map(Map::Json(_, Some(_))), _) => return Err(Fault::no_overload()),
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => return deep_equal(a, b),
            (a, b) => a.is_none() && b.is_none(),
        },
        (Value::Object(a), Value::Object(b)) => {
            a.name == b.name
                && a.fields.len() == b.fields.len()
                && a.fields
                    .iter()
                    .all(|(name, value)| b.fields.get(name).is_some_and(|other| truly_equal(value, other)))
        }
        (Value::Preserved(json), other) => to_json(other).is_some_and(|other| **json == other),
        _ => return library(left, right),
    })
}

/// Values of libraries compare with their own kind only.
fn library(left: &Value<'_>, right: &Value<'_>) -> Same {
    Ok(match (left, right) {
        // A sum is not of the type that the right side must have: upstream's is a pointer.
        (Value::Quantity(a), Value::Quantity(b)) if !b.summed => a.quantity.nanos() == b.quantity.nanos(),
        (Value::Ip(a), Value::Ip(b)) => a == b,
        (Value::Cidr(a, bits), Value::Cidr(b, others)) => a == b && bits == others,
        (Value::Url(a), Value::Url(b)) => a.text() == b.text(),
        (Value::Format(a), Value::Format(b)) => a.name == b.name,
        (Value::Semver(a), Value::Semver(b)) => a.compare(b) == Ordering::Equal,
        (
            Value::Quantity(_)
            | Value::Ip(_)
            | Value::Cidr(..)
            | Value::Url(_)
            | Value::Format(_)
            | Value::Semver(_)
            | Value::Check(_)
            | Value::Variables,
            _,
        ) => return Err(Fault::no_overload()),
        _ => false,
    })
}

fn numbers(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Uint(a), Value::Uint(b)) => a == b,
        (Value::Double(a), Value::Double(b)) => a == b,
        (Value::Int(int), Value::Uint(uint)) | (Value::Uint(uint), Value::Int(int)) => {
            compare_int_uint(*int, *uint) == Ordering::Equal
        }
        (Value::Int(int), Value::Double(double)) | (Value::Double(double), Value::Int(int)) => {
            compare_double_int(*double, *int) == Some(Ordering::Equal)
        }
        (Value::Uint(uint), Value::Double(double)) | (Value::Double(double), Value::Uint(uint)) => {
            compare_double_uint(*double, *uint) == Some(Ordering::Equal)
        }
        _ => false,
    }
}

fn lists(left: &List<'_>, right: &List<'_>) -> Same {
    if left.len() != right.len() {
        return Ok(false);
    }
    match left.list_type() {
        ListType::Atomic => {}
        keyed => return by_key(left, right, keyed),
    }
    let shaped = left.shape().is_some();
    for (a, b) in left.values().zip(right.values()) {
        let same = if shaped { deep_equal(&a?, &b?) } else { element_equal(a, b) };
        match same {
            Ok(true) => {}
            // Elements of a list without a schema that cannot be compared are not held against it.
            Err(Fault::Error(_)) if !shaped => {}
            other => return other,
        }
    }
    Ok(true)
}

fn element_equal(a: Result<Value<'_>, Fault>, b: Result<Value<'_>, Fault>) -> Same {
    equal(&a?, &b?)
}

fn by_key(left: &List<'_>, right: &List<'_>, keyed: &ListType) -> Same {
    let known: Vec<_> = left.values().collect::<Result<_, _>>()?;
    let keys: Vec<_> = known.iter().map(|value| element_key(value, keyed)).collect();
    for value in right.values() {
        let value = value?;
        let key = element_key(&value, keyed);
        let Some(at) = keys.iter().rposition(|known| *known == key) else { return Ok(false) };
        if matches!(keyed, ListType::Map(_)) && !deep_equal(&known[at], &value)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps(left: &Map<'_>, right: &Map<'_>) -> Same {
    if left.len() != right.len() {
        return Ok(false);
    }
    if let Map::Json(fields, Some(shape)) = left {
        return shaped_maps(left, fields, shape, right);
    }
    for key in left.keys() {
        let Some(other) = right.find(&key)? else { return Ok(false) };
        let mine = left.find(&key)?.unwrap_or(Value::Null);
        match equal(&mine, &other) {
            Ok(false) => return Ok(false),
            Ok(true) | Err(Fault::Error(_)) => {}
            Err(stop) => return Err(stop),
        }
    }
    Ok(true)
}

fn shaped_maps(left: &Map<'_>, fields: &serde_json::Map<String, Json>, shape: &Shape, right: &Map<'_>) -> Same {
    for (name, value) in fields {
        let described = match &shape.properties {
            Some(properties) => properties.contains_key(name),
            None => shape.items.is_some(),
        };
        if described {
            match (left.field(name)?, right.field(name)?) {
                (None, None) => {}
                (Some(mine), Some(other)) => {
                    if !deep_equal(&mine, &other)? {
                        return Ok(false);
                    }
                }
                _ => return Ok(false),
            }
            continue;
        }
        let Map::Json(others, Some(_)) = right else { return Err(Fault::no_overload()) };
        if others.get(name).is_some_and(|other| other != value) {
            return Ok(false);
        }
    }
    Ok(true)
}
