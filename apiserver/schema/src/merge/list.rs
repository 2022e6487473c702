//! Lists whose elements merge: by a key, or as a set of scalars.

use super::directive::{self, Patch, strip};
use super::{Known, PatchError};
use crate::node::{Merge, Node, Shape};
use crate::path::Path;
use serde_json::{Map, Value};

/// The elements of a list.
pub(super) fn element(list: Option<&Node>) -> Option<&Node> {
    match &list?.shape {
        Shape::List(element) => Some(element),
        _ => None,
    }
}

/// Orders the list `name` as the directive says when the patch has no elements for it.
pub(super) fn reorder(
    known: Known<'_>,
    original: &mut Map<String, Value>,
    name: &str,
    order: &Value,
    path: &Path<'_>,
) -> Result<(), PatchError> {
    let path = path.field(name);
    let keys = merging(known, name, &path)?;
    let Some(Value::Array(list)) = original.get_mut(name) else { return Ok(()) };
    let before = list.clone();
    *list = sort(keys, std::mem::take(list), &before, &order_of(keys, order, &path)?);
    Ok(())
}

/// Takes the elements of `$deleteFromPrimitiveList` out of the list `name`.
pub(super) fn delete(
    known: Known<'_>,
    original: &mut Map<String, Value>,
    name: &str,
    delete: &Value,
    path: &Path<'_>,
) -> Result<(), PatchError> {
    let path = path.field(name);
    merging(known, name, &path)?;
    let Some(delete) = delete.as_array() else {
        return Err(PatchError::new(&path, "$deleteFromPrimitiveList must be a list"));
    };
    if let Some(Value::Array(list)) = original.get_mut(name) {
        list.retain(|value| !delete.contains(value));
    }
    Ok(())
}

fn merging<'a>(known: Known<'a>, name: &str, path: &Path<'_>) -> Result<&'a Merge, PatchError> {
    let keys = super::merge_of(known.field(name));
    let refused = || PatchError::new(path, "directives are for lists that merge, and this does not");
    keys.filter(|keys| keys.strategic).ok_or_else(refused)
}

/// Merges the elements of `change` into `original`. What the patch names comes in the patch's order, and before what only the
/// server has unless that stood before it already: so new elements come first.
pub(super) fn merge(
    element: Known<'_>,
    keys: &Merge,
    original: Vec<Value>,
    change: &[Value],
    order: Option<&Value>,
    path: &Path<'_>,
) -> Result<Vec<Value>, PatchError> {
    let before = original.clone();
    let order = order.map(|order| order_of(keys, order, path)).transpose()?;
    if let Some(order) = &order {
        same_order(keys, change, order, path)?;
    }
    let merged = match keys.merge_key.as_deref() {
        Some(key) => match by_key(element, keys, key, original, change, path)? {
            Merged::Replaced(list) => list,
            Merged::Into(list) => sort(keys, list, &before, &ids(keys, change)),
        },
        None => sort(keys, union(original, change), &before, &ids(keys, change)),
    };
    Ok(match &order {
        Some(order) => sort(keys, merged, &before, order),
        None => merged,
    })
}

fn union(mut original: Vec<Value>, change: &[Value]) -> Vec<Value> {
    for value in change {
        if !original.contains(value) {
            original.push(value.clone());
        }
    }
    original
}

/// What elements make of a list.
enum Merged {
    /// They went into it.
    Into(Vec<Value>),
    /// One of them is `{"$patch": "replace"}`: the others are the list.
    Replaced(Vec<Value>),
}

fn by_key(
    element: Known<'_>,
    keys: &Merge,
    key: &str,
    mut original: Vec<Value>,
    change: &[Value],
    path: &Path<'_>,
) -> Result<Merged, PatchError> {
    let mut replaced = false;
    for (index, value) in change.iter().enumerate() {
        let path = path.index(index);
        let Value::Object(patch) = value else {
            return Err(PatchError::new(&path, format!("expected an object with the merge key {key}, got {value}")));
        };
        let action = directive::element(patch, &path)?;
        if action == Patch::Replace {
            replaced = true;
            continue;
        }
        let Some(id) = patch.get(key).filter(|id| !id.is_null()) else {
            return Err(PatchError::new(&path, format!("does not contain the merge key {key}")));
        };
        let position = original.iter().position(|candidate| candidate.get(key) == Some(id));
        match (action, position) {
            (Patch::Delete, _) => original.retain(|candidate| candidate.get(key) != Some(id)),
            (_, None) => original.push(strip(value)),
            (_, Some(position)) => {
                let Value::Object(old) = original[position].take() else { continue };
                let merged = super::object(element, Some(keys), old, patch, &path)?;
                original[position] = Value::Object(merged);
            }
        }
    }
    Ok(if replaced { Merged::Replaced(replacement(change)) } else { Merged::Into(original) })
}

/// The elements that are no directive, as a list of their own.
fn replacement(change: &[Value]) -> Vec<Value> {
    change.iter().filter(|element| element.get("$patch").is_none()).map(strip).collect()
}

/// What identifies an element: its merge key, or itself.
fn identity<'a>(keys: &Merge, element: &'a Value) -> &'a Value {
    match keys.merge_key.as_deref() {
        Some(key) => &element[key],
        None => element,
    }
}

fn ids<'a>(keys: &Merge, elements: &'a [Value]) -> Vec<&'a Value> {
    elements.iter().map(|element| identity(keys, element)).collect()
}

fn order_of<'a>(keys: &Merge, order: &'a Value, path: &Path<'_>) -> Result<Vec<&'a Value>, PatchError> {
    let order = order.as_array().ok_or_else(|| PatchError::new(path, "$setElementOrder must be a list"))?;
    Ok(ids(keys, order))
}

/// The elements that a patch sets must stand in `$setElementOrder`, in the same order.
fn same_order(keys: &Merge, change: &[Value], order: &[&Value], path: &Path<'_>) -> Result<(), PatchError> {
    if order.is_empty() {
        return Ok(());
    }
    let mut left = order.iter();
    let directed = |element: &&Value| element.get("$patch").is_some();
    for element in change.iter().filter(|element| !directed(element)) {
        let id = identity(keys, element);
        if !left.any(|place| *place == id) {
            return Err(PatchError::new(path, format!("the order in the patch doesn't match $setElementOrder: {id}")));
        }
    }
    Ok(())
}

/// Puts the elements that `order` names in that order. The others keep theirs, and come before the first that they stood before
/// in `before`.
fn sort(keys: &Merge, merged: Vec<Value>, before: &[Value], order: &[&Value]) -> Vec<Value> {
    let place = |element: &Value| order.iter().position(|id| *id == identity(keys, element));
    let former = |element: &Value| before.iter().position(|old| identity(keys, old) == identity(keys, element));
    let (mut ordered, others): (Vec<_>, Vec<_>) = merged.into_iter().partition(|element| place(element).is_some());
    ordered.sort_by_key(|element| place(element));
    let mut sorted = Vec::with_capacity(ordered.len() + others.len());
    let (mut ordered, mut others) = (ordered.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(one), Some(other)) = (ordered.peek(), others.peek()) {
        let other_first = matches!((former(other), former(one)), (Some(other), Some(one)) if other < one);
        sorted.extend(if other_first { others.next() } else { ordered.next() });
    }
    sorted.extend(ordered.chain(others));
    sorted
}
