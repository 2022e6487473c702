//! Schemas as expressions see them: types, bounds of sizes, and how JSON becomes values.

use crate::declarations::ObjectType;
use crate::escape::escape;
use crate::types::Type;
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Largest request in bytes, from which sizes without a bound are estimated.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// Longest date and time, and duration, with quotes.
const TIME_BYTES_MAX: u64 = 32;

/// A date with quotes.
const DATE_BYTES: u64 = 12;

/// What kind of JSON a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Integer,
    Boolean,
    /// `x-kubernetes-int-or-string`.
    IntOrString,
    /// Nothing is said.
    Unsaid,
}

/// Strings that are more than text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Byte,
    Duration,
    Date,
    DateTime,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Set,
    Map(Vec<String>),
}

/// A schema as expressions see it.
#[derive(Debug, Clone)]
pub struct Shape {
    pub(crate) kind: Kind,
    pub(crate) format: Format,
    pub(crate) nullable: bool,
    pub(crate) preserve: bool,
    pub(crate) list: ListType,
    /// Fields by their names in JSON; `None`: the schema names none.
    pub(crate) properties: Option<BTreeMap<String, Shape>>,
    /// Items of a list, values of a map.
    pub(crate) items: Option<Box<Shape>>,
    /// Whether values of it have a type in expressions.
    visible: bool,
    max_elements: u64,
    min_bytes: u64,
}

impl Shape {
    /// Of an OpenAPI v3 schema without references. `root` if it is that of a whole object: it has `kind`, `apiVersion` and `metadata`,
    /// of which expressions see the names.
    #[must_use]
    pub fn of(schema: &Json, root: bool) -> Self {
        let nothing = Map::new();
        let schema = schema.as_object().unwrap_or(&nothing);
        let flag = |name: &str| schema.get(name).and_then(Json::as_bool).unwrap_or(false);
        let mut shape = Self {
            kind: kind(schema),
            format: format(schema),
            nullable: flag("nullable"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            list: list_type(schema),
            properties: properties(schema, root || flag("x-kubernetes-embedded-resource")),
            items: items(schema),
            visible: true,
            max_elements: 0,
            min_bytes: 1,
        };
        shape.measure(schema);
        shape
    }

    /// Anything.
    #[must_use]
    pub fn any() -> Self {
        Self::of(&Json::Object(Map::new()), false)
    }

    /// Whether values of it have a type that expressions can use.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.visible
    }

    /// Fewest bytes of a value: how often one can stand in a request follows from it.
    #[must_use]
    pub fn cardinality_max(&self) -> u64 {
        REQUEST_BYTES_MAX / (self.min_bytes + 1)
    }

    pub(crate) fn max_elements(&self) -> u64 {
        self.max_elements
    }

    fn measure(&mut self, schema: &Map<String, Json>) {
        let bound = |name: &str| schema.get(name).and_then(Json::as_i64).map(|n| u64::try_from(n).unwrap_or(0));
        self.max_elements = 0;
        match self.kind {
            // In characters of up to four bytes; without a bound in bytes, less the quotes.
            Kind::IntOrString => self.max_elements = bound("maxLength").map_or(REQUEST_BYTES_MAX - 2, |n| n * 4),
            Kind::String => {
                (self.max_elements, self.min_bytes) = string_size(self.format, bound("maxLength"), schema);
            }
            Kind::Number | Kind::Integer => self.min_bytes = 1,
            Kind::Boolean => self.min_bytes = 4,
            Kind::Unsaid => self.visible = false,
            Kind::Array => match self.items.as_ref().filter(|items| items.visible) {
                Some(items) => {
                    let most = (REQUEST_BYTES_MAX - 2) / (items.min_bytes + 1);
                    self.max_elements = bound("maxItems").unwrap_or(most);
                    self.min_bytes = 2;
                }
                None => self.visible = false,
            },
            Kind::Object => self.measure_object(schema, bound("maxProperties")),
        }
    }

    fn measure_object(&mut self, schema: &Map<String, Json>, bound: Option<u64>) {
        self.min_bytes = 2;
        if let Some(values) = &self.items {
            self.visible = values.visible;
            self.max_elements = bound.unwrap_or((REQUEST_BYTES_MAX - 2) / (values.min_bytes + 6));
            return;
        }
        let required = schema.get("required").and_then(Json::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|n| n == name));
        let has_default = |name: &str| schema.get("properties").and_then(|all| all.get(name)?.get("default")).is_some();
        for (name, field) in self.properties.iter().flatten().filter(|(_, field)| field.visible) {
            if is_required(name) && !has_default(name) {
                self.min_bytes += name.len() as u64 + field.min_bytes + 4;
            }
        }
    }

    /// The type of values, with object types declared under names that begin with `name`.
    pub(crate) fn named(&self, name: &str, objects: &mut HashMap<Arc<str>, Arc<ObjectType>>) -> Type {
        match self.kind {
            Kind::Object => match &self.items {
                Some(values) => Type::map(Type::String, values.named(&format!("{name}.@elem"), objects)),
                None => self.named_object(name, objects),
            },
            Kind::Array => match &self.items {
                Some(items) => Type::list(items.named(&format!("{name}.@idx"), objects)),
                None => Type::Dyn,
            },
            Kind::String => match self.format {
                Format::Text => Type::String,
                Format::Byte => Type::Bytes,
                Format::Duration => Type::Duration,
                Format::Date | Format::DateTime => Type::Timestamp,
            },
            Kind::Number => Type::Double,
            Kind::Integer => Type::Int,
            Kind::Boolean => Type::Bool,
            Kind::IntOrString | Kind::Unsaid => Type::Dyn,
        }
    }

    fn named_object(&self, name: &str, objects: &mut HashMap<Arc<str>, Arc<ObjectType>>) -> Type {
        let mut fields = BTreeMap::new();
        for (field, shape) in self.properties.iter().flatten().filter(|(_, shape)| shape.visible) {
            if let Some(escaped) = escape(field) {
                let of = shape.named(&format!("{name}.{escaped}"), objects);
                fields.insert(escaped.into(), of);
            }
        }
        objects.insert(name.into(), Arc::new(ObjectType { fields }));
        Type::object(name)
    }

    /// What is at a path of escaped names, `@items`, `@values` and `@keys`.
    pub(crate) fn at(&self, path: &[Box<str>]) -> Option<&Self> {
        let Some((step, rest)) = path.split_first() else { return Some(self) };
        let next = match &**step {
            "@items" | "@values" => self.items.as_deref()?,
            "@keys" => return (self.kind == Kind::Object && self.items.is_some() && rest.is_empty()).then_some(&KEY),
            name if self.items.is_none() => {
                let field = crate::escape::unescape(name)?;
                self.properties.as_ref()?.get(&field).filter(|shape| shape.visible)?
            }
            _ => return None,
        };
        next.at(rest)
    }
}

