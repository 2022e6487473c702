//! Lists, sets, and the maps that comprehensions make.

use super::dispatch::Body;
use super::operators::{add, compare, has};
use crate::eval::Outcome;
use crate::fault::Fault;
use crate::value::{Key, List, Map, Value, deep_equal, show};
use std::cmp::Ordering;
use std::sync::Arc;

/// Longest list that `lists.range` makes: more than a run's cost lets anyone look at. Upstream has no bound and dies of memory.
const RANGE_MAX: i64 = 10_000_000;

pub(super) fn body(id: &'static str) -> Option<Body> {
    if id.ends_with("_is_sorted_bool") {
        return Some(|args| is_sorted(&args[0]));
    }
    if let Some(rest) = id.strip_prefix("list_") {
        let sum: Option<Body> = match rest {
            "int_sum_int" => Some(|args| sum(&args[0], Value::Int(0))),
            "uint_sum_uint" => Some(|args| sum(&args[0], Value::Uint(0))),
            "double_sum_double" => Some(|args| sum(&args[0], Value::Double(0.0))),
            "duration_sum_duration" => Some(|args| sum(&args[0], Value::Duration(0))),
            _ if rest.contains("_max_") => Some(|args| extreme(&args[0], "max", Ordering::Less)),
            _ if rest.contains("_min_") => Some(|args| extreme(&args[0], "min", Ordering::Greater)),
            _ => None,
        };
        if sum.is_some() {
            return sum;
        }
    }
    Some(match id {
        "list_a_index_of_int" => |args| index_of(args, false),
        "list_a_last_index_of_int" => |args| index_of(args, true),
        "list_sets_contains_list" => |args| Ok(Value::Bool(subset(&args[1], &args[0])?)),
        "list_sets_equivalent_list" => {
            |args| Ok(Value::Bool(subset(&args[1], &args[0])? && subset(&args[0], &args[1])?))
        }
        "list_sets_intersects_list" => |args| intersects(&args[0], &args[1]),
        "list_slice" => slice,
        "list_flatten" => |args| flatten(args),
        "list_flatten_int" => |args| flatten(args),
        "lists_range" => |args| match &args[0] {
            Value::Int(count) if *count > RANGE_MAX => {
                Err(Fault::new(format!("lists.range({count}): more than {RANGE_MAX} elements")))
            }
            Value::Int(count) => Ok(Value::List(List::of((0..*count).map(Value::Int).collect()))),
            _ => Err(Fault::no_overload()),
        },
        "list_reverse" => |args| {
            let mut values = values(&args[0])?;
            values.reverse();
            Ok(Value::List(List::of(values)))
        },
        "list_distinct" => |args| {
            let mut seen: Vec<Value<'_>> = Vec::new();
            for value in values(&args[0])? {
                if !seen.iter().any(|known| deep_equal(&value, known).unwrap_or(false)) {
                    seen.push(value);
                }
            }
            Ok(Value::List(List::of(seen)))
        },
        _ => return None,
    })
}

/// Types as this one message shows them.
fn shown_type<'v>(value: &'v Value<'_>) -> &'v str {
    match value {
        Value::List(_) => "list(dyn)",
        Value::Map(_) => "map(dyn, dyn)",
        other => other.type_name(),
    }
}

fn list<'v, 'a>(value: &'v Value<'a>) -> Result<&'v List<'a>, Fault> {
    match value {
        Value::List(list) => Ok(list),
        _ => Err(Fault::no_overload()),
    }
}

fn values<'a>(value: &Value<'a>) -> Result<Vec<Value<'a>>, Fault> {
    list(value)?.values().collect()
}

fn is_sorted<'a>(value: &Value<'a>) -> Outcome<'a> {
    let values = values(value)?;
    values.iter().try_for_each(comparable)?;
    for pair in values.windows(2) {
        if compare(&pair[0], &pair[1]) == Ok(Ordering::Greater) {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(value: &Value<'a>, zero: Value<'a>) -> Outcome<'a> {
    values(value)?.iter().try_fold(zero, |sum, value| add(&sum, value))
}

/// The first of those that are replaced by none: a value stands until one is `than` it.
fn extreme<'a>(value: &Value<'a>, name: &str, than: Ordering) -> Outcome<'a> {
    let mut best: Option<Value<'a>> = None;
    for value in values(value)? {
        comparable(&value)?;
        let replace = best.as_ref().is_none_or(|best| compare(best, &value) == Ok(than));
        if replace {
            best = Some(value);
        }
    }
    best.ok_or_else(|| Fault::new(format!("{name} called on empty list")))
}

/// Refuses what has no order among its own kind.
fn comparable(value: &Value<'_>) -> Result<(), Fault> {
    match value {
        Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::String(_)
        | Value::Bytes(_)
        | Value::Timestamp(_)
        | Value::Duration(_) => Ok(()),
        _ => Err(Fault::no_overload()),
    }
}

