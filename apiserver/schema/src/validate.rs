//! What is refused: rules over whole objects, after decoding and defaulting.
//!
//! The rules and their texts follow Kubernetes'. All broken rules are reported at once, in the order of the fields.

pub(crate) mod affinity;
pub(crate) mod conditions;
pub(crate) mod container;
pub(crate) mod core;
pub(crate) mod errors;
pub(crate) mod job;
pub(crate) mod meta;
pub(crate) mod names;
pub(crate) mod node_selector;
pub(crate) mod pod;
mod probe;
pub(crate) mod resources;
pub(crate) mod service;
pub(crate) mod update;
mod users; // pods whose users are their own
pub(crate) mod volume;
pub(crate) mod warnings; // what is told beside the answer
pub(crate) mod workload;

use self::errors::Errors;
use crate::kinds::Change;
use crate::{FieldError, Resource};
use serde_json::Value;

/// What is wrong with a new `object` (after [`crate::apply_defaults`]); empty when it may be stored.
///
/// `metadata.namespace` must already be that of the request.
#[must_use]
pub fn validate_create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if !resource.plural.is_empty() {
        meta::metadata(resource, resource.rules.name, object, &mut errors);
    }
    if let Some(custom) = &resource.custom {
        custom.version.validate(object, &mut errors);
    }
    (resource.rules.validate)(&Change { new: object, old: None, part: "" }, &mut errors);
    errors.into_inner()
}

/// What is wrong with a question, an object of a kind that is answered and not kept: it needs no name.
#[must_use]
pub fn validate_review(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    (resource.rules.validate)(&Change { new: object, old: None, part: "" }, &mut errors);
    errors.into_inner()
}

/// What is wrong with `new` replacing `old`, written through `subresource` (`None`: the object itself).
#[must_use]
pub fn validate_update(resource: &Resource, new: &Value, old: &Value, subresource: Option<&str>) -> Vec<FieldError> {
    validate_change(resource, new, old, subresource).0
}

/// The same, with what was wrong before and may stay, as texts for `Warning` headers.
#[must_use]
pub fn validate_change(
    resource: &Resource,
    new: &Value,
    old: &Value,
    subresource: Option<&str>,
) -> (Vec<FieldError>, Vec<String>) {
    let mut errors = Errors::default();
    meta::metadata(resource, resource.rules.name, new, &mut errors);
    let change = Change { new, old: Some(old), part: subresource.unwrap_or_default() };
    if let Some(custom) = &resource.custom {
        custom.version.validate_change(new, old, change.part, &mut errors);
    }
    (resource.rules.validate)(&change, &mut errors);
    update::metadata(new, old, &mut errors);
    let warnings = errors.take_warnings();
    (errors.into_inner(), warnings)
}

#[cfg(test)]
mod tests;
