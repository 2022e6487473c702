//! An object in the version that a hook wants, and back.

use super::super::Attributes;
use super::review;
use crate::status::Status;
use serde_json::Value;
use skiff_schema::{Decoded, FieldValidation, Resource, apply_defaults, decode_value};

/// `object`, which is one of `from`, as one of `to`; the body of a part is the same in all versions if its kind is.
pub(in super::super) async fn converted(
    seen: &Attributes<'_>,
    from: &Resource,
    to: &Resource,
    mut object: Value,
) -> Result<Value, Status> {
    if from == to || object.is_null() || object["kind"] != *from.kind {
        return Ok(object);
    }
    if from.conversion_webhook().is_some() {
        return seen.stored.convert(from, &to.api_version(), object).await;
    }
    if !from.is_custom() {
        from.to_storage(&mut object);
        to.from_storage(&mut object);
    }
    object["apiVersion"] = to.api_version().into();
    object["kind"] = (&*to.kind).into();
    Ok(object)
}

/// What a hook that wants the version `to` is shown of an object of the resource that is written.
pub(in super::super) async fn shown(seen: &Attributes<'_>, to: &Resource, object: &Value) -> Result<Value, Status> {
    let own = &seen.request.resource;
    converted(seen, own, to, review::body(own, &seen.request.part, object)?).await
}

/// What a hook made of an object of `resource`: of its form, without what its schema does not know, with its defaults.
///
/// # Errors
/// It is none any more.
pub(in super::super) fn formed(seen: &Attributes<'_>, resource: &Resource, object: Value) -> Result<Value, Status> {
    let part = resource.subresource(&seen.request.part);
    if part.is_some_and(|part| part.kind != resource.kind) {
        return Ok(object);
    }
    let decoded = decode_value(resource, object, &[], FieldValidation::Ignore);
    let Decoded { mut object, .. } = decoded.map_err(|error| Status::internal(error.to_string()))?;
    apply_defaults(resource, &mut object);
    Ok(object)
}
