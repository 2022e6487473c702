//! What is refused: rules over whole objects, after decoding and defaulting.

use serde_json::Value;

use crate::{FieldError, Resource};

/// What is wrong with a new `object` (after [`crate::apply_defaults`]); empty when it may be stored.
#[must_use]
pub fn validate_create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let _ = (resource, object);
    Vec::new()
}

/// What is wrong with `new` replacing `old`, written through `subresource` (`None`: the object itself).
#[must_use]
pub fn validate_update(resource: &Resource, new: &Value, old: &Value, subresource: Option<&str>) -> Vec<FieldError> {
    let _ = (resource, new, old, subresource);
    Vec::new()
}
