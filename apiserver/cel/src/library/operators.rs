//! Arithmetic, comparison, membership, size and conversions.

use super::dispatch::Body;
use crate::eval::Outcome;
use crate::fault::Fault;
use crate::number::{compare_double_int, compare_double_uint, compare_int_uint, show, to_int, to_uint};
use crate::value::{Map, Text, Value, deep_equal, truly_equal};
use std::cmp::Ordering;
use std::sync::Arc;

const INT_OVERFLOW: &str = "integer overflow";
const UINT_OVERFLOW: &str = "unsigned integer overflow";

/// Functions that do one thing for all their overloads.
pub(super) fn whole(name: &str) -> Option<Body> {
    Some(match name {
        "_+_" => |args| add(&args[0], &args[1]),
        "_-_" => |args| subtract(&args[0], &args[1]),
        "_*_" => |args| arithmetic("_*_", &args[0], &args[1]),
        "_/_" => |args| arithmetic("_/_", &args[0], &args[1]),
        "_%_" => |args| arithmetic("_%_", &args[0], &args[1]),
        "-_" => |args| negate(&args[0]),
        "!_" => |args| match &args[0] {
            Value::Bool(value) => Ok(Value::Bool(!value)),
            _ => Err(Fault::no_overload()),
        },
        "_<_" => |args| ordered("_<_", args, Ordering::is_lt),
        "_<=_" => |args| ordered("_<=_", args, Ordering::is_le),
        "_>_" => |args| ordered("_>_", args, Ordering::is_gt),
        "_>=_" => |args| ordered("_>=_", args, Ordering::is_ge),
        "@in" => |args| contains(&args[0], &args[1]),
        "size" => |args| match args[0].sized() {
            Some(size) => Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX))),
            None => Err(unsupported("size", &args[0])),
        },
        "type" => |args| Ok(Value::Type(args[0].type_name().into())),
        "dyn" => |args| Ok(args[0].clone()),
        "matches" => super::regexes::matches,
        "sort" => |args| super::lists::sort("sort", &args[0], &args[0]),
        "@sortByAssociatedKeys" => |args| super::lists::sort("@sortByAssociatedKeys", &args[0], &args[1]),
        _ => return None,
    })
}

/// What an operator says of a left operand that has none.
pub(super) fn unsupported(name: &str, value: &Value<'_>) -> Fault {
    match value {
        Value::String(_) | Value::Timestamp(_) | Value::Duration(_) => Fault::no_overload(),
        _ => Fault::new(format!("no such overload: {name}")),
    }
}

fn checked<'a, T>(value: Option<T>, make: impl Fn(T) -> Value<'a>, overflow: &str) -> Outcome<'a> {
    value.map(make).ok_or_else(|| Fault::new(overflow))
}

/// `+`.
pub(crate) fn add<'a>(left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => checked(a.checked_add(*b), Value::Int, INT_OVERFLOW),
        (Value::Uint(a), Value::Uint(b)) => checked(a.checked_add(*b), Value::Uint, UINT_OVERFLOW),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::String(a), Value::String(b)) => Ok(Value::text(format!("{}{}", a.as_str(), b.as_str()))),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([&**a, &**b].concat().into())),
        (Value::List(a), Value::List(b)) => a.clone().plus(b).map(Value::List),
        (Value::Duration(a), Value::Duration(b)) => checked(a.checked_add(*b), Value::Duration, INT_OVERFLOW),
        (Value::Timestamp(time), Value::Duration(nanos)) | (Value::Duration(nanos), Value::Timestamp(time)) => {
            super::time::shifted(*time, *nanos)
        }
        (
            Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::List(_)
            | Value::Duration(_)
            | Value::Timestamp(_),
            _,
        ) => Err(Fault::no_overload()),
        _ => Err(unsupported("_+_", left)),
    }
}

fn subtract<'a>(left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => checked(a.checked_sub(*b), Value::Int, INT_OVERFLOW),
        (Value::Uint(a), Value::Uint(b)) => checked(a.checked_sub(*b), Value::Uint, UINT_OVERFLOW),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => checked(a.checked_sub(*b), Value::Duration, INT_OVERFLOW),
        (Value::Timestamp(time), Value::Duration(nanos)) => match nanos.checked_neg() {
            Some(nanos) => super::time::shifted(*time, nanos),
            None => Err(Fault::new(INT_OVERFLOW)),
        },
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            let seconds = a.seconds.checked_sub(b.seconds).and_then(|seconds| seconds.checked_mul(1_000_000_000));
            let nanos = i64::from(a.nanos) - i64::from(b.nanos);
            checked(seconds.and_then(|seconds| seconds.checked_add(nanos)), Value::Duration, INT_OVERFLOW)
        }
        (Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_) | Value::Timestamp(_), _) => {
            Err(Fault::no_overload())
        }
        _ => Err(unsupported("_-_", left)),
    }
}

