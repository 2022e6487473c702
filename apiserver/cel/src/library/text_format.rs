//! `string.format`: texts with values in them.

use super::dispatch::Body;
use crate::check::Checked;
use crate::fault::Fault;
use crate::syntax::ast::{Expr, Id, Kind, Literal};
use crate::types::Type;
use crate::value::{List, Map, Value, show};

/// Digits after the point where none are asked for.
const PRECISION: usize = 6;

/// More digits than a double has are not asked for in earnest.
const PRECISION_MAX: usize = 1000;

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "string_format" => |args| {
            let (Some(pattern), Value::List(list)) = (args[0].as_str(), &args[1]) else {
                return Err(Fault::no_overload());
            };
            let mut values = list.values().collect::<Vec<_>>().into_iter();
            let text = render(pattern, list.len(), &mut |clause| match values.next() {
                Some(value) => clause.value(&value.map_err(|fault| fault.to_string())?),
                None => Err("out of arguments".to_owned()),
            });
            text.map(Value::text).map_err(|why| Fault::new(why.text))
        },
        _ => return None,
    })
}

/// One `%…`.
#[derive(Clone, Copy)]
struct Clause {
    letter: char,
    precision: Option<usize>,
}

/// Why a pattern cannot be rendered.
struct Wrong {
    text: String,
    /// Whether it is the argument, not the pattern.
    argument: bool,
}

fn wrong(text: impl Into<String>) -> Wrong {
    Wrong { text: text.into(), argument: false }
}

/// Renders a pattern; `argument` gives the next argument as the clause wants it.
fn render(
    pattern: &str,
    count: usize,
    argument: &mut dyn FnMut(Clause) -> Result<String, String>,
) -> Result<String, Wrong> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut used = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        if used >= count {
            return Err(wrong(format!("index {used} out of range")));
        }
        if rest.is_empty() {
            return Err(wrong("unexpected end of string"));
        }
        let (clause, after) = clause(rest).map_err(|why| wrong(format!("could not parse formatting clause: {why}")))?;
        used += 1;
        let text = argument(clause)
            .map_err(|why| Wrong { text: format!("error during formatting: {why}"), argument: true })?;
        out.push_str(&text);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn clause(text: &str) -> Result<(Clause, &str), String> {
    let (precision, rest) = match text.strip_prefix('.') {
        None => (None, text),
        Some(digits) => {
            let end = digits
                .find(|c: char| !c.is_ascii_digit())
                .ok_or("error while parsing precision: could not find end of precision specifier")?;
            let number = digits[..end].parse().map_err(|_| {
                let digits = &digits[..end];
                let why = if digits.is_empty() { "invalid syntax" } else { "value out of range" };
                format!("error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing {digits:?}: {why}")
            })?;
            (Some(number), &digits[end..])
        }
    };
    // Upstream reads a byte as a character.
    let letter = rest.bytes().next().map(char::from).unwrap_or(' ');
    if !"sdfebxXo".contains(letter) {
        return Err(format!("unrecognized formatting clause \"{letter}\""));
    }
    Ok((Clause { letter, precision }, &rest[1..]))
}

impl Clause {
    fn value(self, value: &Value<'_>) -> Result<String, String> {
        let digits = self.precision.unwrap_or(PRECISION).min(PRECISION_MAX);
        let given = value.type_name();
        match (self.letter, value) {
            ('s', _) => text_of(value),
            ('d' | 'o' | 'b' | 'x' | 'X', Value::Int(number)) => {
                let sign = if *number < 0 { "-" } else { "" };
                Ok(format!("{sign}{}", self.integer(number.unsigned_abs())))
            }
            ('d' | 'o' | 'b' | 'x' | 'X', Value::Uint(number)) => Ok(self.integer(*number)),
            ('b', Value::Bool(value)) => Ok(if *value { "1" } else { "0" }.to_owned()),
            ('x' | 'X', Value::String(text)) => Ok(self.hex(text.as_str().as_bytes())),
            ('x' | 'X', Value::Bytes(bytes)) => Ok(self.hex(bytes)),
            ('f' | 'e', Value::Double(number)) => Ok(self.double(*number, digits)),
            ('f' | 'e', Value::String(text)) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => {
                let number = match text.as_str() {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    _ => f64::NEG_INFINITY,
                };
                Ok(self.double(number, digits))
            }
            _ => Err(self.refused(given)),
        }
    }

    fn integer(self, number: u64) -> String {
        match self.letter {
            'o' => format!("{number:o}"),
            'b' => format!("{number:b}"),
            'x' => format!("{number:x}"),
            'X' => format!("{number:X}"),
            _ => number.to_string(),
        }
    }

    fn hex(self, bytes: &[u8]) -> String {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.letter == 'X' { text.to_uppercase() } else { text }
    }

    fn double(self, number: f64, digits: usize) -> String {
        if self.letter == 'f' {
            return match special(number) {
                Some(text) => text.to_owned(),
                // A zero has no sign in upstream's locale.
                None => grouped(&format!("{:.digits$}", if number == 0.0 { 0.0 } else { number })),
            };
        }
        // Upstream takes the precision of this clause for a width.
        let text = special(number).map_or_else(|| scientific(number), str::to_owned);
        let padding = digits.saturating_sub(text.chars().count());
        format!("{}{text}", " ".repeat(padding))
    }

    fn refused(self, given: &str) -> String {
        let what = match self.letter {
            'd' => "decimal clause can only be used on integers",
            'f' => "fixed-point clause can only be used on doubles",
            'e' => "scientific clause can only be used on doubles",
            'b' => "only integers and bools can be formatted as binary",
            'o' => "octal clause can only be used on integers",
            'x' | 'X' => "only integers, byte buffers, and strings can be formatted as hex",
            _ => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
            }
        };
        format!("{what}, was given {given}")
    }
}

