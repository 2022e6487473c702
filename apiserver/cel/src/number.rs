//! Numbers of different types: exact conversion, comparison, and how they are written.

use std::cmp::Ordering;

/// 2⁶³ and 2⁶⁴ as doubles.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// The integer that a double is exactly.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub(crate) fn to_int_exact(number: f64) -> Option<i64> {
    (number.trunc() == number && (-TWO_63..TWO_63).contains(&number)).then_some(number as i64)
}

/// The unsigned integer that a double is exactly.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
pub(crate) fn to_uint_exact(number: f64) -> Option<u64> {
    (number.trunc() == number && (0.0..TWO_64).contains(&number)).then_some(number as u64)
}

/// `int(double)`: towards zero; the ends of the range are refused, since doubles near them are not exact.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub(crate) fn to_int(number: f64) -> Option<i64> {
    (number.is_finite() && number > -TWO_63 && number < TWO_63).then_some(number as i64)
}

/// `uint(double)`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
pub(crate) fn to_uint(number: f64) -> Option<u64> {
    (number.is_finite() && (0.0..TWO_64).contains(&number)).then_some(number as u64)
}

/// A double beside an integer; `None` for what has no order. Beyond the integers' range a double is less or more than all of them.
pub(crate) fn compare_double_int(double: f64, int: i64) -> Option<Ordering> {
    if double < -TWO_63 {
        return Some(Ordering::Less);
    }
    if double > TWO_63 {
        return Some(Ordering::Greater);
    }
    #[expect(clippy::cast_precision_loss, reason = "compared as doubles, as upstream does")]
    double.partial_cmp(&(int as f64))
}

/// A double beside an unsigned integer.
pub(crate) fn compare_double_uint(double: f64, uint: u64) -> Option<Ordering> {
    if double < 0.0 {
        return Some(Ordering::Less);
    }
    if double > TWO_64 {
        return Some(Ordering::Greater);
    }
    #[expect(clippy::cast_precision_loss, reason = "compared as doubles, as upstream does")]
    double.partial_cmp(&(uint as f64))
}

/// Two integers of different signedness.
pub(crate) fn compare_int_uint(int: i64, uint: u64) -> Ordering {
    u64::try_from(int).map_or(Ordering::Less, |int| int.cmp(&uint))
}

/// A double as Go's `%g` (and `%v`, whose exponent begins later) writes it.
pub(crate) fn show(number: f64, exponent_from: i32) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= exponent_from {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{number}")
}

/// From which exponent on Go's `%v` writes one.
pub(crate) const SHORTEST: i32 = 21;

/// From which exponent on `%g` does.
pub(crate) const GENERAL: i32 = 6;
