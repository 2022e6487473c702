//! What was sent: JSON, YAML, Kubernetes' protobuf or CBOR, with a limit. All but the first become values at once, with no JSON in between.

use super::negotiate::Cbor;
use crate::status::Status;
use crate::yaml;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::Value;
use skiff_schema::{
    DecodeError, Decoded, FieldValidation, Parsed, Resource, cbor, decode, decode_value, find_auxiliary, protobuf,
};
use std::borrow::Cow;

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

/// A body that was read: text that is still to be parsed, for what may be wrong in it, or a value.
pub(crate) enum Sent<'a> {
    /// JSON text.
    Json(Cow<'a, [u8]>),
    /// What YAML said, and the text.
    Yaml(Value, Bytes),
    /// What Protobuf or CBOR said.
    Value(Value),
}

/// Reads a body, whatever its form is.
pub(super) async fn sent(headers: &HeaderMap, body: Body, spoken: Cbor) -> Result<Sent<'static>, Status> {
    sent_as(headers, read(headers, body).await?, spoken)
}

/// A body that was read, by its content type.
pub(super) fn sent_as(headers: &HeaderMap, body: Bytes, spoken: Cbor) -> Result<Sent<'static>, Status> {
    match media_type(headers) {
        "application/json" => Ok(Sent::Json(Cow::Owned(body.into()))),
        "application/yaml" | "application/x-yaml" | "text/yaml" => match serde_norway::from_slice(&body) {
            Ok(value) => Ok(Sent::Yaml(value, body)),
            Err(error) => Err(Status::bad_request(format!("couldn't parse the body as YAML: {error}"))),
        },
        protobuf::CONTENT_TYPE => {
            protobuf::to_json(&body).map(Sent::Value).map_err(|error| Status::bad_request(error.to_string()))
        }
        cbor::CONTENT_TYPE if spoken == Cbor::On => from_cbor(&body).map(Sent::Value),
        other => {
            let more = if spoken == Cbor::On { ", application/cbor" } else { "" };
            Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: \
                 application/json, application/yaml, application/vnd.kubernetes.protobuf{more}"
            )))
        }
    }
}

/// What a body in CBOR says.
pub(super) fn from_cbor(body: &[u8]) -> Result<Value, Status> {
    cbor::to_json(body).map_err(|error| Status::bad_request(error.to_string()))
}

/// Reads a body as an object of `resource`.
pub(crate) fn object(resource: &Resource, sent: Sent<'_>, validation: FieldValidation) -> Result<Decoded, Status> {
    let decoded = match sent {
        Sent::Json(text) => decode(resource, &text, validation),
        Sent::Yaml(value, _) if validation == FieldValidation::Ignore => decode_value(resource, value, &[], validation),
        Sent::Yaml(value, text) => decode_value(resource, value, &yaml::repeated(&text), validation),
        Sent::Value(value) => decode_value(resource, value, &[], validation),
    };
    decoded.map_err(|error| undecodable(resource, &error))
}

fn undecodable(resource: &Resource, error: &DecodeError) -> Status {
    match error {
        // These say themselves what they were read as.
        DecodeError::Kind { .. } | DecodeError::Type { .. } => Status::bad_request(error.to_string()),
        error => Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {error}",
            resource.kind, resource.version, resource.kind
        )),
    }
}

/// What was read, as long as it is not known of what kind it is.
enum Read<'a> {
    /// Of JSON, whose keys may stand there twice.
    Json(Parsed<'a>),
    Value(Value),
}

/// Reads a body as a kind that has no path of its own: Scale, Binding, Eviction, DeleteOptions. Clients name any version of it
/// that they know: `policy/v1beta1`, or for DeleteOptions the group that they delete from.
pub(crate) fn auxiliary(
    api_version: &str,
    kind: &str,
    sent: Sent<'_>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let refused = |error: String| Status::bad_request(format!("couldn't parse the body as {kind}: {error}"));
    let text: Cow<'_, [u8]>;
    let mut read = match sent {
        Sent::Value(value) | Sent::Yaml(value, _) => Read::Value(value),
        Sent::Json(json) => {
            text = json;
            Read::Json(Parsed::of(&text).map_err(|error| refused(error.to_string()))?)
        }
    };
    let (Read::Json(Parsed { value, .. }) | Read::Value(value)) = &mut read;
    let named = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (given, given_kind) = (named("apiVersion").to_owned(), named("kind"));
    if !value.is_object() || !(given_kind.is_empty() || given_kind == kind) {
        return Err(refused(format!("its kind is {given_kind:?}")));
    }
    let resource = find_auxiliary(if given.is_empty() { api_version } else { &given }, kind);
    let resource =
        resource.ok_or_else(|| Status::bad_request(format!("no kind {kind:?} is registered for version {given:?}")))?;
    value["apiVersion"] = resource.api_version().into();
    let decoded = match read {
        Read::Json(parsed) => parsed.decode(resource, validation),
        Read::Value(value) => decode_value(resource, value, &[], validation),
    };
    let mut decoded = decoded.map_err(|error| undecodable(resource, &error))?;
    decoded.object["apiVersion"] = api_version.into();
    Ok(decoded)
}
