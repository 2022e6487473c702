//! Quantities.

use super::dispatch::Body;
use crate::eval::Outcome;
use crate::fault::Fault;
use crate::value::{Amount, Value};
use skiff_proto::quantity::Quantity;
use std::cmp::Ordering;

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "string_to_quantity" => |args| {
            let text = args[0].as_str().ok_or_else(Fault::no_overload)?;
            Quantity::parse(text).map(|quantity| Value::Quantity(Amount { quantity, summed: false })).map_err(|_| {
                Fault::new(if text.is_empty() {
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                } else {
                    unparsable(text)
                })
            })
        },
        "is_quantity_string" => |args| {
            let text = args[0].as_str().ok_or_else(Fault::no_overload)?;
            Ok(Value::Bool(Quantity::parse(text).is_ok()))
        },
        "quantity_sign" => |args| Ok(Value::Int(i64::try_from(of(&args[0])?.nanos().signum()).unwrap_or(0))),
        "quantity_is_greater_than" => |args| Ok(Value::Bool(order(args)? == Ordering::Greater)),
        "quantity_is_less_than" => |args| Ok(Value::Bool(order(args)? == Ordering::Less)),
        "quantity_compare_to" => |args| Ok(Value::Int(order(args)? as i64)),
        "quantity_get_float" => |args| Ok(Value::Double(approximate(of(&args[0])?))),
        "quantity_get_int" => |args| match whole(of(&args[0])?) {
            Some(value) => Ok(Value::Int(value)),
            None => Err(Fault::new("cannot convert value to integer")),
        },
        "quantity_is_integer" => |args| Ok(Value::Bool(whole(of(&args[0])?).is_some())),
        "quantity_add" => |args| sum(of(&args[0])?, of(&args[1])?),
        "quantity_sub" => |args| sum(of(&args[0])?, of(&args[1])?.negated()),
        "quantity_add_int" => |args| sum(of(&args[0])?, from_int(&args[1])?),
        "quantity_sub_int" => |args| sum(of(&args[0])?, from_int(&args[1])?.negated()),
        _ => return None,
    })
}

/// Whether what follows the number could be a suffix decides what is said.
fn unparsable(text: &str) -> &'static str {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let rest = &rest[digits(rest)..];
    let rest = rest.strip_prefix('.').map_or(rest, |fraction| &fraction[digits(fraction)..]);
    let rest = rest.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    if rest.bytes().all(|byte| byte.is_ascii_digit()) {
        "unable to parse quantity's suffix"
    } else {
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    }
}

fn of(value: &Value<'_>) -> Result<Quantity, Fault> {
    match value {
        Value::Quantity(amount) => Ok(amount.quantity),
        _ => Err(Fault::no_overload()),
    }
}

fn from_int(value: &Value<'_>) -> Result<Quantity, Fault> {
    match value {
        Value::Int(value) => Ok(Quantity::of_units(*value)),
        _ => Err(Fault::no_overload()),
    }
}

fn order(args: &[Value<'_>]) -> Result<Ordering, Fault> {
    Ok(of(&args[0])?.nanos().cmp(&of(&args[1])?.nanos()))
}

fn sum<'a>(left: Quantity, right: Quantity) -> Outcome<'a> {
    Ok(Value::Quantity(Amount { quantity: left.plus(right), summed: true }))
}

fn whole(quantity: Quantity) -> Option<i64> {
    quantity.is_whole().then(|| i64::try_from(quantity.nanos() / 1_000_000_000).ok()).flatten()
}

#[expect(clippy::cast_precision_loss, reason = "approximate by its name")]
fn approximate(quantity: Quantity) -> f64 {
    let nanos = quantity.nanos();
    if nanos % 1_000_000_000 == 0 { (nanos / 1_000_000_000) as f64 } else { nanos as f64 / 1e9 }
}