/// What is no number, as upstream's locale writes it.
fn special(number: f64) -> Option<&'static str> {
    match number {
        _ if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("∞"),
        f64::NEG_INFINITY => Some("-∞"),
        _ => None,
    }
}

/// Six digits and a power of ten.
fn scientific(number: f64) -> String {
    let text = format!("{number:.PRECISION$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(("", exponent), |exponent| ("⁻", exponent));
    let raised: String =
        format!("{exponent:0>2}").chars().filter_map(|c| c.to_digit(10)).map(|d| SUPERSCRIPTS[d as usize]).collect();
    format!("{mantissa}×10{sign}{raised}")
}

const SUPERSCRIPTS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];

/// Thousands apart, as English writes them.
fn grouped(number: &str) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |number| ("-", number));
    let (whole, fraction) = number.split_once('.').map_or((number, String::new()), |(w, f)| (w, format!(".{f}")));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{sign}{out}{fraction}")
}

fn text_of(value: &Value<'_>) -> Result<String, String> {
    match value {
        Value::List(list) => list_of(list),
        Value::Map(map) => map_of(map),
        Value::Double(number) => Ok(crate::number::show(*number, crate::number::GENERAL)),
        Value::Bytes(bytes) => {
            String::from_utf8(bytes.to_vec()).map_err(|_| "could not convert argument to string".to_owned())
        }
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::String(_)
        | Value::Timestamp(_)
        | Value::Duration(_)
        | Value::Type(_) => Ok(show(value)),
        other => Err(Clause { letter: 's', precision: None }.refused(other.type_name())),
    }
}

fn list_of(list: &List<'_>) -> Result<String, String> {
    let parts: Result<Vec<String>, String> =
        list.values().map(|value| nested(&value.map_err(|fault| fault.to_string())?)).collect();
    Ok(format!("[{}]", parts?.join(", ")))
}

fn map_of(map: &Map<'_>) -> Result<String, String> {
    let mut parts = Vec::new();
    for key in map.keys() {
        if !matches!(key, Value::String(_) | Value::Bool(_) | Value::Int(_) | Value::Uint(_)) {
            return Err(format!("no formatting function for map key of type {}", key.type_name()));
        }
        let value = map.find(&key).map_err(|fault| fault.to_string())?.unwrap_or(Value::Null);
        parts.push((nested(&key)?, nested(&value)?));
    }
    parts.sort();
    let parts: Vec<String> = parts.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", parts.join(", ")))
}

/// A value inside of a list or map.
fn nested(value: &Value<'_>) -> Result<String, String> {
    Ok(match value {
        Value::String(text) => format!("{:?}", text.as_str()),
        Value::Bytes(_) => format!("b{:?}", text_of(value)?),
        Value::Double(number) if number.is_nan() => "\"NaN\"".to_owned(),
        Value::Double(number) if number.is_infinite() => format!("\"{}Inf\"", if *number > 0.0 { '+' } else { '-' }),
        Value::Double(number) => format!("{number:.PRECISION$}"),
        Value::Timestamp(_) => format!("timestamp({:?})", show(value)),
        Value::Duration(_) => format!("duration({:?})", show(value)),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::List(_)
        | Value::Map(_)
        | Value::Type(_) => text_of(value)?,
        other => return Err(format!("no formatting function for {}", other.type_name())),
    })
}

/// What is wrong with a pattern and arguments that are written out.
pub(crate) fn check(checked: &Checked, call: &Expr, pattern: &str, args: &[Expr]) -> Option<(Id, String)> {
    let mut given = args.iter();
    let mut used = 0;
    let mut blamed = call.id;
    let rendered = render(pattern, args.len(), &mut |clause| {
        used += 1;
        let Some(arg) = given.next() else { return Ok(String::new()) };
        match refuses(checked, clause, arg) {
            None => Ok(String::new()),
            Some((id, of)) => {
                blamed = id;
                Err(clause.refused(&of))
            }
        }
    });
    match rendered {
        Err(why) => Some((if why.argument { blamed } else { call.id }, why.text)),
        Ok(_) if args.len() > used => {
            let given = args.len();
            Some((call.id, format!("too many arguments supplied to string.format (expected {used}, got {given})")))
        }
        Ok(_) => None,
    }
}

fn refuses(checked: &Checked, clause: Clause, arg: &Expr) -> Option<(Id, String)> {
    let of = checked.type_of(arg);
    let good = match clause.letter {
        _ if of.is_dyn() => true,
        'd' | 'o' => matches!(of, Type::Int | Type::Uint),
        'f' | 'e' => matches!(of, Type::Double | Type::String),
        'b' => matches!(of, Type::Int | Type::Uint | Type::Bool),
        'x' | 'X' => matches!(of, Type::Int | Type::Uint | Type::String | Type::Bytes),
        _ => !matches!(of, Type::Object(_) | Type::Opaque(..) | Type::Error | Type::Param(_)),
    };
    if !good {
        return Some((arg.id, of.name().to_owned()));
    }
    if clause.letter != 's' {
        return None;
    }
    match &arg.kind {
        Kind::List { elements, .. } => elements.iter().find_map(|element| refuses(checked, clause, element)),
        Kind::Map(entries) => {
            entries.iter().flat_map(|entry| [&entry.key, &entry.value]).find_map(|part| refuses(checked, clause, part))
        }
        Kind::Literal(Literal::Null) => None,
        _ => None,
    }
}
