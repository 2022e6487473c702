//! Timestamps and durations: reading them, moving them, and their parts.

use super::dispatch::Body;
use crate::calendar::{civil, days};
use crate::eval::Outcome;
use crate::fault::Fault;
use crate::value::{Timestamp, Value};

/// The first and the last second that a timestamp can have: years 1 to 9999.
const SECONDS_MIN: i64 = -62_135_596_800;
const SECONDS_MAX: i64 = 253_402_300_799;

const SECOND: i64 = 1_000_000_000;

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "string_to_timestamp" => |args| {
            let text = args[0].as_str().ok_or_else(Fault::no_overload)?;
            let time = parse_timestamp(text)
                .ok_or_else(|| Fault::new("type conversion error from 'string' to 'google.protobuf.Timestamp'"))?;
            in_range(time)
        },
        "int64_to_timestamp" => |args| match &args[0] {
            Value::Int(seconds) => in_range(Timestamp { seconds: *seconds, nanos: 0, offset_seconds: 0 }),
            _ => Err(Fault::no_overload()),
        },
        "string_to_duration" => |args| {
            let text = args[0].as_str().ok_or_else(Fault::no_overload)?;
            parse_duration(text)
                .map(Value::Duration)
                .ok_or_else(|| Fault::new("type conversion error from 'string' to 'google.protobuf.Duration'"))
        },
        "duration_to_hours" => |args| whole(&args[0], 3600 * SECOND),
        "duration_to_minutes" => |args| whole(&args[0], 60 * SECOND),
        "duration_to_seconds" => |args| whole(&args[0], SECOND),
        "duration_to_milliseconds" => |args| whole(&args[0], SECOND / 1000),
        "timestamp_to_year" | "timestamp_to_year_with_tz" => |args| part(args, |local| local.year),
        "timestamp_to_month" | "timestamp_to_month_with_tz" => |args| part(args, |local| local.month - 1),
        "timestamp_to_day_of_year" | "timestamp_to_day_of_year_with_tz" => |args| part(args, |local| local.of_year),
        "timestamp_to_day_of_month" | "timestamp_to_day_of_month_with_tz" => |args| part(args, |local| local.day - 1),
        "timestamp_to_day_of_month_1_based" | "timestamp_to_day_of_month_1_based_with_tz" => {
            |args| part(args, |local| local.day)
        }
        "timestamp_to_day_of_week" | "timestamp_to_day_of_week_with_tz" => |args| part(args, |local| local.weekday),
        "timestamp_to_hours" | "timestamp_to_hours_with_tz" => |args| part(args, |local| local.second / 3600),
        "timestamp_to_minutes" | "timestamp_to_minutes_with_tz" => |args| part(args, |local| local.second / 60 % 60),
        "timestamp_to_seconds" | "timestamp_to_seconds_with_tz" => |args| part(args, |local| local.second % 60),
        "timestamp_to_milliseconds" | "timestamp_to_milliseconds_with_tz" => |args| part(args, |local| local.millis),
        _ => return None,
    })
}

fn in_range<'a>(time: Timestamp) -> Outcome<'a> {
    if (SECONDS_MIN..=SECONDS_MAX).contains(&time.seconds) {
        Ok(Value::Timestamp(time))
    } else {
        Err(Fault::new("timestamp overflow"))
    }
}

fn whole<'a>(value: &Value<'a>, unit: i64) -> Outcome<'a> {
    match value {
        Value::Duration(nanos) => Ok(Value::Int(nanos / unit)),
        _ => Err(Fault::no_overload()),
    }
}

/// A time some nanoseconds later, or earlier.
pub(super) fn shifted<'a>(time: Timestamp, nanos: i64) -> Outcome<'a> {
    let all = i64::from(time.nanos) + nanos % SECOND;
    let overflow = || Fault::new("integer overflow");
    let seconds = time.seconds.checked_add(nanos / SECOND).ok_or_else(overflow)?;
    let seconds = seconds.checked_add(all.div_euclid(SECOND)).ok_or_else(overflow)?;
    let nanos = u32::try_from(all.rem_euclid(SECOND)).unwrap_or(0);
    in_range(Timestamp { seconds, nanos, ..time })
}

