//! When a cron job is due: five fields as in crontab(5), a word such as `@hourly`, or `@every` so often. No I/O.
//!
//! An hour that the clock skips is skipped, one that it repeats counts twice, as with the cron library of Kubernetes.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// A schedule that is not due within so many years never is: 31 February.
const YEARS_MAX: i16 = 5;

/// A set of times.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    zone: TimeZone,
    when: When,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum When {
    Every(SignedDuration),
    Fields([Field; 5]),
}

/// The numbers of a field, one bit each, and whether any will do (which matters for days).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    any: bool,
}

impl Field {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.bits >> number & 1 == 1)
    }
}

/// The time zone of this name; `None` is the one of this machine.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    match name {
        None | Some("Local") => Ok(TimeZone::system()),
        Some("" | "UTC") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}")),
    }
}

impl Schedule {
    /// Reads a schedule; a zone that it names itself goes before `zone_name`.
    pub(crate) fn parse(text: &str, zone_name: Option<&str>) -> Result<Self, String> {
        let (mut rest, mut zone_name) = (text, zone_name);
        if let Some(named) = rest.strip_prefix("CRON_TZ=").or_else(|| rest.strip_prefix("TZ=")) {
            let (named, after) = named.split_once(' ').ok_or("nothing follows the time zone")?;
            (zone_name, rest) = (Some(named), after.trim());
        }
        Ok(Self { zone: zone(zone_name)?, when: when(rest)? })
    }

    /// The first time after `after`.
    pub(crate) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let fields = match &self.when {
            When::Every(time) => return whole_second(after).checked_add(*time).ok(),
            When::Fields(fields) => fields,
        };
        let mut at = Timestamp::from_second((after.as_second().div_euclid(60) + 1) * 60).ok()?;
        let last = at.to_zoned(self.zone.clone()).year() + YEARS_MAX;
        loop {
            let local = at.to_zoned(self.zone.clone());
            if local.year() > last {
                return None;
            }
            match later(fields, &local) {
                None => return Some(at),
                Some(next) => at = next?,
            }
        }
    }
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// `None`: this minute is due; otherwise the next that may be, which may be beyond all time.
fn later([minute, hour, day, month, weekday]: &[Field; 5], local: &Zoned) -> Option<Option<Timestamp>> {
    let (now, date) = (local.timestamp(), local.date());
    let start = |date: jiff::civil::Date| date.to_zoned(local.time_zone().clone()).ok().map(|day| day.timestamp());
    if !month.has(local.month()) {
        return Some(date.last_of_month().tomorrow().ok().and_then(start));
    }
    let of_month = day.has(local.day());
    let of_week = weekday.has(local.weekday().to_sunday_zero_offset());
    // Only where both are restricted does either of them suffice.
    let due = if day.any || weekday.any { of_month && of_week } else { of_month || of_week };
    if !due {
        return Some(date.tomorrow().ok().and_then(start));
    }
    if !hour.has(local.hour()) {
        let past = SignedDuration::from_mins(60 - i64::from(local.minute()));
        return Some(now.checked_add(past).ok());
    }
    (!minute.has(local.minute())).then(|| now.checked_add(SignedDuration::from_mins(1)).ok())
}

fn when(text: &str) -> Result<When, String> {
    if let Some(every) = text.strip_prefix("@every ") {
        let seconds = duration(every).ok_or_else(|| format!("failed to parse duration {text}"))?;
        return Ok(When::Every(SignedDuration::from_secs(seconds.max(1))));
    }
    if text.starts_with('@') {
        let meant = WORDS.iter().find(|(word, _)| *word == text);
        return when(meant.ok_or_else(|| format!("unrecognized descriptor: {text}"))?.1);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let &[minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    };
    Ok(When::Fields([
        field(minute, 0, 59, &[])?,
        field(hour, 0, 23, &[])?,
        field(day, 1, 31, &[])?,
        field(month, 1, 12, &MONTHS)?,
        field(weekday, 0, 6, &DAYS)?,
    ]))
}

fn field(text: &str, least: u8, most: u8, names: &[&str]) -> Result<Field, String> {
    let mut all = Field { bits: 0, any: false };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let one = range(part, least, most, names).ok_or_else(|| format!("no range of numbers: {part}"))?;
        all = Field { bits: all.bits | one.bits, any: all.any || one.any };
    }
    Ok(all)
}

