//! One walk along the nodes of a schema: wrong types are found, unknown fields noted and dropped, values put in Kubernetes' own
//! form, absent fields given the default that the schema names.
//!
//! A built-in kind takes the form that Go gives it: what is zero and of no pointer is left out, what is always written is there.
//! A custom resource keeps values of wrong types: its own validation names them all, where a built-in kind is refused at once.

use crate::builtin;
use crate::node::{Field, Node, Schema, Shape, Struct, StructId, Unknown};
use crate::path::Path;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use skiff_proto::quantity::Quantity;

/// A value of the wrong type.
pub(crate) struct Wrong {
    /// Path of the field.
    pub(crate) field: String,
    /// What the schema says.
    pub(crate) expected: &'static str,
    /// The value as JSON, shortened.
    pub(crate) got: String,
}

impl Wrong {
    pub(crate) fn new(path: &Path<'_>, expected: &'static str, got: &Value) -> Self {
        const SHOWN: usize = 80;
        let mut text = got.to_string();
        if let Some((end, _)) = text.char_indices().nth(SHOWN) {
            text.truncate(end);
            text.push('…');
        }
        let field = path.to_string();
        Self { field: if field.is_empty() { super::WHOLE.to_owned() } else { field }, expected, got: text }
    }
}

/// Definition of the metadata that every object has.
const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// An object of a schema in its form, and the paths of its unknown fields.
pub(super) fn object(schema: &Schema, value: Value) -> Result<(Value, Vec<String>), Wrong> {
    let mut walk = Walk { schema, unknown: Vec::new() };
    let object = walk.structure(schema.root_id(), value, &Path::Root)?;
    Ok((object, walk.unknown))
}

/// Metadata of an object in its form, and the paths of its unknown fields.
pub(crate) fn metadata(value: Value, path: &Path<'_>) -> Result<(Value, Vec<String>), Wrong> {
    let Some(schema) = builtin::schema(METADATA) else { return Ok((value, Vec::new())) };
    let mut walk = Walk { schema: &schema, unknown: Vec::new() };
    let metadata = walk.structure(schema.root_id(), value, path)?;
    Ok((metadata, walk.unknown))
}

/// Walks a value along the nodes of a schema.
struct Walk<'s> {
    schema: &'s Schema,
    unknown: Vec<String>,
}

impl<'s> Walk<'s> {
    fn value(&mut self, node: &'s Node, value: Value, path: &Path<'_>) -> Result<Value, Wrong> {
        match (&node.shape, value) {
            (Shape::Any, value) => Ok(value),
            (Shape::Struct(id), value) => self.structure(*id, value, path),
            (Shape::Either(id, _), value @ Value::Object(_)) => self.structure(*id, value, path),
            (Shape::Either(_, other), value) => self.value(other, value, path),
            (Shape::Map(inner), Value::Object(map)) => self.map(inner, map, path),
            (Shape::List(inner), Value::Array(list)) => self.list(inner, list, path),
            (shape, value) => scalar(shape, value).or_else(|value| self.wrong(expected(shape), value, path)),
        }
    }

    /// Refuses a value of a built-in kind; the validation of a custom resource names it later.
    fn wrong(&self, expected: &'static str, value: Value, path: &Path<'_>) -> Result<Value, Wrong> {
        if self.custom() { Ok(value) } else { Err(Wrong::new(path, expected, &value)) }
    }

    /// Whether the schema is that of a custom resource.
    fn custom(&self) -> bool {
        self.schema.root().name.is_empty()
    }

    fn structure(&mut self, id: StructId, value: Value, path: &Path<'_>) -> Result<Value, Wrong> {
        let Value::Object(mut object) = value else { return self.wrong("an object", value, path) };
        let known = self.schema.get(id);
        // In place: most of what clients send stays as it is.
        let mut dropped = Vec::new();
        for (name, slot) in &mut object {
            let (at, value) = (path.field(name), slot.take());
            let kept = match known.field(name) {
                None if known.embedded && name == "metadata" => Some(self.metadata(value, &at)?),
                None if known.unknown == Unknown::Keep || known.embedded && is_type_meta(name) => Some(value),
                None => {
                    self.unknown.push(at.to_string());
                    None
                }
                Some(field) => self.field(field, value, &at)?,
            };
            match kept {
                Some(value) => *slot = value,
                None => dropped.push(name.clone()),
            }
        }
        for name in dropped {
            object.remove(&name);
        }
        self.defaults(known, &mut object, path)?;
        Ok(Value::Object(object))
    }

