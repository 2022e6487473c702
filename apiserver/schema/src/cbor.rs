//! Bodies in CBOR (RFC 8949), as Kubernetes' clients may send and want them (KEP-4222): read into JSON values and written from them.
//!
//! Texts are byte strings, as in Kubernetes' own serializer, and texts are read in either form. What the schema calls bytes travels bare,
//! under the tag that says how JSON would write it. Every body begins with the tag by which CBOR describes itself.
//! Source: `apimachinery/pkg/runtime/serializer/cbor`.

mod read;
mod write;

#[cfg(test)]
mod tests;

use crate::{builtin, find_auxiliary};
use serde_json::Value;

/// The media type of one object.
pub const CONTENT_TYPE: &str = "application/cbor";
/// The media type of watches: one event after the other (RFC 8742).
pub const SEQUENCE: &str = "application/cbor-seq";

/// The tag of all bodies: "this is CBOR", three bytes that begin no other form.
const SELF_DESCRIBED: u64 = 55_799;
/// Tags of bytes that JSON would write as base64url, base64 or base16.
const LATER_BASE64URL: u64 = 21;
const LATER_BASE64: u64 = 22;
const LATER_BASE16: u64 = 23;
/// Tags of times: as text, and in seconds since 1970.
const TIME_TEXT: u64 = 0;
const TIME_NUMBER: u64 = 1;
/// Tags of numbers of any length, which no object has.
const BIG_NUMBERS: [u64; 2] = [2, 3];

/// Why a body cannot be read or written; the answer to the former is 400 BadRequest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Its bytes are no CBOR.
    #[error("the body is not valid CBOR: {0}")]
    Malformed(String),
    /// It has what an object of the API cannot have.
    #[error("the body is CBOR, but no object of the API: {0}")]
    Foreign(&'static str),
    /// A key stands in a map twice.
    #[error("the body is not valid CBOR: the key {0:?} stands in a map twice")]
    Duplicate(String),
}

/// The object in `body`; give it to [`crate::decode_value`].
///
/// # Errors
/// [`CborError`] when the body is no CBOR, or has what JSON cannot say.
pub fn to_json(body: &[u8]) -> Result<Value, CborError> {
    read::body(body)
}

/// An object, a list, a Status … as a body. Kinds that are built in are written by their schema.
///
/// # Errors
/// The object is nested too deep for the encoder, which none of the API is.
pub fn from_json(object: &Value) -> Result<Vec<u8>, CborError> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let auxiliary = || find_auxiliary(api_version, kind).map(|resource| builtin::of(resource));
    let schema = builtin::by_kind(api_version, kind).or_else(auxiliary);
    write::body(schema.as_ref(), object)
}

/// A watch event around a body that [`from_json`] made.
///
/// # Errors
/// As [`from_json`].
pub fn event(kind: &str, body: &[u8]) -> Result<Vec<u8>, CborError> {
    write::event(kind, body)
}