/// `*`, `n`, `n-m`, each with `/step`.
fn range(text: &str, least: u8, most: u8, names: &[&str]) -> Option<Field> {
    let number = |text: &str| -> Option<u8> {
        let lower = text.to_lowercase();
        let named = names.iter().position(|name| *name == lower).and_then(|at| u8::try_from(at).ok());
        named.map(|at| least + at).or_else(|| text.parse().ok())
    };
    let (span, step) = text.split_once('/').map_or((text, None), |(span, step)| (span, Some(step)));
    let any = matches!(span, "*" | "?");
    let (first, last) = match span.split_once('-') {
        _ if any => (least, most),
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(span)?, if step.is_some() { most } else { number(span)? }),
    };
    let step: u8 = step.map_or(Some(1), |step| step.parse().ok())?;
    if first < least || last > most || first > last || step == 0 {
        return None;
    }
    let bits = (first..=last).step_by(step.into()).fold(0_u64, |bits, number| bits | 1 << number);
    Some(Field { bits, any: any && step == 1 })
}

/// Whole seconds of a duration as Go writes it, e.g. `1h30m`.
fn duration(text: &str) -> Option<i64> {
    let (mut rest, mut nanoseconds) = (text, 0_f64);
    while !rest.is_empty() {
        let unit_on = rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        let number: f64 = rest[..rest.len() - unit_on.len()].parse().ok()?;
        let units =
            [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
        let (unit, size) = units.into_iter().find(|(unit, _)| unit_on.starts_with(unit))?;
        nanoseconds += number * size;
        rest = &unit_on[unit.len()..];
    }
    // A schedule of more than centuries is as good as none.
    #[allow(clippy::cast_possible_truncation)]
    let seconds = (nanoseconds / 1e9).clamp(0.0, 1e10) as i64;
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next(schedule: &str, zone: Option<&str>, after: &str) -> String {
        let schedule = Schedule::parse(schedule, zone).unwrap();
        schedule.next(after.parse().unwrap()).map_or_else(|| "never".to_owned(), |time| time.to_string())
    }

    #[test]
    fn schedules_are_due_as_in_kubernetes() {
        let utc = Some("UTC");
        for (schedule, after, due) in [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * ?", "2026-01-01T00:00:59.9Z", "2026-01-01T00:01:00Z"),
            ("*/15 9-17 * * mon-fri", "2026-01-02T17:45:00Z", "2026-01-05T09:00:00Z"),
            ("5/20 * * * *", "2026-01-01T00:46:00Z", "2026-01-01T01:05:00Z"),
            ("0 0 13 * fri", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z"),
            ("0 0 */2 * fri", "2026-01-03T00:00:00Z", "2026-01-05T00:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("59 23 31 2 *", "2026-01-01T00:00:00Z", "never"),
            ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:00.5Z", "2026-01-01T01:30:00Z"),
            ("TZ=Asia/Tokyo 0 9 * * *", "2026-01-01T01:00:00Z", "2026-01-02T00:00:00Z"),
        ] {
            assert_eq!(next(schedule, utc, after), due, "{schedule}");
        }
    }

    #[test]
    fn clocks_that_change_are_followed() {
        let berlin = Some("Europe/Berlin");
        // 02:30 is not there on 29 March 2026, and there twice on 25 October.
        assert_eq!(next("30 2 * * *", berlin, "2026-03-28T12:00:00Z"), "2026-03-30T00:30:00Z");
        assert_eq!(next("30 2 * * *", berlin, "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next("30 2 * * *", berlin, "2026-10-25T00:30:00Z"), "2026-10-25T01:30:00Z");
        assert_eq!(next("0 9 * * *", berlin, "2026-07-01T12:00:00Z"), "2026-07-02T07:00:00Z");
    }

    #[test]
    fn what_is_no_schedule_is_none() {
        for wrong in ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "a * * * *", "@often"] {
            assert!(Schedule::parse(wrong, None).is_err(), "{wrong}");
        }
        assert!(Schedule::parse("* * * * *", Some("Mars/Base")).is_err());
    }

    proptest! {
        /// Against a plain model: the next minute that has the wanted numbers.
        #[test]
        fn no_time_is_left_out(minute in 0_i8..60, hour in 0_i8..24, start in 1_700_000_000_i64..1_900_000_000) {
            let schedule = Schedule::parse(&format!("{minute} {hour} * * *"), Some("UTC")).unwrap();
            let after = Timestamp::from_second(start).unwrap();
            let model = (1..=1440).map(|more| Timestamp::from_second((start / 60 + more) * 60).unwrap()).find(|at| {
                let at = at.to_zoned(TimeZone::UTC);
                (at.hour(), at.minute()) == (hour, minute)
            });
            prop_assert_eq!(schedule.next(after), model);
        }
    }
}
