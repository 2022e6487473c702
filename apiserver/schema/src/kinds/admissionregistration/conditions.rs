//! Expressions of webhooks and policies, compiled to see whether they can be, and the parameters of policies.

use super::choice;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::meta;
use crate::validate::names::Format;
use crate::view::{list, text};
use serde_json::Value;
use skiff_cel::is_reserved;
use skiff_policy::Checker;
use std::collections::BTreeSet;

/// Most conditions of one webhook or policy.
const CONDITIONS_MOST: usize = 64;

/// An expression that must be there: its text, if it is.
pub(super) fn expression<'a>(
    holder: &'a Value,
    field: &str,
    detail: &str,
    path: &Path<'_>,
    errors: &mut Errors,
) -> Option<&'a str> {
    let text = text(holder, field);
    if text.trim().is_empty() {
        errors.required(&path.field(field), detail);
    }
    Some(text).filter(|text| !text.trim().is_empty())
}

/// Reports why the expression in a field does not compile, if it does not.
pub(super) fn compiled(problem: Option<String>, field: &str, shown: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(problem) = problem {
        errors.invalid(&path.field(field), shown, problem);
    }
}

/// The conditions under which a webhook is called or a policy is asked.
pub(super) fn conditions(holder: &Value, checker: &Checker, path: &Path<'_>, errors: &mut Errors) {
    let (conditions, path) = (list(holder, "matchConditions"), path.field("matchConditions"));
    if conditions.len() > CONDITIONS_MOST {
        errors.too_many(&path, conditions.len(), CONDITIONS_MOST);
    }
    let mut seen = BTreeSet::new();
    for (index, one) in conditions.iter().enumerate() {
        let path = path.index(index);
        if let Some(text) = expression(one, "expression", "", &path, errors) {
            let text = text.trim();
            compiled(checker.condition(text), "expression", text, &path, errors);
        }
        let (name, path) = (text(one, "name"), path.field("name"));
        Format::QualifiedName.require_given(name, &path, errors);
        if !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

/// The variables of a policy.
pub(super) fn variables(spec: &Value, checker: &mut Checker, path: &Path<'_>, errors: &mut Errors) {
    let path = path.field("variables");
    for (index, one) in list(spec, "variables").iter().enumerate() {
        let (path, name) = (path.index(index), text(one, "name"));
        let word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        let known = name.bytes().all(word) && !name.starts_with(|first: char| first.is_ascii_digit());
        if name.trim().is_empty() {
            errors.required(&path.field("name"), "name is not specified");
        } else if !known || is_reserved(name) {
            errors.invalid(&path.field("name"), name, "must be a valid CEL identifier");
        }
        if let Some(text) = expression(one, "expression", "expression is not specified", &path, errors) {
            compiled(checker.variable(name, text), "expression", text, &path, errors);
        }
    }
}

/// What both kinds of policies say about parameters and failures.
pub(super) fn policy(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    choice(spec, "failurePolicy", &super::FAILURE_POLICIES, path, errors);
    if !spec["paramKind"].is_null() {
        param_kind(&spec["paramKind"], &path.field("paramKind"), errors);
    }
    let (constraints, path) = (&spec["matchConstraints"], path.field("matchConstraints"));
    if constraints.is_null() {
        return errors.required(&path, "");
    }
    super::matching::resources(constraints, &path, errors);
    if list(constraints, "resourceRules").is_empty() {
        errors.required(&path.field("resourceRules"), "");
    }
}

fn param_kind(kind: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (api_version, at) = (text(kind, "apiVersion"), path.field("apiVersion"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if api_version.is_empty() {
        errors.required(&at, "");
    } else if version.contains('/') {
        errors.invalid(&at, api_version, format!("unexpected GroupVersion string: {api_version}"));
    } else {
        if !group.is_empty() {
            Format::Subdomain.require(group, &at, errors);
        }
        match version {
            "" => errors.invalid(&at, api_version, "version must be specified"),
            version => Format::Label1035.require(version, &at, errors),
        }
    }
    let (kind, at) = (text(kind, "kind"), path.field("kind"));
    if kind.is_empty() {
        errors.required(&at, "");
    } else if let Some(detail) = Format::Label1035.check(&kind.to_lowercase()) {
        errors.invalid(&at, kind, format!("may have mixed case, but should otherwise match: {detail}"));
    }
}

/// What both kinds of bindings say: which policy, which parameters, which requests.
pub(super) fn binding(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    Format::Subdomain.require_given(text(spec, "policyName"), &path.field("policyName"), errors);
    if !spec["paramRef"].is_null() {
        param_ref(&spec["paramRef"], &path.field("paramRef"), errors);
    }
    super::matching::resources(&spec["matchResources"], &path.field("matchResources"), errors);
}

fn param_ref(reference: &Value, path: &Path<'_>, errors: &mut Errors) {
    const BOTH: &str = "name and selector are mutually exclusive";
    let (name, selector) = (text(reference, "name"), &reference["selector"]);
    if !name.is_empty() {
        Format::PathSegment.require(name, &path.field("name"), errors);
        if !selector.is_null() {
            errors.forbidden(&path.field("name"), BOTH);
        }
    }
    if !selector.is_null() {
        meta::selector(selector, &path.field("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(&path.field("selector"), BOTH);
        }
    }
    if name.is_empty() && selector.is_null() {
        errors.required(path, "one of name or selector must be specified");
    }
    let (action, path) = (&reference["parameterNotFoundAction"], path.field("parameterNotFoundAction"));
    if action.as_str().unwrap_or_default().is_empty() {
        errors.required(&path, "");
    } else {
        errors.exactly_one_of(&path, action.as_str().unwrap_or_default(), &["Deny", "Allow"]);
    }
}

/// The column of a binding's parameters.
pub(super) fn param_name(spec: &Value) -> Value {
    let reference = &spec["paramRef"];
    match (text(reference, "name"), text(reference, "namespace")) {
        ("", _) if !reference["selector"].is_null() => crate::table::text::selector(&reference["selector"]).into(),
        ("", _) => "<unset>".into(),
        // Whether parameters live in namespaces is not known here.
        (name, "") => format!("*/{name}").into(),
        (name, namespace) => format!("{namespace}/{name}").into(),
    }
}