/// `*`, `/` and `%`.
fn arithmetic<'a>(name: &str, left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    match (name, left, right) {
        ("_*_", Value::Int(a), Value::Int(b)) => checked(a.checked_mul(*b), Value::Int, INT_OVERFLOW),
        ("_*_", Value::Uint(a), Value::Uint(b)) => checked(a.checked_mul(*b), Value::Uint, UINT_OVERFLOW),
        ("_*_", Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        ("_/_", Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        ("_/_", Value::Int(_), Value::Int(0)) | ("_/_", Value::Uint(_), Value::Uint(0)) => {
            Err(Fault::new("division by zero"))
        }
        ("_%_", Value::Int(_), Value::Int(0)) | ("_%_", Value::Uint(_), Value::Uint(0)) => {
            Err(Fault::new("modulus by zero"))
        }
        ("_/_", Value::Int(a), Value::Int(b)) => checked(a.checked_div(*b), Value::Int, INT_OVERFLOW),
        ("_/_", Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a / b)),
        ("_%_", Value::Int(a), Value::Int(b)) => checked(a.checked_rem(*b), Value::Int, INT_OVERFLOW),
        ("_%_", Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a % b)),
        (_, Value::Int(_) | Value::Uint(_), _) => Err(Fault::no_overload()),
        ("_*_" | "_/_", Value::Double(_), _) => Err(Fault::no_overload()),
        _ => Err(unsupported(name, left)),
    }
}

fn negate<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Int(a) => checked(a.checked_neg(), Value::Int, INT_OVERFLOW),
        Value::Duration(a) => checked(a.checked_neg(), Value::Duration, INT_OVERFLOW),
        Value::Double(a) => Ok(Value::Double(-a)),
        Value::Bool(_) => Err(Fault::no_overload()),
        other => Err(unsupported("-_", other)),
    }
}

fn ordered<'a>(name: &str, args: &[Value<'a>], holds: fn(Ordering) -> bool) -> Outcome<'a> {
    match &args[0] {
        Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::String(_)
        | Value::Bytes(_)
        | Value::Timestamp(_)
        | Value::Duration(_) => compare(&args[0], &args[1]).map(|order| Value::Bool(holds(order))),
        other => Err(unsupported(name, other)),
    }
}

/// The order of two values.
pub(crate) fn compare(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, Fault> {
    let nan = || Fault::new("NaN values cannot be ordered");
    Ok(match (left, right) {
        (Value::Double(a), _) if a.is_nan() => return Err(nan()),
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), Value::Double(b)) if b.is_nan() => return Err(nan()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Uint(a), Value::Uint(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b).ok_or_else(nan)?,
        (Value::Int(a), Value::Uint(b)) => compare_int_uint(*a, *b),
        (Value::Uint(a), Value::Int(b)) => compare_int_uint(*b, *a).reverse(),
        (Value::Double(a), Value::Int(b)) => compare_double_int(*a, *b).ok_or_else(nan)?,
        (Value::Int(a), Value::Double(b)) => compare_double_int(*b, *a).ok_or_else(nan)?.reverse(),
        (Value::Double(a), Value::Uint(b)) => compare_double_uint(*a, *b).ok_or_else(nan)?,
        (Value::Uint(a), Value::Double(b)) => compare_double_uint(*b, *a).ok_or_else(nan)?.reverse(),
        (Value::String(a), Value::String(b)) => a.as_str().cmp(b.as_str()),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.instant().cmp(&b.instant()),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        _ => return Err(Fault::no_overload()),
    })
}

fn contains<'a>(element: &Value<'a>, container: &Value<'a>) -> Outcome<'a> {
    match container {
        Value::List(list) if list.shape().is_none() => {
            let mut found =
                list.values().map(|value| value.is_ok_and(|value| deep_equal(element, &value).unwrap_or(false)));
            Ok(Value::Bool(found.any(|same| same)))
        }
        Value::List(list) => {
            let mut wrong = None;
            for value in list.values() {
                match value.and_then(|value| deep_equal(&value, element)) {
                    Ok(true) => return Ok(Value::Bool(true)),
                    Ok(false) => {}
                    Err(fault) => wrong = wrong.or(Some(fault)),
                }
            }
            wrong.map_or(Ok(Value::Bool(false)), Err)
        }
        Value::Map(Map::Json(_, Some(_))) if !matches!(element, Value::String(_)) => Err(Fault::no_overload()),
        Value::Map(map) => Ok(Value::Bool(map.find(element)?.is_some())),
        _ => Err(Fault::no_overload()),
    }
}

