//! What may be asked about access: one act, of who asks or of somebody who is named.

use crate::kinds::Change;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::view::{given, list, text};
use serde_json::Value;

/// Of who asks.
pub(super) fn own(change: &Change<'_>, errors: &mut Errors) {
    one_act(&change.new["spec"], errors);
    attributes(&change.new["spec"]["resourceAttributes"], errors);
    bare(&change.new["metadata"], &["managedFields"], "must be empty", errors);
}

/// Of somebody, anywhere.
pub(super) fn anybody(change: &Change<'_>, errors: &mut Errors) {
    somebody(&change.new["spec"], errors);
    bare(&change.new["metadata"], &["managedFields"], "must be empty", errors);
}

/// Of somebody, in one namespace.
pub(super) fn local(change: &Change<'_>, errors: &mut Errors) {
    let spec = &change.new["spec"];
    somebody(spec, errors);
    let metadata = &change.new["metadata"];
    bare(metadata, &["managedFields", "namespace"], "must be empty except for namespace", errors);
    let path = Path::Root.field("spec");
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let namespace = text(resource, "namespace");
    if !resource.is_null() && namespace != text(metadata, "namespace") {
        let path = path.field("resourceAttributes");
        errors.invalid(&path.field("namespace"), namespace, "must match metadata.namespace");
    }
    if !other.is_null() {
        errors.invalid(&path.field("nonResourceAttributes"), other.clone(), "disallowed on this kind of request");
    }
}

fn somebody(spec: &Value, errors: &mut Errors) {
    one_act(spec, errors);
    if text(spec, "user").is_empty() && list(spec, "groups").is_empty() {
        let path = Path::Root.field("spec");
        errors.invalid(&path.field("user"), "", "at least one of user or group must be specified");
    }
    attributes(&spec["resourceAttributes"], errors);
}

fn one_act(spec: &Value, errors: &mut Errors) {
    let path = Path::Root.field("spec");
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (resource.is_null(), other.is_null()) {
        (false, false) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.invalid(&path.field("nonResourceAttributes"), other.clone(), why);
        }
        (true, true) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(&path.field("resourceAttributes"), Value::Null, why);
        }
        _ => {}
    }
}

fn attributes(attributes: &Value, errors: &mut Errors) {
    let spec = Path::Root.field("spec");
    let path = spec.field("resourceAttributes");
    for name in ["fieldSelector", "labelSelector"] {
        if given(attributes, name) {
            selector(&attributes[name], &path.field(name), errors);
        }
    }
}

fn selector(selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (raw, requirements) = (text(selector, "rawSelector"), list(selector, "requirements"));
    if !raw.is_empty() && !requirements.is_empty() {
        errors.invalid(&path.field("rawSelector"), raw, "may not specified at the same time as requirements");
    }
    let list_path = path.field("requirements");
    if raw.is_empty() && requirements.is_empty() {
        errors.required(&list_path, &format!("when {path} is specified, requirements or rawSelector is required"));
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let path = list_path.index(index);
        let has_values = !list(requirement, "values").is_empty();
        let values = path.field("values");
        match text(requirement, "operator") {
            "In" | "NotIn" if !has_values => {
                errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if has_values => {
                errors.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            // An operator that a newer client knows makes the question wider, not wrong.
            _ => {}
        }
        if text(requirement, "key").is_empty() {
            errors.required(&path.field("key"), "must be specified");
        }
    }
}

/// Refuses metadata that says more than `besides`.
fn bare(metadata: &Value, besides: &[&str], why: &str, errors: &mut Errors) {
    let mut fields = metadata.as_object().into_iter().flatten();
    let says_more = fields.any(|(name, _)| !besides.contains(&name.as_str()) && given(metadata, name));
    if says_more {
        errors.invalid(&Path::Root.field("metadata"), metadata.clone(), why);
    }
}
