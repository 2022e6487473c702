//! Bodies in Kubernetes' protobuf, as typed clients send and want them: read into JSON and written from it.
//!
//! The envelope is four bytes of magic and a `runtime.Unknown`; inside is a message whose field numbers and types are those of the
//! kind's schema.
//! Source: Kubernetes' `generated.proto` files and the serializer in `apimachinery/pkg/runtime/serializer/protobuf`.

mod read;
mod wire;
mod write;

use self::wire::{Field, Reader, utf8};
use self::write::Backwards;
use crate::node::{Node, Schema, Shape};
use crate::{builtin, find_auxiliary};
use serde_json::{Map, Value};

/// The media type of such bodies.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";

/// Why a body cannot be read; the answer is 400 BadRequest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// It does not start with `k8s\0`.
    #[error("the body does not start with the magic number of Kubernetes' protobuf")]
    Magic,
    /// Its bytes are no message.
    #[error("the body is not a valid protobuf message: {0}")]
    Malformed(&'static str),
    /// It says to be of a kind that is not served.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    Kind {
        /// `apiVersion` of the body.
        api_version: String,
        /// `kind` of the body.
        kind: String,
    },
    /// A value that is to be written is no object of its schema.
    #[error("the object cannot be written as Protobuf: {field:?} has a value of another type than its schema")]
    Unfit {
        /// Path of the field.
        field: String,
    },
}

/// The object in `body` as JSON; give it to [`crate::decode_value`].
///
/// # Errors
/// [`ProtobufError`] when the body is no protobuf, or of a kind that is not served.
pub fn to_json(body: &[u8]) -> Result<Value, ProtobufError> {
    let (api_version, kind, raw) = envelope(body)?;
    let schema = schema_of(&api_version, &kind);
    let Some(schema) = schema else { return Err(ProtobufError::Kind { api_version, kind }) };
    let mut object = Map::new();
    read::message(&schema, schema.root(), raw, &mut object)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(object))
}

fn schema_of(api_version: &str, kind: &str) -> Option<Schema> {
    let auxiliary = || find_auxiliary(api_version, kind).map(|resource| builtin::of(resource));
    builtin::by_kind(api_version, kind).or_else(auxiliary)
}

/// Whether objects of that kind have a form in Protobuf: all that are built in do, custom resources have none.
#[must_use]
pub fn knows(api_version: &str, kind: &str) -> bool {
    schema_of(api_version, kind).is_some()
}

/// An object, a list, a Status … as a body.
///
/// # Errors
/// [`ProtobufError::Kind`] when its kind is not built in, [`ProtobufError::Unfit`] when it does not fit its schema.
pub fn from_json(object: &Value) -> Result<Vec<u8>, ProtobufError> {
    let (schema, names, fields) = known(object)?;
    let mut out = Backwards::default();
    no_encoding(&mut out);
    out.nested(2, |out| write::message(out, &schema, schema.root(), fields))?;
    type_meta(&mut out, names)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(out.finish());
    Ok(bytes)
}

/// An encoding and a content type that say nothing; kube-apiserver writes them, too.
fn no_encoding(out: &mut Backwards) {
    out.bytes(4, b"");
    out.bytes(3, b"");
}

fn type_meta(out: &mut Backwards, [api_version, kind]: [&str; 2]) -> Result<(), ProtobufError> {
    out.nested(1, |out| {
        out.bytes(2, kind.as_bytes());
        out.bytes(1, api_version.as_bytes());
        Ok(())
    })
}

/// What stands around the items of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFrame {
    /// In front of the first.
    pub before: Vec<u8>,
    /// Behind the last.
    pub after: Vec<u8>,
}

/// The number of `items` in every list; a test checks it.
const ITEMS: u32 = 2;

/// An object as an item of a list.
///
/// # Errors
/// As of [`from_json`].
pub fn item(object: &Value) -> Result<Vec<u8>, ProtobufError> {
    let (schema, _, fields) = known(object)?;
    let mut out = Backwards::default();
    out.nested(ITEMS, |out| write::message(out, &schema, schema.root(), fields))?;
    Ok(out.finish())
}

/// A list as a body, around items of so many bytes in all; `head` is the list without them.
///
/// # Errors
/// As of [`from_json`].
pub fn list_frame(head: &Value, items_bytes: usize) -> Result<ListFrame, ProtobufError> {
    let (schema, names, fields) = known(head)?;
    let mut out = Backwards::default();
    write::message(&mut out, &schema, schema.root(), fields)?;
    let metadata = out.finish();
    let (mut before, mut after) = (Backwards::default(), Backwards::default());
    before.begin(2, metadata.len() + items_bytes);
    type_meta(&mut before, names)?;
    no_encoding(&mut after);
    Ok(ListFrame { before: [MAGIC, &before.finish(), &metadata].concat(), after: after.finish() })
}

/// Schema, version and kind, and fields of an object.
type Known<'a> = (Schema, [&'a str; 2], &'a Map<String, Value>);

fn known(object: &Value) -> Result<Known<'_>, ProtobufError> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let schema = schema_of(api_version, kind)
        .ok_or_else(|| ProtobufError::Kind { api_version: api_version.to_owned(), kind: kind.to_owned() })?;
    let Value::Object(fields) = object else { return Err(ProtobufError::Unfit { field: String::new() }) };
    Ok((schema, [api_version, kind], fields))
}

/// `runtime.Unknown`: type (1: apiVersion 1, kind 2) and raw message (2).
fn envelope(body: &[u8]) -> Result<(String, String, &[u8]), ProtobufError> {
    let unknown = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Reader::new(unknown) {
        match field? {
            (1, Field::Bytes(bytes)) => {
                for field in Reader::new(bytes) {
                    match field? {
                        (1, Field::Bytes(text)) => api_version = utf8(text)?.to_owned(),
                        (2, Field::Bytes(text)) => kind = utf8(text)?.to_owned(),
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    Ok((api_version, kind, raw))
}

/// Numbers of a struct and of what may stand in its place, in the messages of the schemas of custom resource definitions.
fn either_numbers(other: &Node) -> (u32, u32) {
    if matches!(other.shape, Shape::Boolean) { (2, 1) } else { (1, 2) }
}

/// A watch event around a body that [`from_json`] made, behind its length, as streams frame it.
#[must_use]
pub fn event(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Backwards::default();
    let done: Result<(), ProtobufError> = out.nested(2, |out| {
        out.bytes(1, body);
        Ok(())
    });
    debug_assert!(done.is_ok(), "bytes are always written");
    out.bytes(1, kind.as_bytes());
    let event = out.finish();
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &event].concat()
}

#[cfg(test)]
mod tests;
