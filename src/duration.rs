//! Times on the command line, as Go's programs read them: `10s`, `1h30m`, `250ms`.

use std::time::Duration;

/// A duration in whole hours, minutes, seconds and milliseconds; `None`: it is none.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit_end = rest[unit_at..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |length| unit_at + length);
        let unit = match &rest[unit_at..unit_end] {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return None,
        };
        sum = sum.checked_add(unit.checked_mul(rest[..unit_at].parse().ok()?)?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(sum)
}

/// For clap.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "want a duration such as 10s, 250ms or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in [("0", 0), ("0s", 0), ("10s", 10), ("1h30m", 5400), ("5m0s", 300)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "h", "5", "5d", "1h30", "-5m", "m5", "99999999999999999999h"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
