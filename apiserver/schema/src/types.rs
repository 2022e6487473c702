//! The schema as the server uses it: structs, their fields and shapes, without descriptions.
//!
//! Made once from [`crate::descriptions`] and [`crate::keys`], when first needed; about 200 KiB.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::keys::{self, ListKeys};
use crate::{Resource, descriptions};

/// What a JSON value must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    String,
    Int32,
    Int64,
    Number,
    Boolean,
    /// Base64.
    Bytes,
    /// RFC 3339, kept in UTC with whole seconds.
    Time,
    /// RFC 3339, kept in UTC with microseconds.
    MicroTime,
    Quantity,
    IntOrString,
    /// Anything, kept as it is.
    Any,
    List(Box<Shape>),
    Map(Box<Shape>),
    /// Name of a struct.
    Struct(Box<str>),
}

/// A field of a struct.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) shape: Shape,
    /// How lists and maps in it are merged.
    pub(crate) keys: Option<&'static ListKeys>,
}

/// A struct: its fields by JSON name.
pub(crate) type Struct = BTreeMap<Box<str>, Field>;

/// The struct behind a definition name.
pub(crate) fn find(definition: &str) -> Option<&'static Struct> {
    catalog().get(definition)
}

/// The struct of a resource.
pub(crate) fn of(resource: &Resource) -> &'static Struct {
    find(&resource.definition).expect("every row of the resource table names a definition; a test checks it")
}

fn catalog() -> &'static BTreeMap<Box<str>, Struct> {
    static CATALOG: OnceLock<BTreeMap<Box<str>, Struct>> = OnceLock::new();
    CATALOG.get_or_init(|| {
        let definitions = descriptions::definitions();
        let structs = definitions.iter().filter_map(|(name, definition)| {
            let properties = definition.get("properties")?.as_object()?;
            Some((name.as_str().into(), convert(name, properties)))
        });
        structs.collect()
    })
}

fn convert(definition: &str, properties: &Map<String, Value>) -> Struct {
    let field = |(name, schema): (&String, &Value)| {
        let field = Field { shape: shape(schema), keys: keys::find(definition, name) };
        (name.as_str().into(), field)
    };
    properties.iter().map(field).collect()
}

/// Definition name behind a `$ref`.
pub(crate) fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.rsplit('/').next()
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

fn shape(schema: &Value) -> Shape {
    if let Some(name) = reference(schema) {
        return referenced(name);
    }
    let format = schema.get("format").and_then(Value::as_str);
    match schema.get("type").and_then(Value::as_str) {
        Some("string") if format == Some("byte") => Shape::Bytes,
        Some("string") => Shape::String,
        Some("integer") if format == Some("int32") => Shape::Int32,
        Some("integer") => Shape::Int64,
        Some("number") => Shape::Number,
        Some("boolean") => Shape::Boolean,
        Some("array") => Shape::List(Box::new(schema.get("items").map_or(Shape::Any, shape))),
        Some("object") => match schema.get("additionalProperties") {
            Some(values) => Shape::Map(Box::new(shape(values))),
            None => Shape::Any,
        },
        _ => Shape::Any,
    }
}

fn referenced(name: &str) -> Shape {
    match name.strip_prefix(META) {
        Some("Time") => Shape::Time,
        Some("MicroTime") => Shape::MicroTime,
        Some("FieldsV1") => Shape::Any,
        _ => match name {
            "io.k8s.apimachinery.pkg.api.resource.Quantity" => Shape::Quantity,
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => Shape::IntOrString,
            "io.k8s.apimachinery.pkg.runtime.RawExtension" => Shape::Any,
            _ => Shape::Struct(name.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_and_auxiliary_kind_has_a_struct() {
        for resource in crate::resources().iter().chain(crate::catalog::auxiliary()) {
            let fields = find(&resource.definition).unwrap_or_else(|| panic!("{} has no definition", resource.kind));
            assert!(fields.contains_key("kind"), "{}: {fields:?}", resource.kind);
        }
    }

    #[test]
    fn every_row_of_the_merge_keys_names_a_field() {
        for (definition, field) in keys::all_fields() {
            let fields = find(&definition).unwrap_or_else(|| panic!("{definition} does not exist"));
            assert!(fields.contains_key(field), "{definition} has no {field}");
        }
    }
}
