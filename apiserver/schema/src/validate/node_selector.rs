//! NodeSelector: terms over labels and names of nodes.

use super::errors::Errors;
use super::names::Format;
use crate::path::Path;
use crate::view::{list, text};
use serde_json::Value;

/// What is wrong with a selector that is there.
pub(crate) fn check(selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (terms, path) = (list(selector, "nodeSelectorTerms"), path.field("nodeSelectorTerms"));
    if terms.is_empty() {
        return errors.required(&path, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        self::term(term, &path.index(index), errors);
    }
}

/// What is wrong with one term.
pub(crate) fn term(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.field("matchExpressions");
    list(term, "matchExpressions").iter().enumerate().for_each(|(place, one)| label(one, &at.index(place), errors));
    let at = path.field("matchFields");
    list(term, "matchFields").iter().enumerate().for_each(|(place, one)| name(one, &at.index(place), errors));
}

const OPERATOR: &str = "not a valid selector operator";

fn label(requirement: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (values, at) = (list(requirement, "values"), path.field("values"));
    match text(requirement, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&at, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&path.field("operator"), other, OPERATOR),
    }
    Format::QualifiedName.require(text(requirement, "key"), &path.field("key"), errors);
    for (index, value) in values.iter().enumerate() {
        Format::LabelValue.require(value.as_str().unwrap_or_default(), &at.index(index), errors);
    }
}

fn name(requirement: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (values, at) = (list(requirement, "values"), path.field("values"));
    match text(requirement, "operator") {
        "In" | "NotIn" if values.len() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&at, detail);
        }
        "In" | "NotIn" => {}
        other => errors.invalid(&path.field("operator"), other, OPERATOR),
    }
    match text(requirement, "key") {
        "metadata.name" => {
            for (index, value) in values.iter().enumerate() {
                Format::Subdomain.require(value.as_str().unwrap_or_default(), &at.index(index), errors);
            }
        }
        other => errors.invalid(&path.field("key"), other, "not a valid field selector key"),
    }
}
