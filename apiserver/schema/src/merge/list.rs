//! Lists whose elements merge: by a key, or as a set of scalars.

use serde_json::{Map, Value};

use super::directive::{self, ListDirectives, Patch, strip};
use super::{Known, PatchError};
use crate::keys::ListKeys;
use crate::path::Path;
use crate::types::Shape;

/// The shape of a list's elements.
pub(super) fn element_shape(list: Option<&Shape>) -> Option<&Shape> {
    match list {
        Some(Shape::List(element)) => Some(element),
        _ => None,
    }
}

/// Directives for the list `name`: deletions, and the order when the patch has no elements for it.
pub(super) fn directives(
    known: Known<'_>,
    original: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    name: &str,
    directives: &ListDirectives<'_>,
    path: &Path<'_>,
) -> Result<(), PatchError> {
    let path = path.field(name);
    let (_, keys) = known.field(name);
    let Some(keys) = keys.filter(|keys| keys.merge) else {
        return Err(PatchError::new(&path, "directives are for lists that merge, and this does not"));
    };
    let Some(Value::Array(list)) = original.get_mut(name) else { return Ok(()) };
    if let Some(delete) = directives.delete {
        let delete =
            delete.as_array().ok_or_else(|| PatchError::new(&path, "$deleteFromPrimitiveList must be a list"))?;
        list.retain(|value| !delete.contains(value));
    }
    if let (Some(order), None) = (directives.order, patch.get(name)) {
        let before = list.clone();
        *list = sort(keys, std::mem::take(list), &before, order, &path)?;
    }
    Ok(())
}

/// Merges the elements of `change` into `original`.
pub(super) fn merge(
    element: Option<&Shape>,
    keys: &ListKeys,
    original: Vec<Value>,
    change: &[Value],
    order: Option<&Value>,
    path: &Path<'_>,
) -> Result<Vec<Value>, PatchError> {
    let before = original.clone();
    let merged = match keys.merge_key {
        Some(key) => by_key(element, keys, key, original, change, path)?,
        None => union(original, change),
    };
    match order {
        Some(order) => {
            contained(keys, change, order, path)?;
            sort(keys, merged, &before, order, path)
        }
        None => Ok(merged),
    }
}

fn union(mut original: Vec<Value>, change: &[Value]) -> Vec<Value> {
    for value in change {
        if !original.contains(value) {
            original.push(value.clone());
        }
    }
    original
}

fn by_key(
    element: Option<&Shape>,
    keys: &ListKeys,
    key: &str,
    mut original: Vec<Value>,
    change: &[Value],
    path: &Path<'_>,
) -> Result<Vec<Value>, PatchError> {
    let mut replaced = false;
    for (index, value) in change.iter().enumerate() {
        let path = path.index(index);
        let Value::Object(patch) = value else {
            return Err(PatchError::new(&path, format!("expected an object with the merge key {key}, got {value}")));
        };
        let action = directive::patch(patch, &path)?;
        let Some(id) = patch.get(key).filter(|id| !id.is_null()) else {
            if action == Patch::Replace {
                replaced = true;
                continue;
            }
            return Err(PatchError::new(&path, format!("does not contain the merge key {key}")));
        };
        let position = original.iter().position(|candidate| candidate.get(key) == Some(id));
        match (action, position) {
            (Patch::Delete, _) => original.retain(|candidate| candidate.get(key) != Some(id)),
            (_, None) => original.push(strip(value)),
            (_, Some(position)) => {
                let Value::Object(old) = original[position].take() else { continue };
                let merged = super::object(Known::of(element), Some(keys), old, patch, &path)?;
                original[position] = Value::Object(merged);
            }
        }
    }
    // `{"$patch": "replace"}` anywhere in the list: the rest of the patch is the new list.
    Ok(if replaced { replacement(change) } else { original })
}

fn replacement(change: &[Value]) -> Vec<Value> {
    match strip(&Value::Array(change.to_vec())) {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

/// What identifies an element: its merge key, or itself.
fn identity<'a>(keys: &ListKeys, element: &'a Value) -> &'a Value {
    match keys.merge_key {
        Some(key) => &element[key],
        None => element,
    }
}

fn order_of<'a>(keys: &ListKeys, order: &'a Value, path: &Path<'_>) -> Result<Vec<&'a Value>, PatchError> {
    let order = order.as_array().ok_or_else(|| PatchError::new(path, "$setElementOrder must be a list"))?;
    Ok(order.iter().map(|element| identity(keys, element)).collect())
}

/// Every element that a patch sets must have its place in the order it gives.
fn contained(keys: &ListKeys, change: &[Value], order: &Value, path: &Path<'_>) -> Result<(), PatchError> {
    let order = order_of(keys, order, path)?;
    let deleted = |element: &&Value| element.get("$patch").is_none();
    for element in change.iter().filter(deleted) {
        let id = identity(keys, element);
        if !order.contains(&id) {
            return Err(PatchError::new(path, format!("the element {id} is not in $setElementOrder")));
        }
    }
    Ok(())
}

/// Puts the elements that `order` names in that order. The others keep their order, and their places before or after those
/// they stood before or after in `before`.
fn sort(
    keys: &ListKeys,
    merged: Vec<Value>,
    before: &[Value],
    order: &Value,
    path: &Path<'_>,
) -> Result<Vec<Value>, PatchError> {
    let order = order_of(keys, order, path)?;
    let place = |element: &Value| order.iter().position(|id| *id == identity(keys, element));
    let former = |element: &Value| before.iter().position(|old| identity(keys, old) == identity(keys, element));
    let (mut ordered, others): (Vec<_>, Vec<_>) = merged.into_iter().partition(|element| place(element).is_some());
    ordered.sort_by_key(|element| place(element));
    let mut sorted = Vec::with_capacity(ordered.len() + others.len());
    let (mut ordered, mut others) = (ordered.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(one), Some(other)) = (ordered.peek(), others.peek()) {
        let first = match (former(one), former(other)) {
            (Some(one), Some(other)) => one < other,
            _ => false,
        };
        sorted.extend(if first { ordered.next() } else { others.next() });
    }
    sorted.extend(ordered.chain(others));
    Ok(sorted)
}
