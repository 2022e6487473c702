//! Costs as they arise.
//!
//! Upstream keeps a stack of the values that steps gave, by the numbers of their nodes, and takes arguments from it; a call whose
//! arguments it does not find costs nothing. What a step leaves behind (the rest of a short-circuited `or`) can hide arguments in the next
//! turn of a loop, so the stack is kept here too, without the values.

use super::{PATTERN, TRAVERSAL};
use crate::fault::Fault;
use crate::plan::Node;
use crate::syntax::ast::Id;
use crate::value::Value;

/// Counts the cost of one evaluation.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) cost: u64,
    limit: u64,
    stack: Vec<Id>,
    /// How often each node is on the stack, so that looking for one that is not costs nothing.
    present: Vec<u32>,
}

impl Meter {
    pub(crate) fn new(limit: u64, nodes: usize) -> Self {
        Self { cost: 0, limit, stack: Vec::with_capacity(32), present: vec![0; nodes] }
    }

    /// A step has its value.
    pub(crate) fn push(&mut self, id: Id) -> Result<(), Fault> {
        self.stack.push(id);
        if let Some(count) = self.present.get_mut(id as usize) {
            *count += 1;
        }
        if self.cost > self.limit { Err(Fault::CostExceeded) } else { Ok(()) }
    }

    /// Removes a node's value and all above it, if it is there.
    pub(crate) fn drop(&mut self, id: Id) -> bool {
        if self.present.get(id as usize).is_none_or(|count| *count == 0) {
            return false;
        }
        while let Some(top) = self.stack.pop() {
            if let Some(count) = self.present.get_mut(top as usize) {
                *count -= 1;
            }
            if top == id {
                break;
            }
        }
        true
    }

    /// Removes arguments, the last one first; whether all were there.
    pub(crate) fn drop_all(&mut self, nodes: &[Node], _evaluated: usize) -> bool {
        nodes.iter().rev().all(|node| self.drop(node.id))
    }

    /// Removes what a literal was made of; keys and values take turns.
    pub(crate) fn drop_interleaved(&mut self, parts: &[&[Node]], _all: usize) {
        let length = parts.first().map_or(0, |part| part.len());
        for at in (0..length).rev() {
            for part in parts.iter().rev() {
                if !self.drop(part[at].id) {
                    return;
                }
            }
        }
    }
}

