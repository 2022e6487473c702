//! The directives of a patch: keys that start with `$`.

use super::PatchError;
use crate::node::Merge;
use crate::path::Path;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// What `$patch` says to do with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patch {
    Merge,
    Replace,
    Delete,
}

/// The `$patch` of an object; `merge` when there is none.
pub(super) fn patch(object: &Map<String, Value>, path: &Path<'_>) -> Result<Patch, PatchError> {
    match object.get(PATCH).map(Value::as_str) {
        None | Some(Some("merge")) => Ok(Patch::Merge),
        Some(Some("replace")) => Ok(Patch::Replace),
        Some(Some("delete")) => Ok(Patch::Delete),
        Some(other) => {
            let found = other.unwrap_or("(not a string)");
            Err(PatchError::new(path, format!("unknown $patch {found:?}: one of delete, merge, replace")))
        }
    }
}

/// The `$patch` of an element of a list. There is no word for merging there: elements without one merge.
pub(super) fn element(object: &Map<String, Value>, path: &Path<'_>) -> Result<Patch, PatchError> {
    if object.get(PATCH).and_then(Value::as_str) == Some("merge") {
        return Err(PatchError::new(path, "merging lists cannot yet be specified in the patch"));
    }
    patch(object, path)
}

/// Applies `$retainKeys`: keys of the original that it does not name go. The patch may set only keys that it names.
pub(super) fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    keys: Option<&Merge>,
    path: &Path<'_>,
) -> Result<(), PatchError> {
    let Some(retained) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    if !keys.is_some_and(|keys| keys.retain_keys) {
        return Err(PatchError::new(path, "$retainKeys is not supported here"));
    }
    let names: Option<BTreeSet<&str>> = retained.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
    let Some(names) = names else {
        return Err(PatchError::new(path, "$retainKeys must be a list of strings"));
    };
    let stray =
        patch.iter().find(|(key, value)| !key.starts_with('$') && !value.is_null() && !names.contains(key.as_str()));
    if let Some((key, _)) = stray {
        return Err(PatchError::new(&path.field(key), "is set but not in $retainKeys"));
    }
    original.retain(|key, _| names.contains(key.as_str()));
    Ok(())
}

/// Orders of lists that the patch has no elements for (those with elements are ordered when they merge), by field.
pub(super) fn orders(patch: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    let orders = patch.iter().filter_map(|(key, order)| Some((key.strip_prefix(SET_ORDER)?, order)));
    orders.filter(|(name, _)| !patch.contains_key(*name))
}

/// What is to be deleted from lists of scalars, by field.
pub(super) fn deletions(patch: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    patch.iter().filter_map(|(key, delete)| Some((key.strip_prefix(DELETE_FROM)?, delete)))
}

/// `$setElementOrder/<name>`.
pub(super) fn order<'a>(patch: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    patch.get(&format!("{SET_ORDER}{name}"))
}

/// The value without directives: what it is when there is nothing to merge with. Null fields go, too: there is nothing to delete.
pub(super) fn strip(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, value)| !key.starts_with('$') && !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), strip(value))).collect())
        }
        Value::Array(list) => {
            let deleted = |value: &Value| value.get(PATCH).is_some_and(|patch| patch == "delete");
            // An element that is nothing but a directive is no element.
            let bare = |value: &Value| {
                value.as_object().is_some_and(|map| !map.is_empty() && map.keys().all(|key| key.starts_with('$')))
            };
            Value::Array(list.iter().filter(|value| !deleted(value) && !bare(value)).map(strip).collect())
        }
        other => other.clone(),
    }
}