/// Keys of maps: strings of no bound that estimates know.
static KEY: Shape = Shape {
    kind: Kind::String,
    format: Format::Text,
    nullable: false,
    preserve: false,
    list: ListType::Atomic,
    properties: None,
    items: None,
    visible: true,
    max_elements: 0,
    min_bytes: 2,
};

fn kind(schema: &Map<String, Json>) -> Kind {
    if schema.get("x-kubernetes-int-or-string") == Some(&Json::Bool(true)) {
        return Kind::IntOrString;
    }
    match schema.get("type").and_then(Json::as_str) {
        Some("object") => Kind::Object,
        Some("array") => Kind::Array,
        Some("string") => Kind::String,
        Some("number") => Kind::Number,
        Some("integer") => Kind::Integer,
        Some("boolean") => Kind::Boolean,
        _ => Kind::Unsaid,
    }
}

fn format(schema: &Map<String, Json>) -> Format {
    match schema.get("format").and_then(Json::as_str) {
        Some("byte") => Format::Byte,
        Some("duration") => Format::Duration,
        Some("date") => Format::Date,
        Some("date-time") => Format::DateTime,
        _ => Format::Text,
    }
}

fn list_type(schema: &Map<String, Json>) -> ListType {
    match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
        Some("set") => ListType::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array);
            ListType::Map(keys.into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect())
        }
        _ => ListType::Atomic,
    }
}

fn properties(schema: &Map<String, Json>, whole: bool) -> Option<BTreeMap<String, Shape>> {
    let written = schema.get("properties").and_then(Json::as_object);
    if written.is_none() && !whole {
        return None;
    }
    let mut fields: BTreeMap<String, Shape> =
        written.into_iter().flatten().map(|(name, field)| (name.clone(), Shape::of(field, false))).collect();
    if whole && !names_itself(&fields) {
        let text = Shape::of(&serde_json::json!({"type": "string"}), false);
        let metadata = serde_json::json!({"type": "object", "properties":
            {"name": {"type": "string"}, "generateName": {"type": "string"}}});
        fields.insert("kind".to_owned(), text.clone());
        fields.insert("apiVersion".to_owned(), text);
        fields.insert("metadata".to_owned(), Shape::of(&metadata, false));
    }
    Some(fields)
}

/// Whether the schema says itself what every object has.
fn names_itself(fields: &BTreeMap<String, Shape>) -> bool {
    let text = |fields: &BTreeMap<String, Shape>, name: &str| fields.get(name).is_some_and(|f| f.kind == Kind::String);
    let metadata = fields.get("metadata").filter(|metadata| metadata.kind == Kind::Object);
    let names = metadata.and_then(|metadata| metadata.properties.as_ref());
    text(fields, "kind")
        && text(fields, "apiVersion")
        && names.is_some_and(|names| text(names, "name") && text(names, "generateName"))
}

fn items(schema: &Map<String, Json>) -> Option<Box<Shape>> {
    let of = match schema.get("type").and_then(Json::as_str)? {
        "array" => schema.get("items")?,
        "object" => schema.get("additionalProperties")?,
        _ => return None,
    };
    of.is_object().then(|| Box::new(Shape::of(of, false)))
}

/// Most characters and fewest bytes of a string.
fn string_size(format: Format, bound: Option<u64>, schema: &Map<String, Json>) -> (u64, u64) {
    match format {
        Format::Byte => (bound.unwrap_or(REQUEST_BYTES_MAX - 2), 2),
        Format::Duration => (TIME_BYTES_MAX, 3),
        Format::Date => (DATE_BYTES, DATE_BYTES),
        Format::DateTime => (TIME_BYTES_MAX, 21),
        Format::Text => {
            let words = schema.get("enum").and_then(Json::as_array).filter(|words| !words.is_empty());
            let longest = words.map(|words| words.iter().filter_map(Json::as_str).map(str::len).max().unwrap_or(0));
            (bound.map(|n| n * 4).or(longest.map(|n| n as u64)).unwrap_or(REQUEST_BYTES_MAX - 2), 2)
        }
    }
}
