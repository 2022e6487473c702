//! Estimates of what calls cost: sets and lists, and Kubernetes' functions.

use super::estimate::{Estimator, Part, Range};
use super::{PATTERN, TRAVERSAL};
use crate::syntax::ast::Literal;
use crate::types::Type;

/// What a question to the authorizer costs: two are as much as one expression may ask.
pub(super) const CHECK: u64 = 350_000;

/// Longest pattern of a named format.
const FORMAT_PATTERN_MAX: f64 = 128.0;

/// Cost of a call without its arguments, and the size of what it gives.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallEstimate {
    pub(super) cost: Range,
    pub(super) size: Option<Range>,
}

fn plain(cost: Range) -> Option<CallEstimate> {
    Some(CallEstimate { cost, size: None })
}

fn sized(cost: Range, size: Range) -> Option<CallEstimate> {
    Some(CallEstimate { cost, size: Some(size) })
}

/// A selector of that length: it is read, and each pair of characters may be a requirement.
pub(super) fn selector(length: u64) -> u64 {
    selector_range(Range::fixed(length)).max
}

fn selector_range(length: Range) -> Range {
    Range::fixed(10).plus(length.scaled(TRAVERSAL)).plus(length.scaled(0.5).scaled(50.0))
}

fn size(estimator: &Estimator<'_>, part: &Part<'_>) -> Range {
    part.size.or_else(|| estimator.size_at(&part.path)).unwrap_or(Range::UNKNOWN)
}

/// A call of a library; `None` if it costs as any call does.
pub(super) fn estimate(
    estimator: &Estimator<'_>,
    function: &str,
    overload: &str,
    target: Option<&Part<'_>>,
    args: &[Part<'_>],
) -> Option<CallEstimate> {
    let arg = |at: usize| args.get(at).map(|part| size(estimator, part));
    let of = target.map(|target| size(estimator, target));
    if let Some(found) = lists(overload, of, &arg, args) {
        return Some(found);
    }
    match function {
        "check" => plain(Range::fixed(CHECK)),
        _ if costs_one(function) => plain(Range::fixed(1)),
        "fieldSelector" | "labelSelector" if args.len() == 1 => plain(selector_range(arg(0)?)),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => plain(each(estimator, target?)),
        "url" | "jsonpatch.escapeKey" if args.len() == 1 => sized(arg(0)?.scaled(TRAVERSAL), arg(0)?),
        "lowerAscii" | "upperAscii" | "substring" | "trim" => sized(of?.scaled(TRAVERSAL), of?),
        "replace" if args.len() >= 2 => sized(of?.scaled(2.0 * TRAVERSAL), replaced(of?, arg(0)?, arg(1)?)),
        "split" => {
            let most = match args.get(1).and_then(|part| part.literal) {
                Some(Literal::Int(count)) => count.cast_unsigned(),
                _ => of?.max,
            };
            sized(of?.scaled(2.0 * TRAVERSAL), Range { min: 0, max: most })
        }
        "join" => {
            let size = joined(estimator, target?, arg(0));
            sized(size.scaled(TRAVERSAL), size)
        }
        "find" | "findAll" => {
            let text = of?.plus(Range::fixed(1)).scaled(TRAVERSAL);
            sized(text.times(arg(0)?.scaled(PATTERN)), Range { min: 0, max: of?.max })
        }
        "ip" if overload == "cidr_ip" => plain(Range::fixed(1)),
        "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            plain(arg(0)?.scaled(TRAVERSAL))
        }
        "ip.isCanonical" => plain(arg(0)?.scaled(2.0 * TRAVERSAL)),
        "containsIP" | "containsCIDR" => plain(contains(function, overload, arg(0)?)),
        "validate" => plain(arg(0)?.scaled(TRAVERSAL).scaled(FORMAT_PATTERN_MAX * PATTERN)),
        "_==_" => same(args),
        _ => None,
    }
}