/// A time as a wall shows it.
struct Local {
    year: i64,
    month: i64,
    day: i64,
    of_year: i64,
    weekday: i64,
    second: i64,
    millis: i64,
}

fn part<'a>(args: &[Value<'a>], of: impl Fn(&Local) -> i64) -> Outcome<'a> {
    let Value::Timestamp(time) = &args[0] else { return Err(Fault::no_overload()) };
    let offset = match args.get(1) {
        None => 0,
        Some(zone) => zone_offset(zone.as_str().ok_or_else(Fault::no_overload)?, *time)?,
    };
    let local = time.seconds + offset;
    let day = local.div_euclid(86_400);
    let (year, month, of_month) = civil(day);
    Ok(Value::Int(of(&Local {
        year,
        month,
        day: of_month,
        of_year: day - days(year, 1, 1),
        // 1970 began on a Thursday.
        weekday: (day + 4).rem_euclid(7),
        second: local.rem_euclid(86_400),
        millis: i64::from(time.nanos / 1_000_000),
    })))
}

/// Seconds east of UTC: of `+02:00`, or of a zone by name at that time.
fn zone_offset(zone: &str, time: Timestamp) -> Result<i64, Fault> {
    if let Some((hours, minutes)) = zone.split_once(':') {
        let number = |text: &str| {
            let reason = if text.is_empty() || text.trim_start_matches(['+', '-']).bytes().any(|b| !b.is_ascii_digit())
            {
                "invalid syntax"
            } else {
                "value out of range"
            };
            text.parse::<i32>()
                .map(i64::from)
                .map_err(|_| Fault::new(format!("strconv.Atoi: parsing {text:?}: {reason}")))
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        return Ok(60 * if zone.starts_with('-') { hours * 60 - minutes } else { hours * 60 + minutes });
    }
    if matches!(zone, "" | "UTC") {
        return Ok(0);
    }
    let unknown = || Fault::new(format!("unknown time zone {zone}"));
    let zone = jiff::tz::TimeZone::get(zone).map_err(|_| unknown())?;
    let at = jiff::Timestamp::from_second(time.seconds).map_err(|_| unknown())?;
    Ok(i64::from(zone.to_offset(at).seconds()))
}

/// RFC 3339, with a capital T and Z.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    // Go takes an hour of one digit too.
    if text.as_bytes().get(12) == Some(&b':') && text.is_char_boundary(11) {
        return parse_timestamp(&format!("{}0{}", &text[..11], &text[11..]));
    }
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let mark = |at: usize, sign: u8| bytes.get(at) == Some(&sign);
    if !(mark(4, b'-') && mark(7, b'-') && mark(10, b'T') && mark(13, b':') && mark(16, b':')) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if matches!(bytes.get(at), Some(b'.' | b',')) {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let kept = digits.min(9);
        nanos = number(at + 1, at + 1 + kept)? * 10_i64.pow(u32::try_from(9 - kept).ok()?);
        at += 1 + digits;
    }
    let offset = offset(&text[at..])?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - i64::from(offset);
    Some(Timestamp { seconds, nanos: u32::try_from(nanos).ok()?, offset_seconds: offset })
}

fn offset(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let number =
        |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i32>().ok())?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// `1h30m`, `-1.5s`, `0`: whole nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_u64;
    while !rest.is_empty() {
        let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (int, after) = rest.split_at(whole);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if int.is_empty() && fraction.is_empty() {
            return None;
        }
        let letters = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (name, after) = after.split_at(letters);
        let unit: u64 = match name {
            "ns" => 1,
            "us" | "µs" | "μs" => 1000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let int: u64 = if int.is_empty() { 0 } else { int.parse().ok()? };
        let part = int.checked_mul(unit).filter(|part| *part <= 1 << 63)?;
        nanos = nanos.checked_add(part)?.checked_add(fractional(fraction, unit))?;
        if nanos > 1 << 63 {
            return None;
        }
        rest = after;
    }
    if negative { 0_i64.checked_sub_unsigned(nanos) } else { i64::try_from(nanos).ok() }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as Go reads fractions"
)]
fn fractional(digits: &str, unit: u64) -> u64 {
    let (mut value, mut scale) = (0_u64, 1_f64);
    for digit in digits.bytes().take(18) {
        value = value * 10 + u64::from(digit - b'0');
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}
