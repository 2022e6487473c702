//! What a call costs when it runs, besides its arguments.

use super::estimate::scaled;
use super::{PATTERN, TRAVERSAL, calls};
use crate::fault::Fault;
use crate::value::Value;

/// How the cost of a call follows from its arguments. Known when the expression is planned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Price {
    /// One.
    One,
    /// A question to the authorizer.
    Check,
    /// A selector as second argument.
    Selector,
    /// Part of the first argument's size.
    First(f64),
    /// The second argument's size.
    Second,
    /// Part of the result's size.
    Result(f64),
    /// Looking at all of the first argument.
    All,
    /// The smaller of two sizes.
    Smaller,
    /// The same, or one if the left value is of a library.
    Equality,
    /// Both sizes together.
    Both,
    /// A text and a pattern.
    Pattern,
    /// A text and a part of it.
    Product,
    /// A network and an address or network; whether it is one, and whether it is a text.
    Network { network: bool, text: bool },
    /// A text and the pattern of a format.
    Format,
    /// So many times each element of one list by each of the other.
    Sets(u64),
    /// A list as long as the result.
    Made,
    /// A list of parts of the first; the second says how deep.
    Flat,
    /// Each element of a list by each other: of the argument at that place.
    Compared(usize),
}

type Outcome<'v> = Result<Value<'v>, Fault>;

/// The price of a function's overload; of none if arguments decide which is meant.
pub(crate) fn price(function: &str, overload: &str) -> Price {
    list_price(overload).or_else(|| library_price(function, overload)).unwrap_or_else(|| match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string" | "strings_quote"
        | "string_format" => Price::First(TRAVERSAL),
        "in_list" => Price::Second,
        "not_equals" => Price::Smaller,
        "add_string" | "add_bytes" => Price::Both,
        "matches_string" => Price::Pattern,
        "contains_string" => Price::Product,
        _ if super::estimate::is_text_comparison(overload) => Price::Smaller,
        _ => Price::One,
    })
}

fn list_price(overload: &str) -> Option<Price> {
    Some(match overload {
        "list_sets_contains_list" | "list_sets_intersects_list" => Price::Sets(1),
        "list_sets_equivalent_list" => Price::Sets(2),
        "list_slice" | "lists_range" | "list_reverse" => Price::Made,
        "list_flatten" | "list_flatten_int" => Price::Flat,
        "list_distinct" => Price::Compared(0),
        _ if overload.ends_with("_sort") => Price::Compared(0),
        _ if overload.ends_with("_sortByAssociatedKeys") => Price::Compared(1),
        _ => return None,
    })
}

fn library_price(function: &str, overload: &str) -> Option<Price> {
    Some(match function {
        "check" => Price::Check,
        _ if calls::costs_one(function) => Price::One,
        "fieldSelector" | "labelSelector" => Price::Selector,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => Price::All,
        "ip" if overload == "cidr_ip" => Price::One,
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
        | "isSemver" => Price::First(TRAVERSAL),
        "replace" | "split" | "ip.isCanonical" => Price::First(2.0 * TRAVERSAL),
        "join" => Price::Result(2.0 * TRAVERSAL),
        "find" | "findAll" => Price::Pattern,
        "containsIP" => Price::Network { network: false, text: overload == "cidr_contains_ip_string" },
        "containsCIDR" => Price::Network { network: true, text: overload == "cidr_contains_cidr_string" },
        "validate" => Price::Format,
        "_==_" => Price::Equality,
        _ => return None,
    })
}

impl Price {
    /// The cost of one call.
    pub(crate) fn of(self, args: &[Outcome<'_>], result: &Outcome<'_>) -> u64 {
        let size = |at: usize| size(args.get(at));
        match self {
            Self::One => 1,
            Self::Check => calls::CHECK,
            Self::Selector => calls::selector(size(1)),
            Self::First(factor) => scaled(size(0), factor),
            Self::Second => size(1),
            Self::Result(factor) => scaled(self::size(Some(result)), factor),
            Self::All => args.first().map_or(0, traversal),
            Self::Equality if args.first().is_some_and(is_of_library) => 1,
            Self::Smaller | Self::Equality => scaled(size(0).min(size(1)), TRAVERSAL),
            Self::Both => scaled(size(0) + size(1), TRAVERSAL),
            Self::Pattern => pattern(size(0), size(1)),
            Self::Product => scaled(size(0), TRAVERSAL) * scaled(size(1), TRAVERSAL),
            Self::Network { network, text } => {
                let more = if network { scaled(size(0), TRAVERSAL) + 1 } else { 0 };
                let read = if text { scaled(size(1), TRAVERSAL) } else { 0 };
                scaled(size(0) * 2, TRAVERSAL) + more + read
            }
            Self::Format => match args.first() {
                Some(Ok(Value::Format(format))) => pattern(size(1), format.pattern_size),
                _ => 1,
            },
            Self::Sets(times) => 1 + size(0).saturating_mul(size(1)).saturating_mul(times),
            Self::Made => made(1.0, self::size(Some(result))),
            Self::Flat => made(depth(args), size(0)),
            Self::Compared(at) => compared(args.get(at)),
        }
    }
}

/// Size as costs count it; errors have one.
fn size(value: Option<&Outcome<'_>>) -> u64 {
    match value {
        Some(Ok(value)) => value.size(),
        _ => 1,
    }
}

fn is_of_library(value: &Outcome<'_>) -> bool {
    matches!(
        value,
        Ok(Value::Quantity(_)
            | Value::Ip(_)
            | Value::Cidr(..)
            | Value::Format(_)
            | Value::Url(_)
            | Value::Semver(_)
            | Value::Check(_))
    )
}

/// Matching a text with a pattern, by their sizes; even an empty text is looked at.
fn pattern(text: u64, pattern: u64) -> u64 {
    scaled(text + 1, TRAVERSAL).saturating_mul(scaled(pattern, PATTERN))
}

/// Making a list.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "costs are counted in doubles"
)]
fn made(factor: f64, size: u64) -> u64 {
    ((size as f64 * factor) as u64).saturating_add(1 + 10)
}

#[expect(clippy::cast_precision_loss, reason = "costs are counted in doubles")]
fn depth(args: &[Outcome<'_>]) -> f64 {
    match args.get(1) {
        Some(Ok(Value::Int(depth))) => *depth as f64,
        _ => 1.0,
    }
}

fn compared(list: Option<&Outcome<'_>>) -> u64 {
    let Some(Ok(Value::List(list))) = list else { return made(2.0, 1) };
    let length = list.len() as u64;
    let textual = matches!(list.get(0), Ok(Value::String(_) | Value::Bytes(_)));
    made(if textual { 2.0 + TRAVERSAL } else { 2.0 }, length.saturating_mul(length))
}

/// Looking at all of a value.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "costs are counted in doubles"
)]
fn traversal(value: &Outcome<'_>) -> u64 {
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
