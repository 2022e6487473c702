//! Bodies in Kubernetes' protobuf, as kubectl sends them for `create`, `run`, `expose` and the like: turned into JSON.
//!
//! The envelope is four bytes of magic and a `runtime.Unknown`; inside is a message whose field numbers stand in `fields.txt` and
//! whose types are those of the JSON schema. Answers are JSON: clients that send protobuf accept both.
//! Source: Kubernetes' `generated.proto` files and the serializer in `apimachinery/pkg/runtime/serializer/protobuf`.

mod fields;
mod wire;

use serde_json::{Map, Value};

use self::fields::Entry;
use self::wire::{Field, Reader};
use crate::types::{self, Shape, Struct};
use crate::{Resource, find_auxiliary, find_kind};

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
}

/// The object in `body` as JSON; give it to [`crate::decode_value`].
///
/// # Errors
/// [`ProtobufError`] when the body is no protobuf, or of a kind that is not served.
pub fn to_json(body: &[u8]) -> Result<Value, ProtobufError> {
    let (api_version, kind, raw) = envelope(body)?;
    let resource = find_kind(&api_version, &kind).or_else(|| find_auxiliary(&api_version, &kind));
    let Some(resource) = resource else { return Err(ProtobufError::Kind { api_version, kind }) };
    let mut object = message(resource, raw)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(object))
}

fn message(resource: &Resource, raw: &[u8]) -> Result<Map<String, Value>, ProtobufError> {
    let mut object = Map::new();
    read(resource.definition, types::of(resource), raw, &mut object)?;
    Ok(object)
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

/// Reads the message `definition` into `object`, whose JSON fields are `known`.
fn read(definition: &str, known: &Struct, bytes: &[u8], object: &mut Map<String, Value>) -> Result<(), ProtobufError> {
    for field in Reader::new(bytes) {
        let (number, field) = field?;
        match fields::find(definition, number) {
            Some(Entry::Embedded(name)) => {
                let package = definition.rsplit_once('.').map_or(definition, |(package, _)| package);
                read(&format!("{package}.{name}"), known, field.bytes()?, object)?;
            }
            Some(Entry::Field { name, keep_zero }) => {
                if let Some(known) = known.get(name) {
                    put(&known.shape, name, keep_zero, field, object)?;
                }
            }
            // A field of a later version: dropped, as Kubernetes does.
            None => {}
        }
    }
    Ok(())
}

fn put(
    shape: &Shape,
    name: &str,
    keep_zero: bool,
    field: Field<'_>,
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    match shape {
        Shape::List(element) => {
            let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(value(element, field)?);
            }
        }
        Shape::Map(values) => {
            let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                let (key, value) = entry(values, field.bytes()?)?;
                map.insert(key, value);
            }
        }
        shape => {
            let value = value(shape, field)?;
            if !value.is_null() && (keep_zero || !is_zero(&value)) {
                object.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

fn is_zero(value: &Value) -> bool {
    *value == 0 || *value == false || value.as_str() == Some("")
}

/// An entry of a map: key (1) and value (2).
fn entry(values: &Shape, bytes: &[u8]) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut found) = (String::new(), None);
    for field in Reader::new(bytes) {
        match field? {
            (1, Field::Bytes(text)) => key = utf8(text)?.to_owned(),
            (2, field) => found = Some(value(values, field)?),
            _ => {}
        }
    }
    let empty = || if matches!(values, Shape::Quantity) { "0" } else { "" }.into();
    Ok((key, found.unwrap_or_else(empty)))
}

fn value(shape: &Shape, field: Field<'_>) -> Result<Value, ProtobufError> {
    Ok(match shape {
        Shape::String => utf8(field.bytes()?)?.into(),
        Shape::Bytes => wire::base64(field.bytes()?).into(),
        Shape::Int32 | Shape::Int64 => field.integer()?.into(),
        Shape::Boolean => (field.integer()? != 0).into(),
        Shape::Number => field.double()?.into(),
        Shape::Quantity => wire::quantity(field.bytes()?)?.into(),
        Shape::IntOrString => wire::int_or_string(field.bytes()?)?,
        Shape::Time => wire::time(field.bytes()?, "%Y-%m-%dT%H:%M:%SZ")?,
        Shape::MicroTime => wire::time(field.bytes()?, "%Y-%m-%dT%H:%M:%S.%6fZ")?,
        Shape::Any => wire::raw_json(field.bytes()?)?,
        Shape::Struct(name) => {
            let mut object = Map::new();
            if let Some(known) = types::find(name) {
                read(name, known, field.bytes()?, &mut object)?;
            }
            Value::Object(object)
        }
        Shape::List(_) | Shape::Map(_) => return Err(ProtobufError::Malformed("a list in a list")),
    })
}

fn utf8(bytes: &[u8]) -> Result<&str, ProtobufError> {
    std::str::from_utf8(bytes).map_err(|_| ProtobufError::Malformed("a text is not UTF-8"))
}

#[cfg(test)]
mod tests;
