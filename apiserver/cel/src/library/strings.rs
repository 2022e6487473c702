//! Texts. Places count characters.

use super::dispatch::Body;
use crate::eval::Outcome;
use crate::fault::Fault;
use crate::value::{List, Text, Value};

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "contains_string" => |args| Ok(Value::Bool(text(&args[0])?.contains(text(&args[1])?))),
        "ends_with_string" => |args| Ok(Value::Bool(text(&args[0])?.ends_with(text(&args[1])?))),
        "starts_with_string" => |args| Ok(Value::Bool(text(&args[0])?.starts_with(text(&args[1])?))),
        "string_char_at_int" => |args| {
            let text = text(&args[0])?;
            let at = int(&args[1])?;
            let length = text.chars().count();
            match usize::try_from(at).ok().filter(|at| *at <= length) {
                Some(at) => Ok(Value::text(text.chars().nth(at).map(String::from).unwrap_or_default())),
                None => Err(out_of_range(at)),
            }
        },
        "string_index_of_string" => |args| index_of(text(&args[0])?, text(&args[1])?, 0),
        "string_index_of_string_int" => |args| index_of(text(&args[0])?, text(&args[1])?, int(&args[2])?),
        "string_last_index_of_string" => |args| last_index(text(&args[0])?, text(&args[1])?),
        "string_last_index_of_string_int" => |args| last_index_of(text(&args[0])?, text(&args[1])?, int(&args[2])?),
        "string_lower_ascii" => |args| Ok(Value::text(text(&args[0])?.to_ascii_lowercase())),
        "string_upper_ascii" => |args| Ok(Value::text(text(&args[0])?.to_ascii_uppercase())),
        "string_replace_string_string" => {
            |args| Ok(Value::text(text(&args[0])?.replace(text(&args[1])?, text(&args[2])?)))
        }
        "string_replace_string_string_int" => |args| {
            let (text, old, new) = (text(&args[0])?, text(&args[1])?, text(&args[2])?);
            Ok(Value::text(match usize::try_from(int(&args[3])?) {
                Ok(count) => text.replacen(old, new, count),
                Err(_) => text.replace(old, new),
            }))
        },
        "string_split_string" => |args| Ok(texts(split(text(&args[0])?, text(&args[1])?, -1))),
        "string_split_string_int" => |args| Ok(texts(split(text(&args[0])?, text(&args[1])?, int(&args[2])?))),
        "string_substring_int" => |args| {
            let start = int(&args[1])?;
            let text = text(&args[0])?;
            if start < 0 || start > length(text) {
                return Err(out_of_range(start));
            }
            Ok(substring(text, start, length(text)))
        },
        "string_substring_int_int" => |args| range(text(&args[0])?, int(&args[1])?, int(&args[2])?),
        "string_trim" => |args| Ok(Value::text(text(&args[0])?.trim_matches(is_space))),
        "strings_quote" => |args| Ok(Value::text(quote(text(&args[0])?))),
        "list_join" => |args| join(&args[0], ""),
        "list_join_string" => |args| join(&args[0], text(&args[1])?),
        "string_jsonpatch_escapeKey_string" => {
            |args| Ok(Value::text(text(&args[0])?.replace('~', "~0").replace('/', "~1")))
        }
        _ => return None,
    })
}

/// What Go calls white space.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
        || (c > '\u{ff}' && c.is_whitespace())
}

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(Fault::no_overload)
}

fn int(value: &Value<'_>) -> Result<i64, Fault> {
    match value {
        Value::Int(value) => Ok(*value),
        _ => Err(Fault::no_overload()),
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

fn out_of_range(at: i64) -> Fault {
    Fault::new(format!("index out of range: {at}"))
}

/// Texts as a list.
pub(super) fn texts<'a>(texts: Vec<String>) -> Value<'a> {
    Value::List(List::of(texts.into_iter().map(|text| Value::String(Text::from(text))).collect()))
}

fn index_of<'a>(text: &str, part: &str, from: i64) -> Outcome<'a> {
    if part.is_empty() {
        return Ok(Value::Int(from));
    }
    if from < 0 {
        return Err(out_of_range(from));
    }
    let start = usize::try_from(from).ok().and_then(|from| text.char_indices().nth(from));
    let found = start.and_then(|(start, _)| text[start..].find(part).map(|at| length(&text[..start + at])));
    Ok(Value::Int(found.unwrap_or(-1)))
}

fn last_index<'a>(text: &str, part: &str) -> Outcome<'a> {
    let length = length(text);
    if part.is_empty() {
        return Ok(Value::Int(length));
    }
    if text.len() < part.len() {
        return Ok(Value::Int(-1));
    }
    last_index_of(text, part, length - 1)
}

fn last_index_of<'a>(text: &str, part: &str, from: i64) -> Outcome<'a> {
    if part.is_empty() {
        return Ok(Value::Int(from));
    }
    if from < 0 {
        return Err(out_of_range(from));
    }
    if from >= length(text) {
        return Ok(Value::Int(-1));
    }
    // The part may begin at `from` and reach beyond it.
    let begins = usize::try_from(from).ok().and_then(|from| text.char_indices().nth(from)).map_or(0, |(at, _)| at);
    let end = (begins + part.len()).min(text.len());
    let found = (0..=end).rev().find(|end| text.is_char_boundary(*end)).and_then(|end| text[..end].rfind(part));
    Ok(Value::Int(found.map_or(-1, |at| length(&text[..at]))))
}

fn substring<'a>(text: &str, start: i64, end: i64) -> Value<'a> {
    let (start, end) = (usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0));
    Value::text(text.chars().skip(start).take(end - start).collect::<String>())
}

fn range<'a>(text: &str, start: i64, end: i64) -> Outcome<'a> {
    if start > end {
        return Err(Fault::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    for at in [start, end] {
        if at < 0 || at > length(text) {
            return Err(out_of_range(at));
        }
    }
    Ok(substring(text, start, end))
}

/// Go's `SplitN`: at most so many parts, all if negative, none if zero; an empty separator splits characters.
fn split(text: &str, separator: &str, count: i64) -> Vec<String> {
    let count = match count {
        0 => return Vec::new(),
        1.. => usize::try_from(count).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    if !separator.is_empty() {
        return text.splitn(count, separator).map(str::to_owned).collect();
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if parts.len() + 1 >= count {
            parts.push(rest.to_owned());
            return parts;
        }
        parts.push(c.to_string());
        rest = &rest[c.len_utf8()..];
    }
    parts
}

fn join<'a>(list: &Value<'a>, separator: &str) -> Outcome<'a> {
    let Value::List(list) = list else { return Err(Fault::no_overload()) };
    let mut out = String::new();
    for (at, value) in list.values().enumerate() {
        let value = value?;
        if at > 0 {
            out.push_str(separator);
        }
        match value.as_str() {
            Some(text) => out.push_str(text),
            None => return Err(Fault::new(format!("join: invalid input: {}", crate::value::show(&value)))),
        }
    }
    Ok(Value::text(out))
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
