//! When a cron job runs: five fields as in crontab(5), or a word such as `@hourly`, in the form and words of Kubernetes.

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The numbers that a field may have, and their names from the least on.
struct Bounds(u64, u64, &'static [&'static str]);

const FIELDS: [Bounds; 5] =
    [Bounds(0, 59, &[]), Bounds(0, 23, &[]), Bounds(1, 31, &[]), Bounds(1, 12, &MONTHS), Bounds(0, 6, &DAYS)];

/// What is wrong with a schedule.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let mut rest = schedule;
    if let Some(zone) = rest.strip_prefix("CRON_TZ=").or_else(|| rest.strip_prefix("TZ=")) {
        let Some((zone, after)) = zone.split_once(' ') else {
            return Err("invalid schedule format: nothing follows the time zone".to_owned());
        };
        if !is_zone(zone) {
            return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        rest = after.trim();
    }
    if rest.starts_with('@') {
        return word(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (field, bounds) in fields.into_iter().zip(&FIELDS) {
        field.split(',').filter(|range| !range.is_empty()).try_for_each(|one| range(one, bounds))?;
    }
    Ok(())
}

/// Whether a time zone is known by this name.
pub(super) fn is_zone(name: &str) -> bool {
    matches!(name, "UTC" | "Local") || jiff::tz::TimeZone::get(name).is_ok()
}

fn word(word: &str) -> Result<(), String> {
    const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    if WORDS.contains(&word) {
        return Ok(());
    }
    let Some(every) = word.strip_prefix("@every ") else { return Err(format!("unrecognized descriptor: {word}")) };
    if is_duration(every) {
        Ok(())
    } else {
        Err(format!("failed to parse duration {word}: time: invalid duration {every:?}"))
    }
}

/// A duration as Go writes it, e.g. `1h30m` or `-1.5s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut some = false;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        let number = &rest[..rest.len() - digits.len()];
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let unit = units.into_iter().filter(|unit| digits.starts_with(unit)).max_by_key(|unit| unit.len());
        let Some(unit) = unit.filter(|_| number.parse::<f64>().is_ok()) else { return false };
        rest = &digits[unit.len()..];
        some = true;
    }
    some
}

/// `*`, `n`, `n-m`, each with `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let Bounds(least, most, names) = *bounds;
    let mut parts = text.split('/');
    let (span, step) = (parts.next().unwrap_or_default(), parts.next());
    let mut ends = span.split('-');
    let (first, last) = (ends.next().unwrap_or_default(), ends.next());
    let (start, mut end) = if matches!(first, "*" | "?") {
        (least, most)
    } else {
        let start = number(first, least, names)?;
        let end = last.map_or(Ok(start), |last| number(last, least, names))?;
        if ends.next().is_some() {
            return Err(format!("too many hyphens: {text}"));
        }
        (start, end)
    };
    let step = match step {
        None => 1,
        Some(_) if parts.next().is_some() => return Err(format!("too many slashes: {text}")),
        Some(step) => {
            if last.is_none() {
                end = most;
            }
            number(step, least, &[])?
        }
    };
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number(text: &str, least: u64, names: &[&str]) -> Result<u64, String> {
    let lower = text.to_lowercase();
    if let Some(at) = names.iter().position(|name| *name == lower) {
        return Ok(least + at as u64);
    }
    match text.parse::<i64>() {
        Ok(number) => u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}")),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules_are_read_as_kubernetes_reads_them() {
        for fine in ["* * * * ?", "*/5 0-6,12 1 JAN-mar sun", "@hourly", "@every 1h30m", "5/15 * * * *"] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for (wrong, said) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("@often", "unrecognized descriptor: @often"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
        ] {
            assert_eq!(check(wrong).as_ref().map_err(String::as_str), Err(said), "{wrong}");
        }
    }
}
