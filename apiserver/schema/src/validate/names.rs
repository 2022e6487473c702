//! Formats of names: DNS labels and subdomains, label keys and values, ports, environment variables, keys of config maps.
//!
//! Sources: RFC 1123 and 1035 as Kubernetes restricts them, and the label syntax of its API conventions.

use super::errors::Errors;
use crate::path::Path;
use serde_json::Value;

/// A format; [`Format::check`] says what is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// RFC 1123 label, 63 bytes.
    Label,
    /// RFC 1035 label: starts with a letter.
    Label1035,
    /// RFC 1123 subdomain, 253 bytes.
    Subdomain,
    /// `[prefix/]name`, the key of a label or annotation.
    QualifiedName,
    /// The value of a label.
    LabelValue,
    /// IANA service name, 15 bytes.
    PortName,
    /// An environment variable.
    Variable,
    /// A key of a config map or secret.
    ConfigKey,
    /// A segment of a path: roles and bindings.
    PathSegment,
    /// An IP address in its canonical form.
    Address,
}

impl Format {
    /// What is wrong with `text`, if anything.
    pub(crate) fn check(self, text: &str) -> Option<String> {
        match self {
            Self::Label => sized(text, 63, label(text), LABEL),
            Self::Label1035 => sized(text, 63, label(text) && starts_with_letter(text), LABEL_1035),
            Self::Subdomain => sized(text, 253, text.split('.').all(label), SUBDOMAIN),
            Self::QualifiedName => qualified_name(text),
            Self::LabelValue => sized(text, 63, text.is_empty() || name_part(text), LABEL_VALUE),
            Self::PortName => port_name(text).map(str::to_owned),
            Self::Variable => {
                let valid = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
                (!valid).then(|| VARIABLE.to_owned())
            }
            Self::ConfigKey => config_key(text),
            Self::PathSegment => path_segment(text),
            Self::Address => canonical_address(text),
        }
    }

    /// Reports what is wrong with `text` at `path`.
    pub(crate) fn require(self, text: &str, path: &Path<'_>, errors: &mut Errors) {
        if let Some(detail) = self.check(text) {
            errors.invalid(path, text, detail);
        }
    }

    /// As [`Self::require`]; an empty text is `Required value`.
    pub(crate) fn require_given(self, text: &str, path: &Path<'_>, errors: &mut Errors) {
        if text.is_empty() {
            errors.required(path, "");
        } else {
            self.require(text, path, errors);
        }
    }
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
     with an alphanumeric character (e.g. 'my-name')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
     character, and end with an alphanumeric character (e.g. 'my-name')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
     start and end with an alphanumeric character (e.g. 'example.com')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
     start and end with an alphanumeric character (e.g. 'my_value')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyName')";
const VARIABLE: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

fn sized(text: &str, most: usize, valid: bool, rule: &str) -> Option<String> {
    if text.len() > most {
        return Some(format!("must be no more than {most} characters"));
    }
    (!valid).then(|| rule.to_owned())
}

fn label(text: &str) -> bool {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn starts_with_letter(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
}

fn name_part(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.bytes().all(inner) && edge(text.as_bytes().first()) && edge(text.as_bytes().last())
}

fn qualified_name(text: &str) -> Option<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    match prefix {
        Some("") => return Some("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            if let Some(problem) = Format::Subdomain.check(prefix) {
                return Some(format!("prefix part {problem}"));
            }
        }
        None => {}
    }
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    sized(name, 63, name_part(name), NAME_PART)
}

fn port_name(text: &str) -> Option<&'static str> {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if text.len() > 15 {
        Some("must be no more than 15 characters")
    } else if !text.bytes().all(inner) {
        Some("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    } else if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        Some("must contain at least one letter (a-z)")
    } else if text.contains("--") {
        Some("must not contain consecutive hyphens")
    } else {
        (text.starts_with('-') || text.ends_with('-')).then_some("must not begin or end with a hyphen")
    }
}

fn config_key(text: &str) -> Option<String> {
    const RULE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name')";
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match text {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if text.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => sized(text, 253, !text.is_empty() && text.bytes().all(inner), RULE),
    }
}

fn path_segment(text: &str) -> Option<String> {
    if matches!(text, "." | "..") {
        return Some(format!("may not be '{text}'"));
    }
    let wrong = ['/', '%'].into_iter().find(|wrong| text.contains(*wrong))?;
    Some(format!("may not contain '{wrong}'"))
}

fn canonical_address(text: &str) -> Option<String> {
    let Ok(address) = text.parse::<std::net::IpAddr>() else {
        return Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned());
    };
    let mapped = matches!(address, std::net::IpAddr::V6(six) if six.to_ipv4_mapped().is_some());
    if mapped {
        return Some("must not be an IPv4-mapped IPv6 address".to_owned());
    }
    let canonical = address.to_string();
    (canonical != text).then(|| format!("must be in canonical form ({canonical:?})"))
}

/// A port number.
pub(crate) const PORTS: (i64, i64) = (1, 65_535);

/// A number or a name of a port, as probes and services use them.
pub(crate) fn port(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    match value {
        Value::String(name) => {
            if let Some(problem) = port_name(name) {
                errors.invalid(path, name.as_str(), problem);
            }
        }
        Value::Number(_) => errors.in_range(path, value, PORTS),
        _ => errors.required(path, ""),
    }
}

/// An IP address of either family.
pub(crate) fn address(text: &str, path: &Path<'_>, errors: &mut Errors) {
    if text.parse::<std::net::IpAddr>().is_err() {
        errors.invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_accept_and_refuse() {
        let long = "a".repeat(64);
        let cases: [(Format, &[&str], &[&str]); 8] = [
            (Format::Label, &["a", "1-a"], &["", "-a", "a-", "A", "a.b", &long]),
            (Format::Label1035, &["a", "a-1"], &["1a", "", "a_b"]),
            (Format::Subdomain, &["a.b-c", "1"], &["", "a..b", ".a", "A", "a_b"]),
            (Format::QualifiedName, &["a", "x.y/Z_1"], &["", "/a", "x/", "a/b/c", "X/a", "-a"]),
            (Format::LabelValue, &["", "Aa_1"], &["-", "a b", &long]),
            (Format::PortName, &["http", "a-1"], &["", "1", "a--b", "-a", "abcdefghijklmnop"]),
            (Format::Variable, &["A", "1.b-c", "a b"], &["", "a=b", "é"]),
            (Format::ConfigKey, &["a.b", ".hidden"], &["", "..", "..a", "a/b", "a b"]),
        ];
        for (format, good, bad) in cases {
            for text in good {
                assert_eq!(format.check(text), None, "{format:?} {text}");
            }
            for text in bad {
                assert!(format.check(text).is_some(), "{format:?} {text}");
            }
        }
    }
}
