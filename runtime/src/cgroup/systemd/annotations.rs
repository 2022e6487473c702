//! Properties of the unit that annotations ask for: `org.systemd.property.NAME` with a value in GVariant's text form, as runc
//! and crun take them (runc, docs/systemd.md). `"TimeoutStopUSec": "uint64 5000000"`, `"CollectMode": "'inactive'"`.
//!
//! Understood are truth values, numbers with and without a type's name, strings, and lists of strings; anything else is
//! refused by the annotation's name. What a property means and which value it takes is systemd's to say.

use super::message::{Property, Value};
use crate::error::{Error, Result};
use std::collections::HashMap;

const PREFIX: &str = "org.systemd.property.";
const USEC_PER_SEC: f64 = 1e6;

/// The properties in `annotations`, in order of their names.
///
/// # Errors
/// A name or a value that is none, by the annotation.
pub(super) fn properties(annotations: &HashMap<String, String>) -> Result<Vec<Property>> {
    let mut found = Vec::new();
    for (annotation, text) in annotations {
        let Some(name) = annotation.strip_prefix(PREFIX) else { continue };
        let refused = |reason: &str| Error::refused(format!("annotations.{annotation}"), reason);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(refused("is not a property's name"));
        }
        let value = value(text.trim());
        let value = value.ok_or_else(|| refused("is not a truth value, a number, a string or a list of strings"))?;
        found.push(match name.strip_suffix("Sec").filter(|rest| !rest.ends_with('U')) {
            // As unit files name it; on the bus it has microseconds (systemd.syntax(7)).
            Some(rest) => {
                let value = micros(&value).ok_or_else(|| refused("is not a number of seconds"))?;
                (format!("{rest}USec").into(), value)
            }
            None => (name.to_owned().into(), value),
        });
    }
    found.sort_by(|one: &Property, other| one.0.cmp(&other.0));
    Ok(found)
}

fn micros(value: &Value) -> Option<Value> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Word(number) => number.to_string(),
        Value::SignedWord(number) => number.to_string(),
        Value::Real(bits) => f64::from_bits(*bits).to_string(),
        _ => return None,
    };
    let micros = text.parse::<f64>().ok()? * USEC_PER_SEC;
    // A float above 2^53 stands for others as well, but no such time is meant.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..9e15).contains(&micros).then(|| Value::Number(micros.round() as u64))
}

/// A value in GVariant's text form.
fn value(text: &str) -> Option<Value> {
    match text {
        "true" | "false" => return Some(Value::Flag(text == "true")),
        "@as []" => return Some(Value::Texts(Vec::new())),
        _ => (),
    }
    if let Some(list) = text.strip_prefix('[') {
        return texts(list).map(Value::Texts);
    }
    if text.starts_with(['\'', '"']) {
        let (string, rest) = string(text)?;
        return rest.is_empty().then_some(Value::Text(string));
    }
    let (kind, digits) = text.split_once(' ').map_or(("", text), |(kind, digits)| (kind, digits.trim()));
    match kind {
        "byte" => number(digits).and_then(|number| u8::try_from(number).ok()).map(Value::Byte),
        "uint16" => number(digits).and_then(|number| u16::try_from(number).ok()).map(Value::Short),
        "int16" => number(digits).and_then(|number| i16::try_from(number).ok()).map(Value::SignedShort),
        "uint32" => number(digits).and_then(|number| u32::try_from(number).ok()).map(Value::Word),
        "int32" => number(digits).and_then(|number| i32::try_from(number).ok()).map(Value::SignedWord),
        "uint64" => number(digits).and_then(|number| u64::try_from(number).ok()).map(Value::Number),
        "int64" => number(digits).and_then(|number| i64::try_from(number).ok()).map(Value::Signed),
        "double" => real(digits),
        // Without a type it is an int32, or, with a point, a double.
        "" if digits.contains(['.', 'e']) && !digits.starts_with("0x") => real(digits),
        "" => number(digits).and_then(|number| i32::try_from(number).ok()).map(Value::SignedWord),
        _ => None,
    }
}

