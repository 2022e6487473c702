//! Messages to JSON, along the nodes of a schema.

use super::ProtobufError;
use super::wire::{self, Field, Reader, utf8};
use crate::builtin;
use crate::node::{self, Node, Schema, Shape, Struct, Wire};
use serde_json::{Map, Value};

/// Reads a message of `known` into `object`.
pub(super) fn message(
    schema: &Schema,
    known: &Struct,
    bytes: &[u8],
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    numbered(schema, known, &known.wire, bytes, object)
}

fn numbered(
    schema: &Schema,
    known: &Struct,
    numbers: &[(u32, Wire)],
    bytes: &[u8],
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    for field in Reader::new(bytes) {
        let (number, field) = field?;
        // What has no number here is a field of a later version: dropped, as Kubernetes does.
        let Ok(at) = numbers.binary_search_by_key(&number, |(number, _)| *number) else { continue };
        match &numbers[at].1 {
            Wire::Embedded(numbers) => numbered(schema, known, numbers, field.bytes()?, object)?,
            Wire::Field(at) => put(schema, &known.fields[usize::from(*at)], field, object)?,
        }
    }
    Ok(())
}

fn put(
    schema: &Schema,
    known: &node::Field,
    field: Field<'_>,
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    let name = &*known.name;
    match &known.node.shape {
        Shape::List(element) if known.wrapped => {
            object.insert(name.to_owned(), wrapped(schema, element, field)?);
        }
        Shape::List(element) => {
            let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                elements(schema, element, field, list)?;
            }
        }
        Shape::Map(values) => {
            let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                let (key, value) = entry(schema, values, field.bytes()?)?;
                map.insert(key, value);
            }
        }
        _ => {
            let value = value(schema, &known.node, field)?;
            if !(value.is_null() || known.omit_zero && is_zero(&value)) {
                object.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

fn is_zero(value: &Value) -> bool {
    *value == 0 || *value == false || value.as_str() == Some("")
}

/// One element of a list, or several numbers packed into one field.
fn elements(schema: &Schema, element: &Node, field: Field<'_>, list: &mut Vec<Value>) -> Result<(), ProtobufError> {
    match (&element.shape, field) {
        (Shape::Int32 | Shape::Int64 | Shape::Boolean, Field::Bytes(packed)) => {
            let mut rest = Reader::new(packed);
            while let Some(number) = rest.packed()? {
                list.push(value(schema, element, number)?);
            }
        }
        _ => list.push(value(schema, element, field)?),
    }
    Ok(())
}

/// A message whose field 1 are the elements.
fn wrapped(schema: &Schema, element: &Node, field: Field<'_>) -> Result<Value, ProtobufError> {
    let mut list = Vec::new();
    for field in Reader::new(field.bytes()?) {
        if let (1, field) = field? {
            elements(schema, element, field, &mut list)?;
        }
    }
    Ok(Value::Array(list))
}

/// An entry of a map: key (1) and value (2).
fn entry(schema: &Schema, values: &Node, bytes: &[u8]) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut found) = (String::new(), None);
    for field in Reader::new(bytes) {
        match field? {
            (1, Field::Bytes(text)) => key = utf8(text)?.to_owned(),
            (2, field) => found = Some(value(schema, values, field)?),
            _ => {}
        }
    }
    Ok((key, found.or_else(|| builtin::zero(&values.shape)).unwrap_or_default()))
}

fn value(schema: &Schema, node: &Node, field: Field<'_>) -> Result<Value, ProtobufError> {
    Ok(match &node.shape {
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
        Shape::Struct(id) => structure(schema, schema.get(*id), field)?,
        Shape::Either(id, other) => either(schema, schema.get(*id), other, field)?,
        // Only as the value of a map: Protobuf has no lists there.
        Shape::List(element) => wrapped(schema, element, field)?,
        Shape::Map(_) => return Err(ProtobufError::Malformed("a map in a list")),
    })
}

fn structure(schema: &Schema, known: &Struct, field: Field<'_>) -> Result<Value, ProtobufError> {
    let mut object = Map::new();
    message(schema, known, field.bytes()?, &mut object)?;
    Ok(Value::Object(object))
}

/// A schema or a list (1 and 2), or a boolean and a schema (1 and 2).
fn either(schema: &Schema, known: &Struct, other: &Node, field: Field<'_>) -> Result<Value, ProtobufError> {
    let (of_struct, of_other) = super::either_numbers(other);
    let (mut object, mut list, mut scalar) = (None, Vec::new(), Value::Null);
    for field in Reader::new(field.bytes()?) {
        let (number, field) = field?;
        match &other.shape {
            _ if number == of_struct => object = Some(structure(schema, known, field)?),
            Shape::List(element) if number == of_other => elements(schema, element, field, &mut list)?,
            Shape::Boolean if number == of_other => scalar = value(schema, other, field)?,
            _ => {}
        }
    }
    Ok(match (object, &other.shape) {
        (Some(object), _) => object,
        (None, Shape::List(_)) => Value::Array(list),
        (None, _) => scalar,
    })
}
