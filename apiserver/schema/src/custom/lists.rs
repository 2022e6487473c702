//! Lists whose elements must differ: sets, and maps by the fields that tell them apart.

use super::structural::{Additional, Elements, Structural};
use crate::path::Path;
use crate::validate::errors::Errors;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Reports elements that are there twice, in the fields of an object.
pub(super) fn object(value: &Value, schema: &Structural, path: &Path<'_>, errors: &mut Errors) {
    let Some(map) = value.as_object() else { return };
    if let Some(Additional::Of(other)) = &schema.additional {
        map.iter().for_each(|(name, value)| any(value, other, &path.key(name), errors));
    }
    for (name, property) in &schema.properties {
        if let Some(value) = map.get(&**name) {
            any(value, property, &path.field(name), errors);
        }
    }
}

fn any(value: &Value, schema: &Structural, path: &Path<'_>, errors: &mut Errors) {
    match value {
        Value::Array(list) => array(list, schema, path, errors),
        Value::Object(_) => object(value, schema, path, errors),
        _ => {}
    }
}

fn array(list: &[Value], schema: &Structural, path: &Path<'_>, errors: &mut Errors) {
    match &schema.list {
        Elements::Set => twice(list, |value| value.clone(), path, errors),
        Elements::Map(keys) => match list.iter().position(|value| !value.is_null() && !value.is_object()) {
            Some(index) => {
                let detail = "must be an object for an array of list-type map";
                errors.invalid(&path.index(index), list[index].clone(), detail);
            }
            None => twice(list, |value| key_of(value, keys), path, errors),
        },
        Elements::Unsaid | Elements::Atomic => {}
    }
    if let Some(items) = &schema.items {
        for (index, value) in list.iter().enumerate() {
            any(value, items, &path.index(index), errors);
        }
    }
}

/// The fields that tell an element apart.
pub(super) fn key_of(value: &Value, keys: &[Box<str>]) -> Value {
    let given = keys.iter().filter_map(|key| Some((key.to_string(), value.get(&**key)?.clone())));
    Value::Object(given.collect::<Map<_, _>>())
}

/// Reports the second of equal elements; the third and later ones are not told.
fn twice(list: &[Value], key: impl Fn(&Value) -> Value, path: &Path<'_>, errors: &mut Errors) {
    let mut times: HashMap<String, usize> = HashMap::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let key = key(value);
        let seen = times.entry(key.to_string()).or_default();
        *seen += 1;
        if *seen == 2 {
            errors.duplicate(&path.index(index), if key.is_null() { json!(null) } else { key });
        }
    }
}
