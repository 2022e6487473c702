//! A schema of a custom resource, read: one tree of what is known about each value.

use super::formats::Form;
use super::pattern::Pattern;
use crate::view::{list, text};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a schema says about a value.
#[derive(Debug, Default)]
pub(crate) struct Structural {
    /// JSON types it may have; none: any. Two, integer and string, if it is an int-or-string.
    pub(super) types: Types,
    /// Whether null is a value of its own.
    pub(super) nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`: fields that are not listed stay.
    pub(super) keeps_unknown: bool,
    /// `x-kubernetes-embedded-resource`: an object with `apiVersion`, `kind` and `metadata` of its own.
    pub(super) embedded: bool,
    /// The value of an absent field.
    pub(super) default: Option<Box<Value>>,
    /// How the elements of a list are told apart.
    pub(super) list: Elements,
    /// `x-kubernetes-map-type: atomic`.
    pub(super) atomic_map: bool,
    /// Listed fields.
    pub(super) properties: BTreeMap<Box<str>, Structural>,
    /// Fields that are not listed.
    pub(super) additional: Option<Additional>,
    /// Elements of a list.
    pub(super) items: Option<Box<Structural>>,
    /// Limits beyond the type.
    pub(super) limits: Option<Box<Limits>>,
}

/// JSON types of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Types {
    /// Nothing is said.
    #[default]
    Any,
    /// One.
    One(Type),
    /// `x-kubernetes-int-or-string`.
    IntOrString,
}

/// A JSON type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl Type {
    /// The type of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => return None,
        })
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

impl Types {
    /// Whether values of a type are allowed by name; not if nothing is said.
    pub(super) fn has(self, one: Type) -> bool {
        match self {
            Self::Any => false,
            Self::One(this) => this == one,
            Self::IntOrString => matches!(one, Type::Integer | Type::String),
        }
    }

    /// As messages name them.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::One(this) => this.name(),
            Self::IntOrString => "integer,string",
        }
    }
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Elements {
    /// Nothing is said: a list is one value.
    #[default]
    Unsaid,
    /// A list is one value.
    Atomic,
    /// No element twice.
    Set,
    /// No two elements with the same values of these fields.
    Map(Vec<Box<str>>),
}

/// `additionalProperties`.
#[derive(Debug)]
pub(super) enum Additional {
    /// `true`: whatever they are.
    Any,
    /// `false`: there are none.
    None,
    /// Each is such a value.
    Of(Box<Structural>),
}

/// Limits that a schema sets on a value, beyond its type.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// The form of a text or number, if it is one that is known.
    pub(super) format: Option<Form>,
    pub(super) maximum: Option<Bound>,
    pub(super) minimum: Option<Bound>,
    pub(super) multiple_of: Option<f64>,
    pub(super) max_length: Option<i64>,
    pub(super) min_length: Option<i64>,
    pub(super) max_items: Option<i64>,
    pub(super) min_items: Option<i64>,
    pub(super) max_properties: Option<i64>,
    pub(super) min_properties: Option<i64>,
    pub(super) pattern: Option<Pattern>,
    pub(super) values: Vec<Value>,
    pub(super) required: Vec<Box<str>>,
    pub(super) all_of: Vec<Structural>,
    pub(super) any_of: Vec<Structural>,
    pub(super) one_of: Vec<Structural>,
    pub(super) not: Option<Box<Structural>>,
}

/// A largest or smallest number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) number: f64,
    /// Whether the number itself is out.
    pub(super) exclusive: bool,
}

impl Structural {
    /// Reads an `openAPIV3Schema`.
    ///
    /// # Errors
    /// It has something that no structural schema may have.
    pub(crate) fn read(schema: &Value) -> Result<Self, String> {
        refuse_unsupported(schema)?;
        if schema["x-kubernetes-preserve-unknown-fields"] == false {
            return Err("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned());
        }
        let types = match (schema["x-kubernetes-int-or-string"] == true, Type::named(text(schema, "type"))) {
            (true, _) => Types::IntOrString,
            (false, Some(one)) => Types::One(one),
            (false, None) => Types::Any,
        };
        let items = match &schema["items"] {
            Value::Array(_) => return Err("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned()),
            Value::Null => None,
            items => Some(Box::new(Self::read(items)?)),
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        let properties = properties.map(|(name, schema)| Ok((name.as_str().into(), Self::read(schema)?)));
        Ok(Self {
            types,
            nullable: schema["nullable"] == true,
            keeps_unknown: schema["x-kubernetes-preserve-unknown-fields"] == true,
            embedded: schema["x-kubernetes-embedded-resource"] == true,
            default: Some(&schema["default"]).filter(|value| !value.is_null()).cloned().map(Box::new),
            list: elements(schema),
            atomic_map: text(schema, "x-kubernetes-map-type") == "atomic",
            properties: properties.collect::<Result<_, String>>()?,
            additional: match &schema["additionalProperties"] {
                Value::Null => None,
                Value::Bool(true) => Some(Additional::Any),
                Value::Bool(false) => Some(Additional::None),
                schema => Some(Additional::Of(Box::new(Self::read(schema)?))),
            },
            items,
            limits: Limits::read(schema, types)?.map(Box::new),
        })
    }

    /// What is said about the field of that name: by its own schema, or by that of all others.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Of(schema)) => Some(schema),
            _ => None,
        })
    }

    /// The listed field of that name.
    pub(crate) fn property(&self, name: &str) -> Option<&Self> {
        self.properties.get(name)
    }
}

fn elements(schema: &Value) -> Elements {
    match text(schema, "x-kubernetes-list-type") {
        "atomic" => Elements::Atomic,
        "set" => Elements::Set,
        "map" => {
            let keys = list(schema, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str);
            Elements::Map(keys.map(Into::into).collect())
        }
        _ => Elements::Unsaid,
    }
}

/// JSON schema has these, structural schemas do not.
fn refuse_unsupported(schema: &Value) -> Result<(), String> {
    let given = |key: &&str| match &schema[*key] {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) if matches!(*key, "patternProperties" | "dependencies" | "definitions") => !map.is_empty(),
        _ => true,
    };
    let unsupported = [
        ["id", "id"],
        ["$schema", "schema"],
        ["$ref", "$ref"],
        ["patternProperties", "patternProperties"],
        ["dependencies", "dependencies"],
        ["additionalItems", "additionalItems"],
        ["definitions", "definitions"],
    ];
    match unsupported.iter().find(|[key, _]| given(key)) {
        Some([_, name]) => Err(format!("OpenAPIV3Schema '{name}' is not supported")),
        None => Ok(()),
    }
}

impl Limits {
    /// The limits of a schema; `None` when it sets none.
    fn read(schema: &Value, types: Types) -> Result<Option<Self>, String> {
        let number = |key: &str| schema[key].as_i64();
        let bound = |key: &str, exclusive: &str| {
            schema[key].as_f64().map(|number| Bound { number, exclusive: schema[exclusive] == true })
        };
        let each = |key: &str| list(schema, key).iter().map(Structural::read).collect::<Result<Vec<_>, _>>();
        let limits = Self {
            format: Form::of(text(schema, "format"), types),
            maximum: bound("maximum", "exclusiveMaximum"),
            minimum: bound("minimum", "exclusiveMinimum"),
            multiple_of: schema["multipleOf"].as_f64(),
            max_length: number("maxLength"),
            min_length: number("minLength"),
            max_items: number("maxItems"),
            min_items: number("minItems"),
            max_properties: number("maxProperties"),
            min_properties: number("minProperties"),
            pattern: Some(text(schema, "pattern")).filter(|text| !text.is_empty()).map(Pattern::new),
            values: list(schema, "enum").to_vec(),
            required: list(schema, "required").iter().filter_map(Value::as_str).map(Into::into).collect(),
            all_of: each("allOf")?,
            any_of: each("anyOf")?,
            one_of: each("oneOf")?,
            not: match &schema["not"] {
                Value::Null => None,
                not => Some(Box::new(Structural::read(not)?)),
            },
        };
        const LIMITS: [&str; 18] = [
            "format",
            "maximum",
            "minimum",
            "multipleOf",
            "maxLength",
            "minLength",
            "maxItems",
            "minItems",
            "maxProperties",
            "minProperties",
            "pattern",
            "enum",
            "required",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "uniqueItems",
        ];
        let sets = |schema: &Map<String, Value>| LIMITS.iter().any(|key| schema.contains_key(*key));
        Ok(schema.as_object().is_some_and(sets).then_some(limits))
    }
}
