//! Results for a person or for a script.

use crate::cli::{Form, FormArgs, Output};
use crate::command::get;
use crate::out::{self, show};
use serde_json::Value;

/// Prints `value` in the form that was asked for, or else `plain`.
pub(super) fn print(form: FormArgs, value: &Value, plain: impl FnOnce() -> String) -> anyhow::Result<()> {
    match form.output {
        None => show!("{}", plain()),
        Some(Form::Json) => out::print_bytes(get::render(value, Output::Json)?.as_bytes()),
        Some(Form::Yaml) => out::print_bytes(get::render(value, Output::Yaml)?.as_bytes()),
    }
}

/// A size as etcd's tools print it: in thousands.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || amount >= 99.95 { 0 } else { 1 };
    format!("{amount:.digits$} {}", UNITS[unit])
}

/// etcd's messages have signed sizes and counts, none of which is negative.
pub(super) fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_two_or_three_digits() {
        let sizes = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (20_480, "20.5 kB"),
            (999_600, "1.0 MB"),
            (123_456_789, "123 MB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }
}
