//! Which requests a webhook or a policy is about: operations, groups, versions, resources, names, and selectors.

use super::choice;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::meta;
use crate::validate::names::Format;
use crate::view::{default_absent, list, list_mut, object_mut, present_mut, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Whether a request in another version of the same resource counts.
pub(super) const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];

/// What a webhook and a policy leave out: equivalent versions, any namespace, any object.
pub(super) fn selector_defaults(matching: &mut Value) {
    default_absent(matching, "matchPolicy", "Equivalent");
    default_absent(matching, "namespaceSelector", json!({}));
    default_absent(matching, "objectSelector", json!({}));
}

/// Rules hold for both scopes unless they say one.
pub(super) fn rule_defaults(rules: &mut [Value]) {
    rules.iter_mut().for_each(|rule| default_absent(rule, "scope", "*"));
}

/// The defaults of MatchResources in `field`, if they are there.
pub(super) fn resources_defaults(spec: &mut Value, field: &str) {
    let Some(matching) = present_mut(spec, field) else { return };
    selector_defaults(matching);
    rule_defaults(list_mut(matching, "resourceRules"));
    rule_defaults(list_mut(matching, "excludeResourceRules"));
}

/// What policies of both kinds leave out.
pub(super) fn policy_defaults(it: &mut Value) {
    let Some(spec) = object_mut(it, "spec") else { return };
    default_absent(spec, "failurePolicy", "Fail");
    resources_defaults(spec, "matchConstraints");
}

/// MatchResources; absent is fine.
pub(super) fn resources(matching: &Value, path: &Path<'_>, errors: &mut Errors) {
    if matching.is_null() {
        return;
    }
    choice(matching, "matchPolicy", &MATCH_POLICIES, path, errors);
    for field in ["namespaceSelector", "objectSelector"] {
        meta::selector(&matching[field], &path.field(field), errors);
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        let path = path.field(field);
        for (index, rule) in list(matching, field).iter().enumerate() {
            let path = path.index(index);
            names(rule, &path.field("resourceNames"), errors);
            self::rule(rule, &path, errors);
        }
    }
}

fn names(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, name) in list(rule, "resourceNames").iter().filter_map(Value::as_str).enumerate() {
        Format::PathSegment.require(name, &path.index(index), errors);
        if !seen.insert(name) {
            errors.duplicate(&path.index(index), name);
        }
    }
}

/// Policies that change objects see no deletions. The path that upstream reports has no index.
pub(super) fn no_deletions(matching: &Value, path: &Path<'_>, errors: &mut Errors) {
    let rules = path.field("resourceRules");
    for operation in list(matching, "resourceRules").iter().flat_map(|rule| list(rule, "operations")) {
        let operation = operation.as_str().unwrap_or_default();
        errors.exactly_one_of(&rules.field("operations"), operation, &["*", "CONNECT", "CREATE", "UPDATE"]);
    }
}

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// RuleWithOperations.
pub(super) fn rule(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let operations = path.field("operations");
    some_or_all(rule, "operations", "operations", path, errors);
    for (index, one) in list(rule, "operations").iter().enumerate() {
        errors.exactly_one_of(&operations.index(index), one.as_str().unwrap_or_default(), &OPERATIONS);
    }
    some_or_all(rule, "apiGroups", "API groups", path, errors);
    some_or_all(rule, "apiVersions", "API versions", path, errors);
    let versions = path.field("apiVersions");
    for (index, _) in list(rule, "apiVersions").iter().enumerate().filter(|(_, version)| *version == "") {
        errors.required(&versions.index(index), "");
    }
    of_resources(list(rule, "resources"), &path.field("resources"), errors);
    choice(rule, "scope", &["*", "Cluster", "Namespaced"], path, errors);
}

/// A list that is not empty, in which `*` stands alone.
fn some_or_all(rule: &Value, field: &str, what: &str, path: &Path<'_>, errors: &mut Errors) {
    let (list, path) = (list(rule, field), path.field(field));
    if list.is_empty() {
        errors.required(&path, "");
    }
    if list.len() > 1 && list.iter().any(|one| one == "*") {
        errors.invalid(&path, list, format!("if '*' is present, must not specify other {what}"));
    }
}

/// `pods`, `pods/status`, `pods/*`, `*/scale`, `*`, `*/*`: none of them may say what another says already.
fn of_resources(resources: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if resources.is_empty() {
        errors.required(path, "");
    }
    let (mut all_parts, mut all_resources) = (BTreeSet::new(), BTreeSet::new());
    let mut plain = false;
    for (index, one) in resources.iter().enumerate() {
        let path = path.index(index);
        let Some(one) = one.as_str().filter(|one| !one.is_empty()) else {
            errors.required(&path, "");
            continue;
        };
        let Some((resource, part)) = one.split_once('/') else {
            plain = one != "*";
            continue;
        };
        if all_parts.contains(resource) {
            errors.invalid(&path, one, format!("if '{resource}/*' is present, must not specify {one}"));
        }
        if all_resources.contains(part) {
            errors.invalid(&path, one, format!("if '*/{part}' is present, must not specify {one}"));
        }
        if part == "*" {
            all_parts.insert(resource);
        }
        if resource == "*" {
            all_resources.insert(part);
        }
    }
    let has = |wanted: &str| resources.iter().any(|one| one == wanted);
    if resources.len() > 1 && has("*/*") {
        errors.invalid(path, resources, "if '*/*' is present, must not specify other resources");
    }
    if plain && has("*") {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, resources, detail);
    }
}

/// The column of a policy's kind of parameters.
pub(super) fn param_kind(spec: &Value) -> Value {
    match &spec["paramKind"] {
        Value::Null => "<unset>".into(),
        kind => format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")).into(),
    }
}
