//! What rules say to an object, for tests: `field: Type` for each error.

use super::Row;
use crate::Resource;
use serde_json::Value;

/// What is wrong with a new object, after defaults.
pub(crate) fn errors(row: &Row, object: &Value) -> Vec<String> {
    let resource = Resource::from(row);
    let mut object = object.clone();
    if row.namespaced {
        object["metadata"]["namespace"] = "default".into();
    }
    (row.rules.defaults)(&mut object);
    said(crate::validate_create(&resource, &object))
}

/// What is wrong with a change, after defaults.
pub(crate) fn update_errors(row: &Row, new: &Value, old: &Value) -> Vec<String> {
    part_errors(row, new, old, None)
}

/// What is wrong with a change through a part, after defaults.
pub(crate) fn part_errors(row: &Row, new: &Value, old: &Value, part: Option<&str>) -> Vec<String> {
    let (mut new, mut old) = (new.clone(), old.clone());
    (row.rules.defaults)(&mut new);
    (row.rules.defaults)(&mut old);
    said(crate::validate_update(&Resource::from(row), &new, &old, part))
}

fn said(errors: Vec<crate::FieldError>) -> Vec<String> {
    errors.into_iter().map(|error| format!("{}: {:?}", error.field, error.kind)).collect()
}

/// Puts `value` where `pointer` says, whose holder exists.
pub(crate) fn set(object: &mut Value, pointer: &str, value: Value) {
    let (holder, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    object.pointer_mut(holder).expect("the holder exists")[key] = value;
}