fn number(digits: &str) -> Option<i128> {
    let (sign, digits) = digits.strip_prefix('-').map_or((1, digits), |digits| (-1, digits));
    let (digits, radix) = digits.strip_prefix("0x").map_or((digits, 10), |digits| (digits, 16));
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_plain { i128::from_str_radix(digits, radix).ok().map(|number| sign * number) } else { None }
}

fn real(digits: &str) -> Option<Value> {
    digits.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| Value::Real(number.to_bits()))
}

/// What follows `[`: strings between commas, and `]` at the end.
fn texts(mut rest: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    loop {
        let (text, after) = string(rest.trim_start())?;
        all.push(text);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return (rest == "]").then_some(all),
        }
    }
}

/// A quoted string, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let mut letters = text.char_indices();
    let (_, quote) = letters.next().filter(|(_, letter)| matches!(letter, '\'' | '"'))?;
    let mut said = String::new();
    while let Some((at, letter)) = letters.next() {
        match letter {
            // D-Bus strings have no NUL.
            '\0' => return None,
            '\\' => said.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                plain @ ('\\' | '\'' | '"') => plain,
                _ => return None,
            }),
            end if end == quote => return Some((said, text.get(at + 1..)?)),
            other => said.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(name: &str, text: &str) -> Result<Property> {
        let annotations =
            HashMap::from([(format!("{PREFIX}{name}"), text.to_owned()), ("other".to_owned(), "x".to_owned())]);
        Ok(properties(&annotations)?.remove(0))
    }

    #[test]
    fn values_have_the_types_of_their_text_form() {
        let list = |words: &[&str]| Value::Texts(words.iter().map(|word| (*word).to_owned()).collect());
        for (text, expected) in [
            ("true", Value::Flag(true)),
            ("'it\\'s'", Value::Text("it's".to_owned())),
            ("\"a 'b'\"", Value::Text("a 'b'".to_owned())),
            ("5", Value::SignedWord(5)),
            ("-5", Value::SignedWord(-5)),
            ("0x10", Value::SignedWord(16)),
            ("1.5", Value::Real(1.5_f64.to_bits())),
            ("byte 0xff", Value::Byte(255)),
            ("uint16 7", Value::Short(7)),
            ("int16 -7", Value::SignedShort(-7)),
            ("uint32 7", Value::Word(7)),
            ("int64 -9000000000", Value::Signed(-9_000_000_000)),
            ("uint64 18446744073709551615", Value::Number(u64::MAX)),
            ("double 2", Value::Real(2_f64.to_bits())),
            ("['a', \"b\"]", list(&["a", "b"])),
            ("@as []", list(&[])),
        ] {
            assert_eq!(one("X", text).unwrap(), ("X".into(), expected), "{text}");
        }
    }

    #[test]
    fn seconds_are_microseconds_on_the_bus() {
        for (text, micros) in [("5", 5_000_000), ("0.5", 500_000), ("uint64 7", 7_000_000)] {
            assert_eq!(one("TimeoutStopSec", text).unwrap(), ("TimeoutStopUSec".into(), Value::Number(micros)));
        }
        assert_eq!(one("TimeoutStopUSec", "uint64 7").unwrap(), ("TimeoutStopUSec".into(), Value::Number(7)));
        assert!(one("TimeoutStopSec", "'5'").is_err() && one("TimeoutStopSec", "-1").is_err());
    }

    #[test]
    fn what_is_no_property_is_refused_by_name() {
        for (name, text) in [("", "true"), ("A.B", "true"), ("A B", "true"), ("X", "")] {
            let said = one(name, text).unwrap_err().to_string();
            assert!(said.starts_with(&format!("annotations.{PREFIX}{name}: ")), "{said}");
        }
        for text in [
            "maybe",
            "'open",
            "'a'b",
            "[1]",
            "['a'",
            "[]",
            "uint32 -1",
            "byte 256",
            "(1, 2)",
            "5000000000",
            "++1",
            "nan",
        ] {
            assert!(one("X", text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,24}", near in "[-0-9a-fuint xd.e'\"\\\\,\\[\\]]{0,24}") {
            let _either_way = (one("X", &text), one("XSec", &near));
        }
    }
}
