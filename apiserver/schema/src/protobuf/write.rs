//! JSON to messages, along the nodes of a schema.
//!
//! A message stands behind its length, so everything is written backwards into one buffer, last field first, and turned round at
//! the end: no message is measured twice, and none has a buffer of its own.

use super::ProtobufError;
use crate::node::{Field, Node, Schema, Shape, Struct, Wire};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Bytes of a message, the last one first.
#[derive(Default)]
pub(super) struct Backwards {
    bytes: Vec<u8>,
}

/// How a value is told apart on the wire.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

impl Backwards {
    /// The bytes in their order.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.reverse();
        self.bytes
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes.iter().rev());
    }

    fn varint(&mut self, mut number: u64) {
        let (mut groups, mut count) = ([0_u8; 10], 0);
        loop {
            let more = number >= 0x80;
            groups[count] = (number & 0x7f) as u8 | if more { 0x80 } else { 0 };
            count += 1;
            number >>= 7;
            if !more {
                break;
            }
        }
        self.raw(&groups[..count]);
    }

    fn tag(&mut self, number: u32, kind: u32) {
        self.varint(u64::from(number << 3 | kind));
    }

    /// A field that is a number.
    pub(super) fn integer(&mut self, number: u32, value: i64) {
        self.varint(value.cast_unsigned());
        self.tag(number, VARINT);
    }

    /// A field that is a text or other bytes.
    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.raw(bytes);
        self.varint(bytes.len() as u64);
        self.tag(number, BYTES);
    }

    /// A field that is a message, which `write` writes.
    pub(super) fn nested<E>(&mut self, number: u32, write: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let before = self.bytes.len();
        write(self)?;
        self.begin(number, self.bytes.len() - before);
        Ok(())
    }

    /// The beginning of a field of so many bytes.
    pub(super) fn begin(&mut self, number: u32, length: usize) {
        self.varint(length as u64);
        self.tag(number, BYTES);
    }
}

/// Writes an object of `known`.
pub(super) fn message(
    out: &mut Backwards,
    schema: &Schema,
    known: &Struct,
    object: &Map<String, Value>,
) -> Result<(), ProtobufError> {
    numbered(out, schema, known, &known.wire, object)
}

fn numbered(
    out: &mut Backwards,
    schema: &Schema,
    known: &Struct,
    numbers: &[(u32, Wire)],
    object: &Map<String, Value>,
) -> Result<(), ProtobufError> {
    for (number, wire) in numbers.iter().rev() {
        match wire {
            Wire::Embedded(numbers) => {
                out.nested(*number, |out| numbered(out, schema, known, numbers, object))?;
            }
            Wire::Field(at) => {
                let field = &known.fields[usize::from(*at)];
                if let Some(value) = object.get(&*field.name) {
                    put(out, schema, field, *number, value)?;
                }
            }
        }
    }
    Ok(())
}

fn put(out: &mut Backwards, schema: &Schema, field: &Field, number: u32, given: &Value) -> Result<(), ProtobufError> {
    let written = match (&field.node.shape, given) {
        (_, Value::Null) => Ok(()),
        (Shape::List(element), Value::Array(list)) if !field.wrapped => elements(out, schema, element, number, list),
        (Shape::Map(values), Value::Object(map)) => entries(out, schema, values, number, map),
        _ => value(out, schema, &field.node, number, given),
    };
    written.map_err(|error| match error {
        ProtobufError::Unfit { field: inner } => {
            let dot = if inner.is_empty() { "" } else { "." };
            ProtobufError::Unfit { field: format!("{}{dot}{inner}", field.name) }
        }
        other => other,
    })
}

fn elements(
    out: &mut Backwards,
    schema: &Schema,
    element: &Node,
    number: u32,
    list: &[Value],
) -> Result<(), ProtobufError> {
    list.iter().rev().try_for_each(|given| value(out, schema, element, number, given))
}

fn entries(
    out: &mut Backwards,
    schema: &Schema,
    values: &Node,
    number: u32,
    map: &Map<String, Value>,
) -> Result<(), ProtobufError> {
    map.iter().rev().try_for_each(|(key, given)| {
        out.nested(number, |out| {
            value(out, schema, values, 2, given)?;
            out.bytes(1, key.as_bytes());
            Ok(())
        })
    })
}

fn value(out: &mut Backwards, schema: &Schema, node: &Node, number: u32, given: &Value) -> Result<(), ProtobufError> {
    match (&node.shape, given) {
        (Shape::String, Value::String(text)) => out.bytes(number, text.as_bytes()),
        (Shape::Bytes, Value::String(text)) => out.bytes(number, &STANDARD.decode(text).map_err(|_| unfit())?),
        (Shape::Int32 | Shape::Int64, _) => out.integer(number, given.as_i64().ok_or_else(unfit)?),
        (Shape::Boolean, Value::Bool(yes)) => out.integer(number, (*yes).into()),
        (Shape::Number, _) => {
            out.raw(&given.as_f64().ok_or_else(unfit)?.to_le_bytes());
            out.tag(number, FIXED64);
        }
        (Shape::Quantity, Value::String(text)) => out.nested(number, |out| {
            out.bytes(1, text.as_bytes());
            Ok(())
        })?,
        (Shape::IntOrString, _) => out.nested(number, |out| int_or_string(out, given))?,
        (Shape::Time | Shape::MicroTime, _) => out.nested(number, |out| time(out, given))?,
        (Shape::Any, _) => out.nested(number, |out| {
            out.bytes(1, given.to_string().as_bytes());
            Ok(())
        })?,
        (Shape::Struct(id), Value::Object(map)) => {
            out.nested(number, |out| message(out, schema, schema.get(*id), map))?;
        }
        (Shape::Either(id, other), _) => {
            out.nested(number, |out| either(out, schema, schema.get(*id), other, given))?;
        }
        (Shape::List(element), Value::Array(list)) => {
            out.nested(number, |out| elements(out, schema, element, 1, list))?;
        }
        _ => return Err(unfit()),
    }
    Ok(())
}

/// The path is put together on the way back.
fn unfit() -> ProtobufError {
    ProtobufError::Unfit { field: String::new() }
}

fn int_or_string(out: &mut Backwards, given: &Value) -> Result<(), ProtobufError> {
    let (kind, number, text) = match given {
        Value::String(text) => (1, 0, text.as_str()),
        _ => (0, given.as_i64().ok_or_else(unfit)?, ""),
    };
    out.bytes(3, text.as_bytes());
    out.integer(2, number);
    out.integer(1, kind);
    Ok(())
}

fn time(out: &mut Backwards, given: &Value) -> Result<(), ProtobufError> {
    if given.is_null() {
        return Ok(());
    }
    let time: Timestamp = given.as_str().and_then(|text| text.parse().ok()).ok_or_else(unfit)?;
    out.integer(2, time.subsec_nanosecond().into());
    out.integer(1, time.as_second());
    Ok(())
}

fn either(
    out: &mut Backwards,
    schema: &Schema,
    known: &Struct,
    other: &Node,
    given: &Value,
) -> Result<(), ProtobufError> {
    let (of_struct, of_other) = super::either_numbers(other);
    match (given, &other.shape) {
        (Value::Object(map), shape) => {
            out.nested(of_struct, |out| message(out, schema, known, map))?;
            if matches!(shape, Shape::Boolean) {
                out.integer(of_other, 1);
            }
            Ok(())
        }
        (Value::Array(list), Shape::List(element)) => elements(out, schema, element, of_other, list),
        _ => value(out, schema, other, of_other, given),
    }
}
