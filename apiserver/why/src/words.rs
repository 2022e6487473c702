//! Amounts, times and lists, as people read them.

use jiff::Timestamp;
use serde_json::Value;
use skiff_proto::age::duration;
use skiff_proto::quantity::Quantity;

/// Bytes in the largest binary unit, with one digit behind the point where it is not whole.
pub(crate) fn bytes(number: i64) -> String {
    const UNITS: [(&str, i64); 5] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1)];
    let size = number.saturating_abs();
    let (unit, of) = UNITS.into_iter().find(|(_, of)| size >= *of).unwrap_or(("", 1));
    let tenths = size / of * 10 + size % of * 10 / of;
    let sign = if number < 0 { "-" } else { "" };
    if tenths % 10 == 0 {
        format!("{sign}{}{unit}", tenths / 10)
    } else {
        format!("{sign}{}.{}{unit}", tenths / 10, tenths % 10)
    }
}

/// Thousandths of a core: `850m`, `2`, `1500m`.
pub(crate) fn cores(millis: i64) -> String {
    if millis % 1000 == 0 { (millis / 1000).to_string() } else { format!("{millis}m") }
}

/// An amount of the resource `name`, as [`parsed`] has it.
pub(crate) fn amount(name: &str, number: i64) -> String {
    match name {
        "cpu" => cores(number),
        "memory" | "ephemeral-storage" => bytes(number),
        name if name.starts_with("hugepages-") || name.ends_with("storage") => bytes(number),
        _ => number.to_string(),
    }
}

/// An amount with the name of its resource: `2 cpu`, `16Gi of memory`.
pub(crate) fn amount_of(name: &str, number: i64) -> String {
    let of = if name == "cpu" { "" } else { "of " };
    format!("{} {of}{name}", amount(name, number))
}

/// A quantity of the resource `name`: thousandths of cores, whole units of everything else. What is no quantity is none.
pub(crate) fn parsed(name: &str, value: &Value) -> i64 {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let Ok(quantity) = Quantity::parse(&text) else { return 0 };
    if name == "cpu" { i64::try_from(quantity.millis()).unwrap_or(i64::MAX) } else { quantity.units() }
}

/// A time as the API writes it.
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// How long ago `text` was, without a word behind it.
pub(crate) fn since(now: Timestamp, text: &str) -> Option<String> {
    time(text).map(|at| duration(now.as_second() - at.as_second()))
}

/// The same, or `some time` when the time is not known.
pub(crate) fn ago(now: Timestamp, text: &str) -> String {
    since(now, text).unwrap_or_else(|| "some time".to_owned())
}

/// `, for 5m`, or nothing when the time is not known.
pub(crate) fn for_so_long(now: Timestamp, text: &str) -> String {
    since(now, text).map(|age| format!(", for {age}")).unwrap_or_default()
}

/// `12:00:40 UTC (in 25s)` or `(10s ago)`.
pub(crate) fn moment(now: Timestamp, at: Timestamp) -> String {
    let seconds = at.as_second() - now.as_second();
    let away = if seconds >= 0 { format!("in {}", duration(seconds)) } else { format!("{} ago", duration(-seconds)) };
    format!("{} UTC ({away})", at.strftime("%H:%M:%S"))
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn listed<T: AsRef<str>>(all: &[T]) -> String {
    match all {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [start @ .., last] => {
            let start: Vec<&str> = start.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", start.join(", "), last.as_ref())
        }
    }
}

/// `1 pod`, `2 pods`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// At most `most` letters of a text.
pub(crate) fn clipped(text: &str, most: usize) -> String {
    let text = text.trim();
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most).collect::<String>() + "…"
}

/// With a full stop at its end.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_short() {
        let shown = [0, 1023, 1 << 20, 1_610_612_736, -2048, i64::MAX].map(bytes);
        assert_eq!(shown, ["0", "1023", "1Mi", "1.5Gi", "-2Ki", "8388607.9Ti"]);
        assert_eq!([850, 2000, 1500].map(cores), ["850m", "2", "1500m"]);
        assert_eq!(amount("memory", parsed("memory", &"1.5Gi".into())), "1.5Gi");
        assert_eq!(amount("example.com/gpu", parsed("example.com/gpu", &2.into())), "2");
    }

    #[test]
    fn lists_and_numbers_read_well() {
        assert_eq!([listed::<&str>(&[]), listed(&["a"]), listed(&["a", "b", "c"])], ["", "a", "a, b and c"]);
        assert_eq!([count(1, "pod"), count(0, "pod")], ["1 pod", "0 pods"]);
        assert_eq!([clipped("äöü", 2), sentence(" no "), sentence("No.")], ["äö…", "no.", "No."]);
    }

    proptest! {
        #[test]
        fn no_text_stays_longer_than_it_may(text in "\\PC{0,12}") {
            prop_assert!(clipped(&text, 5).chars().count() <= 6);
        }
    }
}
