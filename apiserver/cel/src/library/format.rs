//! Named formats.

use super::dispatch::Body;
use super::strings::texts;
use super::time::parse_timestamp;
use crate::fault::Fault;
use crate::value::Value;
use base64::Engine;
use std::sync::Arc;

/// A format that texts can have.
#[derive(Debug)]
pub struct Format {
    /// As it is shown.
    pub(crate) name: &'static str,
    /// As it is asked for.
    called: &'static str,
    /// Length of its pattern, by which validation costs.
    pub(crate) pattern_size: u64,
    /// What is wrong with a text.
    validate: fn(&str) -> Vec<String>,
}

macro_rules! formats {
    ($($called:literal, $name:literal, $size:literal, $validate:expr;)*) => {
        &[$(Format { name: $name, called: $called, pattern_size: $size, validate: $validate }),*]
    };
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

static FORMATS: &[Format] = formats! {
    "dns1123Label", "DNS1123Label", 30, |text| label(text, 63, LABEL, is_label_body);
    "dns1123Subdomain", "DNS1123Subdomain", 60, |text| label(text, 253, SUBDOMAIN, is_subdomain_body);
    "dns1035Label", "DNS1035Label", 30, |text| label(text, 63, LABEL_1035, is_1035_body);
    "qualifiedName", "QualifiedName", 60, qualified_name;
    "dns1123LabelPrefix", "DNS1123LabelPrefix", 30, |text| label(&masked(text), 63, LABEL, is_label_body);
    "dns1123SubdomainPrefix", "DNS1123SubdomainPrefix", 60, |text| label(&masked(text), 253, SUBDOMAIN, is_subdomain_body);
    "dns1035LabelPrefix", "DNS1035LabelPrefix", 30, |text| label(&masked(text), 63, LABEL_1035, is_1035_body);
    "labelValue", "LabelValue", 40, |text| label(text, 63, LABEL_VALUE, is_label_value);
    "uri", "URI", 1103, |text| super::url::request(text).err().map(|why| format!("parse {text:?}: {why}")).into_iter().collect();
    "uuid", "uuid", 70, |text| one(is_uuid(text), "does not match the UUID format");
    "byte", "byte", 84, |text| one(is_base64(text), "invalid base64");
    "date", "date", 71, |text| one(parse_timestamp(&format!("{text}T00:00:00Z")).is_some(), "invalid date");
    "datetime", "datetime", 71, |text| one(parse_timestamp(&text.to_uppercase()).is_some(), "invalid datetime");
};

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "format-named" => |args| {
            let name = args[0].as_str().ok_or_else(Fault::no_overload)?;
            Ok(Value::Optional(find(name).map(|format| Arc::new(Value::Format(format)))))
        },
        "format-validate" => |args| {
            let (Value::Format(format), Some(text)) = (&args[0], args[1].as_str()) else {
                return Err(Fault::no_overload());
            };
            let wrong = (format.validate)(text);
            Ok(Value::Optional((!wrong.is_empty()).then(|| Arc::new(texts(wrong)))))
        },
        // Each constant is a function without arguments; the name is all that tells them apart.
        "format.dns1123Label" => |_| constant("dns1123Label"),
        "format.dns1123Subdomain" => |_| constant("dns1123Subdomain"),
        "format.dns1035Label" => |_| constant("dns1035Label"),
        "format.qualifiedName" => |_| constant("qualifiedName"),
        "format.dns1123LabelPrefix" => |_| constant("dns1123LabelPrefix"),
        "format.dns1123SubdomainPrefix" => |_| constant("dns1123SubdomainPrefix"),
        "format.dns1035LabelPrefix" => |_| constant("dns1035LabelPrefix"),
        "format.labelValue" => |_| constant("labelValue"),
        "format.uri" => |_| constant("uri"),
        "format.uuid" => |_| constant("uuid"),
        "format.byte" => |_| constant("byte"),
        "format.date" => |_| constant("date"),
        "format.datetime" => |_| constant("datetime"),
        _ => return None,
    })
}

fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.called == name)
}

fn constant<'a>(name: &str) -> Result<Value<'a>, Fault> {
    find(name).map(Value::Format).ok_or_else(Fault::no_overload)
}

fn one(good: bool, message: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![message.to_owned()] }
}

/// Length and form of a label.
fn label(text: &str, most: usize, message: &str, is: fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > most {
        wrong.push(format!(
            "must be no more than {most} {}",
            if message == LABEL_VALUE { "bytes" } else { "characters" }
        ));
    }
    if !is(text) {
        wrong.push(message.to_owned());
    }
    wrong
}

/// A prefix may end with a dash: a name follows.
fn masked(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

fn is_label_body(text: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(lower) && text.bytes().next_back().is_some_and(lower);
    ends && text.bytes().all(|byte| lower(byte) || byte == b'-')
}

fn is_subdomain_body(text: &str) -> bool {
    text.split('.').all(is_label_body)
}

fn is_1035_body(text: &str) -> bool {
    is_label_body(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

fn is_name(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    ends(text.bytes().next())
        && ends(text.bytes().next_back())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether a text is an RFC 1123 label.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_label_body(text)
}

/// Whether a text is an RFC 1123 subdomain.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && is_subdomain_body(text)
}

fn qualified_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(
                    label(prefix, 253, SUBDOMAIN, is_subdomain_body)
                        .into_iter()
                        .map(|why| format!("prefix part {why}")),
                );
            }
            name
        }
        _ => {
            return vec![
                "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')".to_owned(),
            ];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name(name) {
        wrong.push(format!("name part {QUALIFIED}"));
    }
    wrong
}

fn is_uuid(text: &str) -> bool {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let dashes =
        text.char_indices().filter(|(_, c)| *c == '-').all(|(at, _)| matches!(at, 8 | 13 | 18 | 23 | 12 | 16 | 20));
    hex.len() == 32 && dashes && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_base64(text: &str) -> bool {
    !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}
