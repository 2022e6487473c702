//! From JSON values to CBOR, along the schema if there is one.

use super::{CborError, LATER_BASE64, SELF_DESCRIBED};
use crate::node::{Node, Schema, Shape, StructId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minicbor::data::Tag;
use minicbor::encode::{Encoder, Error};
use serde_json::{Map, Value};
use std::convert::Infallible;

type Out<'a> = Encoder<&'a mut Vec<u8>>;
type Done = Result<(), Error<Infallible>>;

impl From<Error<Infallible>> for CborError {
    fn from(error: Error<Infallible>) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// An object of `schema`, or of none.
pub(super) fn body(schema: Option<&Schema>, object: &Value) -> Result<Vec<u8>, CborError> {
    let mut bytes = Vec::new();
    let mut out = Encoder::new(&mut bytes);
    out.tag(Tag::new(SELF_DESCRIBED))?;
    match (schema, object) {
        (Some(schema), Value::Object(fields)) => structure(&mut out, schema, schema.root_id(), fields)?,
        _ => any(&mut out, object)?,
    }
    Ok(bytes)
}

/// `{"type": kind, "object": …}` around an object that is written already.
pub(super) fn event(kind: &str, object: &[u8]) -> Result<Vec<u8>, CborError> {
    let mut bytes = Vec::new();
    let mut out = Encoder::new(&mut bytes);
    out.tag(Tag::new(SELF_DESCRIBED))?.map(2)?.bytes(b"type")?.bytes(kind.as_bytes())?.bytes(b"object")?;
    bytes.extend_from_slice(object);
    Ok(bytes)
}

fn structure(out: &mut Out<'_>, schema: &Schema, id: StructId, fields: &Map<String, Value>) -> Done {
    let known = schema.get(id);
    out.map(fields.len() as u64)?;
    for (name, value) in fields {
        out.bytes(name.as_bytes())?;
        match known.field(name) {
            Some(field) => node(out, schema, &field.node, value)?,
            None => any(out, value)?,
        }
    }
    Ok(())
}

fn node(out: &mut Out<'_>, schema: &Schema, known: &Node, value: &Value) -> Done {
    match (&known.shape, value) {
        (Shape::Struct(id) | Shape::Either(id, _), Value::Object(fields)) => structure(out, schema, *id, fields),
        (Shape::Either(_, other), value) => node(out, schema, other, value),
        (Shape::Map(inner), Value::Object(map)) => {
            out.map(map.len() as u64)?;
            for (key, value) in map {
                out.bytes(key.as_bytes())?;
                node(out, schema, inner, value)?;
            }
            Ok(())
        }
        (Shape::List(inner), Value::Array(list)) => {
            out.array(list.len() as u64)?;
            list.iter().try_for_each(|value| node(out, schema, inner, value))
        }
        (Shape::Bytes, Value::String(text)) => match STANDARD.decode(text) {
            Ok(bytes) => out.tag(Tag::new(LATER_BASE64))?.bytes(&bytes).map(drop),
            Err(_) => any(out, value),
        },
        (_, value) => any(out, value),
    }
}

fn any(out: &mut Out<'_>, value: &Value) -> Done {
    match value {
        Value::Null => out.null()?,
        Value::Bool(flag) => out.bool(*flag)?,
        Value::String(text) => out.bytes(text.as_bytes())?,
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => out.i64(whole)?,
            (None, Some(whole), _) => out.u64(whole)?,
            (None, None, real) => out.f64(real.unwrap_or_default())?,
        },
        Value::Array(list) => {
            out.array(list.len() as u64)?;
            return list.iter().try_for_each(|value| any(out, value));
        }
        Value::Object(map) => {
            out.map(map.len() as u64)?;
            for (key, value) in map {
                out.bytes(key.as_bytes())?;
                any(out, value)?;
            }
            return Ok(());
        }
    };
    Ok(())
}