    /// The value of a field; nothing when it is null or says nothing.
    fn field(&mut self, field: &'s Field, value: Value, path: &Path<'_>) -> Result<Option<Value>, Wrong> {
        if value.is_null() {
            return Ok(field.node.nullable.then_some(value));
        }
        let value = self.value(&field.node, value, path)?;
        Ok((!field.omit_zero || !is_zero(&value)).then_some(value))
    }

    /// Gives absent fields the values that the schema names, or the null that Go writes.
    fn defaults(&mut self, known: &'s Struct, object: &mut Map<String, Value>, path: &Path<'_>) -> Result<(), Wrong> {
        for field in &known.fields {
            // What would be left out if it were said is no default.
            if let Some(default) = &field.node.default
                && !(field.omit_zero && !default.is_object() && is_zero(default))
                && !object.contains_key(&*field.name)
            {
                let value = self.value(&field.node, Value::clone(default), &path.field(&field.name))?;
                object.insert(field.name.to_string(), value);
            } else if field.writes_null && !object.contains_key(&*field.name) {
                object.insert(field.name.to_string(), Value::Null);
            }
        }
        Ok(())
    }

    /// Metadata of an embedded object, which is built in wherever it stands.
    fn metadata(&mut self, value: Value, path: &Path<'_>) -> Result<Value, Wrong> {
        let Some(schema) = builtin::schema(METADATA) else { return Ok(value) };
        let mut walk = Walk { schema: &schema, unknown: std::mem::take(&mut self.unknown) };
        let metadata = walk.structure(schema.root_id(), value, path);
        self.unknown = walk.unknown;
        metadata
    }

    fn map(&mut self, inner: &'s Node, mut map: Map<String, Value>, path: &Path<'_>) -> Result<Value, Wrong> {
        for (key, slot) in &mut map {
            *slot = self.element(inner, slot.take(), &path.field(key))?;
        }
        Ok(Value::Object(map))
    }

    fn list(&mut self, inner: &'s Node, list: Vec<Value>, path: &Path<'_>) -> Result<Value, Wrong> {
        let elements = list.into_iter().enumerate();
        let elements = elements.map(|(index, value)| self.element(inner, value, &path.index(index)));
        elements.collect::<Result<_, _>>().map(Value::Array)
    }

    /// A null in a list or map is the zero value of its type, as Go reads it.
    fn element(&mut self, node: &'s Node, value: Value, path: &Path<'_>) -> Result<Value, Wrong> {
        match value {
            Value::Null if node.nullable || self.custom() => Ok(Value::Null),
            Value::Null => builtin::zero(&node.shape).map_or(Ok(Value::Null), |zero| self.value(node, zero, path)),
            value => self.value(node, value, path),
        }
    }
}

fn is_type_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind")
}

/// Whether a value says nothing, unless Go points to it. (An object with fields always does, even with none of them given.)
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// The value in the form of its shape, or as it was when it does not fit.
fn scalar(shape: &Shape, value: Value) -> Result<Value, Value> {
    let form = match (shape, &value) {
        (Shape::String | Shape::IntOrString, Value::String(_))
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Number, Value::Number(_)) => return Ok(value),
        (Shape::Int32 | Shape::IntOrString, Value::Number(number)) => {
            number.as_i64().filter(|&number| i32::try_from(number).is_ok()).map(Value::from)
        }
        (Shape::Int64, Value::Number(number)) => number.as_i64().map(Value::from),
        (Shape::Bytes, Value::String(text)) if STANDARD.decode(text).is_ok() => return Ok(value),
        (Shape::Quantity, Value::String(text)) => Quantity::parse(text.trim()).ok().map(|it| it.canonical().into()),
        (Shape::Quantity, Value::Number(number)) => {
            Quantity::parse(&number.to_string()).ok().map(|it| it.canonical().into())
        }
        (Shape::Time, Value::String(text)) => time(text, "%Y-%m-%dT%H:%M:%SZ"),
        (Shape::MicroTime, Value::String(text)) => time(text, "%Y-%m-%dT%H:%M:%S.%6fZ"),
        _ => None,
    };
    form.ok_or(value)
}

fn time(text: &str, format: &str) -> Option<Value> {
    let time: Timestamp = text.parse().ok()?;
    Some(time.strftime(format).to_string().into())
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::String => "a string",
        Shape::Int32 => "an integer (32 bits)",
        Shape::Int64 => "an integer",
        Shape::Number => "a number",
        Shape::Boolean => "true or false",
        Shape::Bytes => "a base64 string",
        Shape::Time | Shape::MicroTime => "a time (RFC 3339)",
        Shape::Quantity => "a quantity (such as 100m or 1.5Gi)",
        Shape::IntOrString => "an integer or a string",
        Shape::List(_) => "a list",
        Shape::Map(_) | Shape::Struct(_) | Shape::Either(..) => "an object",
        Shape::Any => "anything",
    }
}
