//! What was sent: JSON, YAML or Kubernetes' protobuf, with a limit.

use crate::registry::Patch;
use crate::status::Status;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::{Value, json};
use skiff_schema::{
    Cause, DecodeError, Decoded, FieldValidation, Resource, decode, decode_value, find_auxiliary, protobuf,
};

/// The largest body (kube-apiserver: 3 MiB).
pub(super) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The media type without its parameters; Kubernetes reads a missing one as JSON.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim() {
        "" => "application/json",
        given => given,
    }
}

pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Status> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(Status::too_large(BODY_BYTES_MAX));
    }
    to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        if source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
            Status::too_large(BODY_BYTES_MAX)
        } else {
            Status::bad_request(format!("read the body: {error}"))
        }
    })
}

/// Reads the body as JSON text, whatever it was.
pub(super) async fn read_json(headers: &HeaderMap, body: Body) -> Result<Bytes, Status> {
    to_json(headers, read(headers, body).await?)
}

/// A body that was read, as JSON text.
pub(super) fn to_json(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Status> {
    match media_type(headers) {
        "application/json" => Ok(body),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml_to_json(&body),
        protobuf::CONTENT_TYPE => {
            let value = protobuf::to_json(&body);
            let value = value.map_err(|error| Status::bad_request(error.to_string()))?;
            Ok(value.to_string().into())
        }
        other => Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format ({other}) - accepted media types include: \
             application/json, application/yaml, application/vnd.kubernetes.protobuf"
        ))),
    }
}

fn yaml_to_json(text: &[u8]) -> Result<Bytes, Status> {
    let refused = |error: String| Status::bad_request(format!("couldn't parse the body as YAML: {error}"));
    let value: Value = serde_norway::from_slice(text).map_err(|error| refused(error.to_string()))?;
    serde_json::to_vec(&value).map(Bytes::from).map_err(|error| refused(error.to_string()))
}

/// Reads JSON as an object of `resource`.
pub(crate) fn object(resource: &Resource, json: &[u8], validation: FieldValidation) -> Result<Decoded, Status> {
    decode(resource, json, validation).map_err(|error| undecodable(resource, &error))
}

/// What `patch` makes of `current`, as an object of `resource`.
pub(crate) fn patched(
    resource: &Resource,
    patch: &Patch,
    current: &Value,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let result = patch.apply(resource, current)?;
    decode_value(resource, result.clone(), patch.problems(), validation).map_err(|error| match error {
        DecodeError::Kind { .. } => undecodable(resource, &error),
        error => Status::invalid_patch(&result, &error.to_string()),
    })
}

fn undecodable(resource: &Resource, error: &DecodeError) -> Status {
    let status = match error {
        // These two say themselves what they were read as.
        DecodeError::Kind { .. } | DecodeError::Type { .. } => Status::bad_request(error.to_string()),
        error => Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {error}",
            resource.kind, resource.version, resource.kind
        )),
    };
    let cause =
        |cause: Cause<'_>| json!({"reason": cause.kind.reason(), "message": cause.message, "field": cause.field});
    let causes: Vec<_> = error.causes().into_iter().map(cause).collect();
    if causes.is_empty() { status } else { status.caused_by(causes) }
}

/// Reads JSON as a kind that has no path of its own: Scale, Binding, Eviction, DeleteOptions. Clients name any version of it
/// that they know: `policy/v1beta1`, or for DeleteOptions the group that they delete from.
pub(crate) fn auxiliary(
    api_version: &str,
    kind: &str,
    json: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let refused = |error: String| Status::bad_request(format!("couldn't parse the body as {kind}: {error}"));
    let mut value: Value = serde_json::from_slice(json).map_err(|error| refused(error.to_string()))?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (given, given_kind) = (text("apiVersion").to_owned(), text("kind"));
    if !value.is_object() || !(given_kind.is_empty() || given_kind == kind) {
        return Err(refused(format!("its kind is {given_kind:?}")));
    }
    let resource = find_auxiliary(if given.is_empty() { api_version } else { &given }, kind);
    let resource =
        resource.ok_or_else(|| Status::bad_request(format!("no kind {kind:?} is registered for version {given:?}")))?;
    let decoded = if given.is_empty() || given == resource.api_version() {
        decode(resource, json, validation)
    } else {
        value["apiVersion"] = resource.api_version().into();
        decode_value(resource, value, &[], validation)
    };
    let mut decoded = decoded.map_err(|error| undecodable(resource, &error))?;
    decoded.object["apiVersion"] = api_version.into();
    Ok(decoded)
}