/// Conversions.
pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "bool_to_bool"
        | "bytes_to_bytes"
        | "double_to_double"
        | "duration_to_duration"
        | "int64_to_int64"
        | "string_to_string"
        | "timestamp_to_timestamp"
        | "uint64_to_uint64" => |args| Ok(args[0].clone()),
        "string_to_bool" => |args| {
            from_text(&args[0], "bool", |text| match text {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(Value::Bool(true)),
                "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(Value::Bool(false)),
                _ => None,
            })
        },
        "string_to_bytes" => |args| from_text(&args[0], "bytes", |text| Some(Value::Bytes(Arc::from(text.as_bytes())))),
        "int64_to_double" | "uint64_to_double" => |args| Ok(Value::Double(as_double(&args[0]))),
        "string_to_double" => |args| from_text(&args[0], "double", |text| go_float(text).map(Value::Double)),
        "int64_to_duration" => |_| Err(Fault::new("type conversion error from 'int' to 'google.protobuf.Duration'")),
        "double_to_int64" => |args| checked(to_int(as_double(&args[0])), Value::Int, INT_OVERFLOW),
        "duration_to_int64" | "timestamp_to_int64" => |args| match &args[0] {
            Value::Duration(nanos) => Ok(Value::Int(*nanos)),
            Value::Timestamp(time) => Ok(Value::Int(time.seconds)),
            _ => Err(Fault::no_overload()),
        },
        "string_to_int64" => |args| from_text(&args[0], "int", |text| text.parse().ok().map(Value::Int)),
        "uint64_to_int64" => |args| match &args[0] {
            Value::Uint(value) => checked(i64::try_from(*value).ok(), Value::Int, INT_OVERFLOW),
            _ => Err(Fault::no_overload()),
        },
        "bool_to_string"
        | "double_to_string"
        | "int64_to_string"
        | "uint64_to_string"
        | "duration_to_string"
        | "timestamp_to_string"
        | "ip_to_string"
        | "cidr_to_string"
        | "bytes_to_string" => |args| to_text(&args[0]),
        "double_to_uint64" => |args| checked(to_uint(as_double(&args[0])), Value::Uint, UINT_OVERFLOW),
        "int64_to_uint64" => |args| match &args[0] {
            Value::Int(value) => checked(u64::try_from(*value).ok(), Value::Uint, UINT_OVERFLOW),
            _ => Err(Fault::no_overload()),
        },
        "string_to_uint64" => |args| {
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            from_text(&args[0], "uint", |text| Some(text).filter(|text| digits(text))?.parse().ok().map(Value::Uint))
        },
        "@mapInsert_map_key_value" => |args| super::lists::insert(args[0].clone(), &args[1], &args[2]),
        "@mapInsert_map_map" => |args| super::lists::insert_all(args[0].clone(), &args[1]),
        _ => return None,
    })
}

#[expect(clippy::cast_precision_loss, reason = "conversions to doubles round")]
fn as_double(value: &Value<'_>) -> f64 {
    match value {
        Value::Int(value) => *value as f64,
        Value::Uint(value) => *value as f64,
        Value::Double(value) => *value,
        _ => f64::NAN,
    }
}

fn from_text<'a>(value: &Value<'a>, to: &str, read: impl Fn(&str) -> Option<Value<'a>>) -> Outcome<'a> {
    let text = value.as_str().ok_or_else(Fault::no_overload)?;
    read(text).ok_or_else(|| Fault::new(format!("type conversion error from 'string' to '{to}'")))
}

/// A double as Go reads it: names in any case, underscores never, hexadecimal not here.
fn go_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text).to_ascii_lowercase();
    if matches!(&*unsigned, "inf" | "infinity" | "nan") {
        return text.to_ascii_lowercase().parse().ok().filter(|_| unsigned != "nan" || text.len() == 3);
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// `string(value)`.
pub(super) fn to_text<'a>(value: &Value<'a>) -> Outcome<'a> {
    Ok(match value {
        Value::String(text) => Value::String(text.clone()),
        Value::Double(number) => Value::text(show(*number, crate::number::GENERAL)),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::String(Text::from(text.to_owned())),
            Err(_) => return Err(Fault::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        other => Value::text(crate::value::show(other)),
    })
}

/// Whether a list has a value.
pub(super) fn has<'a>(list: &[Value<'a>], value: &Value<'a>) -> bool {
    list.iter().any(|known| truly_equal(known, value))
}