fn index_of<'a>(args: &[Value<'a>], last: bool) -> Outcome<'a> {
    let values = values(&args[0])?;
    let same = |value: &Value<'a>| deep_equal(value, &args[1]).unwrap_or(false);
    let at = if last { values.iter().rposition(same) } else { values.iter().position(same) };
    Ok(Value::Int(at.map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX))))
}

/// Whether all elements of the first list are in the second.
fn subset(part: &Value<'_>, of: &Value<'_>) -> Result<bool, Fault> {
    let all = values(of)?;
    Ok(values(part)?.iter().all(|value| has(&all, value)))
}

fn intersects<'a>(left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    let right = values(right)?;
    Ok(Value::Bool(values(left)?.iter().any(|value| has(&right, value))))
}

fn slice<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (Value::Int(start), Value::Int(end)) = (&args[1], &args[2]) else { return Err(Fault::no_overload()) };
    let list = list(&args[0])?;
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let refused = |why: &str| Err(Fault::new(format!("cannot slice({start}, {end}), {why}")));
    if *start < 0 || *end < 0 {
        return refused("negative indexes not supported");
    }
    if start > end {
        return refused("start index must be less than or equal to end index");
    }
    if length < *end {
        return refused(&format!("list is length {length}"));
    }
    let (start, end) = (usize::try_from(*start).unwrap_or(0), usize::try_from(*end).unwrap_or(0));
    let values = (start..end).map(|at| list.get(at)).collect::<Result<_, _>>()?;
    Ok(Value::List(List::of(values)))
}

fn flatten<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (list, depth) = match args {
        [Value::List(list)] => (list, 1),
        [Value::List(list), Value::Int(depth)] => (list, *depth),
        [other, rest @ ..] => {
            let depth = rest.first().map(shown_type).unwrap_or_default();
            return Err(Fault::new(format!("no such overload: {}.flatten({depth})", shown_type(other))));
        }
        [] => return Err(Fault::no_overload()),
    };
    let mut out = Vec::new();
    flatten_into(list, depth, &mut out)?;
    Ok(Value::List(List::of(out)))
}

fn flatten_into<'a>(list: &List<'a>, depth: i64, out: &mut Vec<Value<'a>>) -> Result<(), Fault> {
    if depth < 0 {
        return Err(Fault::new("level must be non-negative"));
    }
    for value in list.values() {
        match value? {
            Value::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, out)?,
            other => out.push(other),
        }
    }
    Ok(())
}

/// The list in the order of the keys.
pub(super) fn sort<'a>(name: &str, list: &Value<'a>, keys: &Value<'a>) -> Outcome<'a> {
    let (Value::List(of), Value::List(by)) = (list, keys) else {
        return Err(super::operators::unsupported(name, list));
    };
    if of.len() != by.len() {
        let (expected, got) = (of.len(), by.len());
        return Err(Fault::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {expected} and {got} elements respectively"
        )));
    }
    if of.is_empty() {
        return Ok(list.clone());
    }
    let keys: Vec<Value<'a>> = by.values().collect::<Result<_, _>>()?;
    if compare(&keys[0], &keys[0]).is_err() && !matches!(keys[0], Value::Double(_)) {
        return Err(Fault::new("list elements must be comparable"));
    }
    if keys.len() > 1 && keys.iter().any(|key| key.type_name() != keys[0].type_name()) {
        return Err(Fault::new("list elements must have the same type"));
    }
    let mut order: Vec<usize> = (0..keys.len()).collect();
    // A sort must see one order of all, whatever cannot be compared.
    order.sort_by(|a, b| compare(&keys[*a], &keys[*b]).unwrap_or(Ordering::Equal));
    let sorted = order.into_iter().map(|at| of.get(at)).collect::<Result<_, _>>()?;
    Ok(Value::List(List::of(sorted)))
}

/// A map with one more entry.
pub(super) fn insert<'a>(map: Value<'a>, key: &Value<'a>, value: &Value<'a>) -> Outcome<'a> {
    let Value::Map(map) = map else { return Err(Fault::no_overload()) };
    if map.find(key)?.is_some() {
        return Err(Fault::new(format!("insert failed: key {} already exists", show(key))));
    }
    let place = Key::of(key).ok_or_else(|| Fault::new(format!("unsupported key type: {}", key.type_name())))?;
    let Map::Made(mut entries) = map else { return Err(Fault::no_overload()) };
    Arc::make_mut(&mut entries).insert(place, value.clone());
    Ok(Value::Map(Map::Made(entries)))
}

/// A map with the entries of another.
pub(super) fn insert_all<'a>(mut map: Value<'a>, more: &Value<'a>) -> Outcome<'a> {
    let Value::Map(added) = more else { return Err(Fault::no_overload()) };
    for key in added.keys() {
        let value = added.find(&key)?.unwrap_or(Value::Null);
        map = insert(map, &key, &value)?;
    }
    Ok(map)
}
