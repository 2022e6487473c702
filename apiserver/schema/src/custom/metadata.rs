//! Objects in objects (`x-kubernetes-embedded-resource`), and the metadata that every object has.

use super::prune::META;
use super::structural::{Additional, Structural};
use crate::decode::walk::{self, Wrong};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::meta;
use crate::validate::names::Format;
use serde_json::{Map, Value};

/// What becomes of metadata that is not of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// It is refused: a request has it.
    Refused,
    /// It goes: the store has it.
    Dropped,
}

/// Puts the metadata of an object and of all objects in it into its form; fields that nobody knows go, and their paths are
/// added to `unknown`.
pub(super) fn coerce(
    object: &mut Value,
    schema: &Structural,
    bad: Bad,
    unknown: &mut Vec<String>,
) -> Result<(), Wrong> {
    if let Some(metadata) = object.get_mut("metadata") {
        object_meta(metadata, &Path::Root.field("metadata"), bad, unknown)?;
    }
    let Some(map) = object.as_object_mut() else { return Ok(()) };
    let below = map.iter_mut().filter(|(name, _)| !META.contains(&name.as_str()));
    for (name, value) in below {
        if let Some(field) = schema.field(name) {
            embedded(value, field, &Path::Root.field(name), bad, unknown)?;
        }
    }
    Ok(())
}

fn embedded(
    value: &mut Value,
    schema: &Structural,
    path: &Path<'_>,
    bad: Bad,
    unknown: &mut Vec<String>,
) -> Result<(), Wrong> {
    match value {
        Value::Object(map) => {
            if schema.embedded {
                object_in_object(map, path, bad, unknown)?;
            }
            for (name, value) in map.iter_mut() {
                let listed = schema.properties.contains_key(name.as_str());
                let path = if listed { path.field(name) } else { path.key(name) };
                if let Some(field) = schema.field(name) {
                    embedded(value, field, &path, bad, unknown)?;
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return Ok(()) };
            for (index, value) in list.iter_mut().enumerate() {
                embedded(value, items, &path.index(index), bad, unknown)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn object_in_object(
    map: &mut Map<String, Value>,
    path: &Path<'_>,
    bad: Bad,
    unknown: &mut Vec<String>,
) -> Result<(), Wrong> {
    for name in ["apiVersion", "kind"] {
        match map.get(name) {
            Some(value) if !value.is_string() && bad == Bad::Refused => {
                return Err(Wrong::new(&path.field(name), "a string", value));
            }
            Some(value) if !value.is_string() => {
                map.remove(name);
            }
            _ => {}
        }
    }
    match map.get_mut("metadata") {
        Some(metadata) => object_meta(metadata, &path.field("metadata"), bad, unknown),
        None => Ok(()),
    }
}

/// As [`coerce`], of an object that is refused for what nobody knows how to read, and whose type is checked too.
pub(super) fn coerce_whole(object: &mut Value, schema: &Structural) -> Result<(), Wrong> {
    embedded(object, schema, &Path::Root, Bad::Refused, &mut Vec::new())
}

/// Puts metadata into its form.
fn object_meta(value: &mut Value, path: &Path<'_>, bad: Bad, unknown: &mut Vec<String>) -> Result<(), Wrong> {
    let given = std::mem::take(value);
    let (form, more) = match (walk::metadata(given.clone(), path), given) {
        (Err(_), Value::Object(map)) if bad == Bad::Dropped => fields_that_fit(map, path),
        (Err(_), _) if bad == Bad::Dropped => Default::default(),
        (read, _) => read?,
    };
    *value = form;
    unknown.extend(more);
    Ok(())
}

/// The fields that are of their type.
fn fields_that_fit(map: Map<String, Value>, path: &Path<'_>) -> (Value, Vec<String>) {
    let (mut fitting, mut unknown) = (Map::new(), Vec::new());
    for (name, value) in map {
        let one = Value::Object(Map::from_iter([(name, value)]));
        if let Ok((Value::Object(form), more)) = walk::metadata(one, path) {
            fitting.extend(form);
            unknown.extend(more);
        }
    }
    (Value::Object(fitting), unknown)
}

/// Reports what is wrong with objects in an object.
pub(super) fn validate(object: &Value, schema: &Structural, path: &Path<'_>, errors: &mut Errors) {
    match object {
        Value::Object(map) => {
            if schema.embedded {
                whole(map, path, errors);
            }
            for (name, value) in map {
                match (schema.properties.get(name.as_str()), &schema.additional) {
                    (Some(property), _) => validate(value, property, &path.field(name), errors),
                    (None, Some(Additional::Of(other))) => validate(value, other, &path.key(name), errors),
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for (index, value) in list.iter().enumerate() {
                validate(value, items, &path.index(index), errors);
            }
        }
        _ => {}
    }
}

/// Type and metadata of an object in an object.
fn whole(map: &Map<String, Value>, path: &Path<'_>, errors: &mut Errors) {
    for name in ["apiVersion", "kind"] {
        let path = path.field(name);
        match map.get(name) {
            None => errors.required(&path, ""),
            Some(Value::String(text)) if text.is_empty() => errors.invalid(&path, "", "must not be empty"),
            Some(Value::String(text)) if name == "apiVersion" => {
                if text.matches('/').count() > 1 {
                    errors.invalid(&path, text.as_str(), format!("unexpected GroupVersion string: {text}"));
                }
            }
            Some(Value::String(text)) => {
                if let Some(rule) = Format::Label1035.check(&text.to_lowercase()) {
                    let detail = format!("may have mixed case, but should otherwise match: {rule}");
                    errors.invalid(&path, text.as_str(), detail);
                }
            }
            Some(other) => errors.invalid(&path, other.clone(), "must be a string"),
        }
    }
    if let Some(metadata) = map.get("metadata").filter(|metadata| metadata.is_object()) {
        meta::of_embedded(metadata, &path.field("metadata"), errors);
    }
}