/// Sets and lists of the language's own libraries.
fn lists(
    overload: &str,
    of: Option<Range>,
    arg: &dyn Fn(usize) -> Option<Range>,
    args: &[Part<'_>],
) -> Option<CallEstimate> {
    let made = |factor: f64, size: Range| sized(size.scaled(factor).plus(Range::fixed(1 + 10)), size);
    let int = |at: usize, otherwise: u64| match args.get(at).and_then(|part| part.literal) {
        Some(Literal::Int(value)) => u64::try_from(*value).unwrap_or(0),
        _ => otherwise,
    };
    match overload {
        "list_sets_contains_list" | "list_sets_intersects_list" => {
            plain(arg(0)?.times(arg(1)?).scaled(1.0).plus(Range::fixed(1)))
        }
        "list_sets_equivalent_list" => plain(arg(0)?.times(arg(1)?).scaled(2.0).plus(Range::fixed(1))),
        "list_slice" => made(1.0, Range::fixed(int(1, of?.max).wrapping_sub(int(0, 0)))),
        "lists_range" => made(1.0, Range::fixed(int(0, u64::MAX))),
        "list_reverse" => made(1.0, of?),
        "list_flatten" => made(1.0, of?),
        #[expect(clippy::cast_precision_loss, reason = "costs are counted in doubles")]
        "list_flatten_int" => made(int(0, u64::MAX) as f64, of?),
        "list_distinct" => made(2.0, of?.times(of?)),
        _ => {
            let compared = if overload.starts_with("list_") && overload.ends_with("_sort") {
                of?
            } else if overload.ends_with("_sortByAssociatedKeys") {
                arg(0)?
            } else {
                return None;
            };
            let textual = overload.starts_with("list_string_") || overload.starts_with("list_bytes_");
            made(if textual { 2.0 + TRAVERSAL } else { 2.0 }, compared.times(compared))
        }
    }
}

/// What elements of a list are, and how large.
fn element<'t>(estimator: &Estimator<'_>, list: &Part<'t>) -> Option<(&'t Type, Range)> {
    let of = match list.of {
        Type::List(element) => &**element,
        Type::Map(both) => &both.0,
        Type::Opaque(_, params) => params.first()?,
        Type::Type(Some(of)) => of,
        _ => return None,
    };
    let size = if list.path.is_empty() {
        None
    } else {
        let mut path = list.path.clone();
        path.push("@items".into());
        estimator.size_at(&path)
    };
    Some((of, size.unwrap_or(Range::UNKNOWN)))
}

/// Looking at each element.
fn each(estimator: &Estimator<'_>, target: &Part<'_>) -> Range {
    let count = size(estimator, target);
    match element(estimator, target) {
        Some((of, length)) => {
            let textual = matches!(of, Type::String | Type::Bytes);
            let one = if textual { Range::fixed(1).plus(length.scaled(TRAVERSAL)) } else { Range::fixed(1) };
            count.times(one)
        }
        None => count.scaled(TRAVERSAL),
    }
}

fn joined(estimator: &Estimator<'_>, target: &Part<'_>, separator: Option<Range>) -> Range {
    let count = size(estimator, target);
    let texts = element(estimator, target).map_or(Range::fixed(0), |(_, length)| count.times(length));
    match separator {
        None => texts,
        Some(separator) => {
            let between = Range { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
            texts.plus(separator.times(between))
        }
    }
}

/// Size of a text in which parts were replaced.
fn replaced(text: Range, old: Range, new: Range) -> Range {
    let (mut count, mut kept) = (Range::fixed(0), Range::fixed(0));
    if old.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if new.max <= old.min {
        kept.max = text.max;
    } else {
        count.max = parts(text.max, old.min);
    }
    if old.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if old.max <= new.min {
        kept.min = text.min;
    } else {
        count.min = parts(text.min, old.max);
    }
    count.times(new).plus(kept)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "costs are counted in doubles"
)]
fn parts(whole: u64, part: u64) -> u64 {
    (whole as f64 / part as f64).ceil() as u64
}

/// Comparing bytes of addresses.
fn contains(function: &str, overload: &str, other: Range) -> Range {
    let bytes = Range { min: 4, max: 16 };
    let mut cost = bytes.plus(bytes).scaled(TRAVERSAL);
    if function == "containsCIDR" {
        cost = cost.plus(bytes.scaled(TRAVERSAL)).plus(Range::fixed(1));
    }
    if matches!(overload, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
        cost = cost.plus(other.scaled(TRAVERSAL));
    }
    cost
}

/// Comparing two values of a library.
fn same(args: &[Part<'_>]) -> Option<CallEstimate> {
    let [left, right] = args else { return None };
    if left.of != right.of {
        return None;
    }
    match left.of {
        Type::Opaque(name, _) if matches!(&**name, "net.IP" | "net.CIDR") => plain(Range::fixed(1)),
        Type::Object(name) => match &**name {
            "kubernetes.NamedFormat" => plain(Range { min: 1, max: 64 }.scaled(TRAVERSAL)),
            "kubernetes.URL" => {
                let max = right.size.map_or(1, |size| size.max);
                plain(Range { min: 1, max }.scaled(TRAVERSAL))
            }
            name if name == "kubernetes.Quantity"
                || name == "kubernetes.Semver"
                || name.starts_with("kubernetes.authorization.") =>
            {
                plain(Range::fixed(1))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Functions of Kubernetes that only look at what they are called on.
const ONE: &str = " serviceAccount path group resource subresource namespace name allowed reason error errored masked prefixLength family isUnspecified isLoopback isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast format.named sign asInteger isInteger asApproximateFloat isGreaterThan isLessThan compareTo add sub major minor patch getScheme getHostname getHost getPort getEscapedPath getQuery ";

/// Whether a function costs one, whatever its arguments.
pub(super) fn costs_one(function: &str) -> bool {
    ONE.match_indices(function).any(|(at, _)| {
        ONE.as_bytes().get(at.wrapping_sub(1)) == Some(&b' ') && ONE.as_bytes().get(at + function.len()) == Some(&b' ')
    })
}
