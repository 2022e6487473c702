//! Lengths of time as Go's programs write and read them (`time.ParseDuration`): `10s`, `1h30m`, `1.5s`, `250us`.

use std::time::Duration;

/// Go keeps a duration in 64 bits of nanoseconds with a sign, and refuses a longer one.
const NANOSECONDS_MAX: u128 = i64::MAX as u128;

/// A duration of one or more numbers, each with its unit and perhaps a fraction; `None`: it is none, or is less than nothing, which
/// no flag and no message that we read means.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text.strip_prefix('+').unwrap_or(text), 0_u128);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit_end = rest[unit_at..].find(|c: char| c.is_ascii_digit() || c == '.');
        let unit_end = unit_end.map_or(rest.len(), |length| unit_at + length);
        sum = sum.checked_add(nanoseconds(&rest[..unit_at], unit(&rest[unit_at..unit_end])?)?)?;
        rest = &rest[unit_end..];
    }
    let nanoseconds = u64::try_from(Some(sum).filter(|&sum| sum <= NANOSECONDS_MAX)?).ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Nanoseconds of a unit. Both signs for micro are in use, U+00B5 and U+03BC.
fn unit(name: &str) -> Option<u128> {
    Some(match name {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// So many units; what is below a nanosecond is cut off.
fn nanoseconds(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok().map(u128::from) };
    // Eighteen digits are more than any unit has nanoseconds.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = digits(fraction)? * unit / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    digits(whole)?.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("10s", 10),
            ("1m20s", 80),
            ("1h30m", 5400),
            ("1h0m1s", 3601),
            ("5m0s", 300),
            ("12h", 43_200),
            ("+5s", 5),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in [
            "",
            "+",
            "h",
            "x",
            "5",
            "10",
            "1",
            "1d",
            "-1s",
            "1s2",
            "9e9h",
            "1 s",
            "5d",
            "1h30",
            "-5m",
            "m5",
            "99999999999999999999h",
            "s",
            ".s",
            "1.2.3s",
            "1e3s",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    /// Fault S11: fractions and small units are durations too.
    #[test]
    fn fractions_and_small_units_are_read() {
        for (text, nanoseconds) in [
            ("1.1s", 1_100_000_000),
            ("300ms", 300_000_000),
            ("1.5s", 1_500_000_000),
            ("7ms", 7_000_000),
            ("1us", 1_000),
            ("1\u{b5}s", 1_000),
            ("2\u{3bc}s", 2_000),
            ("7ns", 7),
            ("1h2m3.5s", 3_723_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("0.100000000000000000000h", 360_000_000_000),
            ("1.5ns", 1),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
        assert!(parse("2562047h47m16.854775807s").is_some(), "the longest");
        assert_eq!(parse("2562047h47m16.854775808s"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_length_of_time_or_none(text in "\\PC{0,12}") {
            let _either = parse(&text);
        }
    }
}
