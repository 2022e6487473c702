//! Names and lists of the group, and the opaque configuration of drivers.

use serde_json::Value;
use std::collections::BTreeSet;

pub(super) use crate::kinds::storage::driver_name;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::{list, text};

/// Most elements of a list, a name of a device or a parameter in bytes.
pub(super) const REQUESTS_MOST: usize = 32;
const SELECTORS_MOST: usize = 32;
const EXPRESSION_BYTES_MOST: usize = 10 << 10;
const PARAMETERS_BYTES_MOST: usize = 10 << 10;
const POOL_BYTES_MOST: usize = 253;
const IDENTIFIER_BYTES_MOST: usize = 32;

/// Looks at each element of the list in `field`, unless there are more than `most`.
pub(super) fn each<'a>(
    holder: &'a Value,
    field: &str,
    most: usize,
    path: &Path<'_>,
    errors: &mut Errors,
    check: impl Fn(&'a Value, &Path<'_>, &mut Errors),
) -> bool {
    let (list, path) = (list(holder, field), path.field(field));
    if list.len() > most {
        errors.too_many(&path, list.len(), most);
        return false;
    }
    list.iter().enumerate().for_each(|(index, one)| check(one, &path.index(index), errors));
    true
}

/// As [`each`], for a list in which no two elements have the same `key`.
pub(super) fn each_once<'a, K: Ord + Into<Value> + Clone>(
    holder: &'a Value,
    field: &str,
    most: usize,
    path: &Path<'_>,
    errors: &mut Errors,
    key: impl Fn(&'a Value) -> K,
    check: impl Fn(&'a Value, &Path<'_>, &mut Errors),
) {
    if !each(holder, field, most, path, errors, check) {
        return;
    }
    let (mut seen, path) = (BTreeSet::new(), path.field(field));
    for (index, one) in list(holder, field).iter().enumerate() {
        if !seen.insert(key(one)) {
            errors.duplicate(&path.index(index), key(one));
        }
    }
}

/// The `name` of an element.
pub(super) fn name_of(one: &Value) -> &str {
    text(one, "name")
}

/// The text that an element is.
pub(super) fn itself(one: &Value) -> &str {
    one.as_str().unwrap_or_default()
}

/// Domains, separated by slashes.
pub(super) fn pool_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > POOL_BYTES_MOST {
        errors.too_long(path, POOL_BYTES_MOST);
    }
    name.split('/').for_each(|part| Format::Subdomain.require(part, path, errors));
}

/// `[domain/]identifier`.
pub(super) fn qualified(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let parts: Vec<_> = name.split('/').collect();
    match parts[..] {
        [name] => identifier(name, path, errors),
        [domain, name] => {
            match domain {
                "" => errors.invalid(path, "", "the domain must not be empty"),
                domain => driver_name(domain, path, errors),
            }
            match name {
                "" => errors.invalid(path, "", "the name must not be empty"),
                name => identifier(name, path, errors),
            }
        }
        // Kubernetes lets more slashes pass.
        _ => {}
    }
}

/// `domain/identifier`.
pub(super) fn fully_qualified(name: &str, path: &Path<'_>, errors: &mut Errors) {
    qualified(name, path, errors);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.invalid(path, name, detail);
    }
}

const IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
     characters or '_' (e.g. 'my_name', or 'MY_NAME', or 'MyName')";

fn identifier(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.len() > IDENTIFIER_BYTES_MOST {
        errors.too_long(path, IDENTIFIER_BYTES_MOST);
    }
    let inner = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    let digit_first = name.starts_with(|first: char| first.is_ascii_digit());
    if name.is_empty() || digit_first || !name.bytes().all(inner) {
        errors.invalid(path, name, IDENTIFIER);
    }
}

/// Selectors of devices. Whether their expressions compile is not known.
pub(super) fn selectors(holder: &Value, path: &Path<'_>, errors: &mut Errors) {
    each(holder, "selectors", SELECTORS_MOST, path, errors, |selector, path, errors| {
        let (cel, path) = (&selector["cel"], path.field("cel"));
        if cel.is_null() {
            return errors.required(&path, "");
        }
        let (expression, path) = (text(cel, "expression"), path.field("expression"));
        if expression.len() > EXPRESSION_BYTES_MOST {
            errors.too_long(&path, EXPRESSION_BYTES_MOST);
        } else if expression.trim().is_empty() {
            // What a compiler would say of no expression.
            errors.invalid(&path, expression, "compilation failed: the expression is empty");
        }
    });
}

/// What a driver is told about devices. `stored`: it has been there before, so that it may be of any length.
pub(super) fn configuration(holder: &Value, stored: bool, path: &Path<'_>, errors: &mut Errors) {
    let (opaque, path) = (&holder["opaque"], path.field("opaque"));
    if opaque.is_null() {
        return errors.required(&path, "");
    }
    driver_name(text(opaque, "driver"), &path.field("driver"), errors);
    let most = if stored { usize::MAX } else { PARAMETERS_BYTES_MOST };
    object(&opaque["parameters"], most, &path.field("parameters"), errors);
}

/// An object that only a driver understands.
pub(super) fn object(value: &Value, most: usize, path: &Path<'_>, errors: &mut Errors) {
    match value {
        Value::Null => errors.required(path, ""),
        value if value.to_string().len() > most => errors.too_long(path, most),
        Value::Object(_) => {}
        _ => errors.invalid(path, "<value omitted>", "must be a valid JSON object"),
    }
}

/// Conditions that must come, or must not, before a pod is bound: each once, and both kinds or none.
pub(super) fn binding_conditions(holder: &Value, path: &Path<'_>, errors: &mut Errors) {
    const MOST: usize = 4;
    const FIELDS: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    let [wanted, failures] = FIELDS.map(|field| list(holder, field));
    for field in FIELDS {
        each(holder, field, MOST, path, errors, |one, path, errors| {
            Format::QualifiedName.require_given(itself(one), path, errors);
        });
    }
    for (field, list) in FIELDS.into_iter().zip([wanted, failures]) {
        let path = path.field(field);
        for (index, one) in list.iter().enumerate() {
            if list.iter().take(index).any(|before| before == one) {
                errors.duplicate(&path.index(index), one.clone());
            }
            if field == "bindingFailureConditions" && wanted.contains(one) {
                let detail = "bindingFailureConditions must not overlap with bindingConditions";
                errors.invalid(&path.index(index), one.clone(), detail);
            }
        }
    }
    let [wanted_path, failures_path] = FIELDS.map(|field| path.field(field));
    if wanted.is_empty() && !failures.is_empty() {
        errors.invalid(&wanted_path, wanted, "bindingConditions are required to use bindingFailureConditions");
    }
    if failures.is_empty() && !wanted.is_empty() {
        errors.invalid(&failures_path, failures, "bindingFailureConditions are required to use bindingConditions");
    }
}

/// What taints and tolerations do.
pub(super) const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];
