//! Conditions of a status, as `meta/v1` has them.

use super::errors::Errors;
use super::names::Format;
use crate::path::Path;
use crate::view::text;
use serde_json::Value;
use std::collections::BTreeSet;

/// Longest reason and message, in bytes.
const REASON_BYTES_MOST: usize = 1 << 10;
const MESSAGE_BYTES_MOST: usize = 32 << 10;

const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
     characters or '_,:', and must end with an alphanumeric character or '_'";

/// What is wrong with `conditions`: one of each type, each whole.
pub(crate) fn check(conditions: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        if !seen.insert(text(condition, "type")) {
            errors.duplicate(&path.field("type"), text(condition, "type"));
        }
        one(condition, &path, errors);
    }
}

fn one(condition: &Value, path: &Path<'_>, errors: &mut Errors) {
    Format::QualifiedName.require(text(condition, "type"), &path.field("type"), errors);
    errors.exactly_one_of(&path.field("status"), text(condition, "status"), &["False", "True", "Unknown"]);
    if let Some(generation) = condition["observedGeneration"].as_i64().filter(|generation| *generation < 0) {
        errors.invalid(&path.field("observedGeneration"), generation, "must be greater than or equal to zero");
    }
    if text(condition, "lastTransitionTime").is_empty() {
        errors.required(&path.field("lastTransitionTime"), "");
    }
    let (reason, at) = (text(condition, "reason"), path.field("reason"));
    if reason.is_empty() {
        errors.required(&at, "");
    } else if !is_reason(reason) {
        errors.invalid(&at, reason, REASON);
    }
    if reason.len() > REASON_BYTES_MOST {
        errors.too_long(&at, REASON_BYTES_MOST);
    }
    if text(condition, "message").len() > MESSAGE_BYTES_MOST {
        errors.too_long(&path.field("message"), MESSAGE_BYTES_MOST);
    }
}

/// `^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`
fn is_reason(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b',' | b':');
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(inner)
        && text.ends_with(|last: char| last.is_ascii_alphanumeric() || last == '_')
}