/// Size as costs count it; errors have one.
fn size(value: Option<&Result<Value<'_>, Fault>>) -> u64 {
    match value {
        Some(Ok(value)) => value.size(),
        _ => 1,
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "costs are counted in doubles"
)]
fn part(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// What a call costs besides its arguments.
pub(crate) fn call_cost(
    function: &str,
    overload: &str,
    args: &[Result<Value<'_>, Fault>],
    result: &Result<Value<'_>, Fault>,
) -> u64 {
    if let Some(cost) = list_cost(overload, args, result) {
        return cost;
    }
    if let Some(cost) = library_cost(function, overload, args, result) {
        return cost;
    }
    let first = size(args.first());
    let second = size(args.get(1));
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string" | "strings_quote"
        | "string_format" => {
            // The affix is what is compared; conversions have one argument.
            part(first, TRAVERSAL)
        }
        "in_list" => second,
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes"
        | "equals"
        | "not_equals" => part(first.min(second), TRAVERSAL),
        "add_string" | "add_bytes" => part(first + second, TRAVERSAL),
        "matches_string" => pattern_cost(first, second),
        "contains_string" => part(first, TRAVERSAL) * part(second, TRAVERSAL),
        _ => 1,
    }
}

/// Matching a text of that size with a pattern of that size; even an empty text is looked at.
fn pattern_cost(text: u64, pattern: u64) -> u64 {
    part(text + 1, TRAVERSAL).saturating_mul(part(pattern, PATTERN))
}

/// Lists that are made, and sets.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "costs are counted in doubles"
)]
fn list_cost(overload: &str, args: &[Result<Value<'_>, Fault>], result: &Result<Value<'_>, Fault>) -> Option<u64> {
    let made = |factor: f64, size: u64| Some((size as f64 * factor) as u64 + 1 + 10);
    let product = size(args.first()).saturating_mul(size(args.get(1)));
    match overload {
        "list_sets_contains_list" | "list_sets_intersects_list" => return Some(1 + product),
        "list_sets_equivalent_list" => return Some(1 + product.saturating_mul(2)),
        "list_slice" | "lists_range" | "list_reverse" => return made(1.0, size(Some(result))),
        "list_flatten" => return made(1.0, size(args.first())),
        "list_flatten_int" => {
            let depth = match args.get(1) {
                Some(Ok(Value::Int(depth))) => *depth as f64,
                _ => 1.0,
            };
            return made(depth, size(args.first()));
        }
        _ => {}
    }
    let compared = if overload == "list_distinct" || overload.ends_with("_sort") {
        args.first()
    } else if overload.ends_with("_sortByAssociatedKeys") {
        args.get(1)
    } else {
        return None;
    };
    let Some(Ok(Value::List(list))) = compared else { return made(2.0, 1) };
    let length = list.len() as u64;
    let textual = matches!(list.get(0), Ok(Value::String(_) | Value::Bytes(_)));
    let factor = if textual { 2.0 + TRAVERSAL } else { 2.0 };
    made(factor, length.saturating_mul(length))
}

/// Kubernetes' functions.
fn library_cost(
    function: &str,
    overload: &str,
    args: &[Result<Value<'_>, Fault>],
    result: &Result<Value<'_>, Fault>,
) -> Option<u64> {
    let first = size(args.first());
    Some(match function {
        "check" => super::calls::CHECK,
        _ if super::calls::costs_one(function) => 1,
        "fieldSelector" | "labelSelector" if args.len() >= 2 => super::calls::selector(size(args.get(1))),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, traversal),
        "ip" if overload == "cidr_ip" => 1,
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "ip"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => part(first, TRAVERSAL),
        "replace" | "split" | "ip.isCanonical" => part(first, 2.0 * TRAVERSAL),
        "join" => part(size(Some(result)), 2.0 * TRAVERSAL),
        "find" | "findAll" => pattern_cost(first, size(args.get(1))),
        "containsIP" | "containsCIDR" => contains_cost(function, overload, first, size(args.get(1))),
        "validate" => match args.first() {
            Some(Ok(Value::Format(format))) => pattern_cost(size(args.get(1)), format.pattern_size),
            _ => return None,
        },
        "_==_" => match args.first() {
            Some(Ok(
                Value::Quantity(_)
                | Value::Ip(_)
                | Value::Cidr(..)
                | Value::Format(_)
                | Value::Url(_)
                | Value::Semver(_)
                | Value::Check(_),
            )) => 1,
            _ => return None,
        },
        _ => return None,
    })
}

fn contains_cost(function: &str, overload: &str, network: u64, other: u64) -> u64 {
    let mut cost = part(network * 2, TRAVERSAL);
    if function == "containsCIDR" {
        cost += part(network, TRAVERSAL) + 1;
    }
    if matches!(overload, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
        cost += part(other, TRAVERSAL);
    }
    cost
}

/// Looking at all of a value.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "costs are counted in doubles"
)]
fn traversal(value: &Result<Value<'_>, Fault>) -> u64 {
    let bytes = |length: usize| (length as f64 * TRAVERSAL) as u64;
    match value {
        Ok(Value::String(text)) => bytes(text.as_str().len()),
        Ok(Value::Bytes(content)) => bytes(content.len()),
        Ok(Value::List(list)) => list.values().map(|value| traversal(&value)).fold(0, u64::saturating_add),
        Ok(Value::Map(map)) => map.keys().into_iter().fold(0, |sum, key| {
            let value = map.find(&key).map(|value| value.unwrap_or(Value::Null));
            sum.saturating_add(traversal(&Ok(key))).saturating_add(traversal(&value))
        }),
        _ => 1,
    }
}
