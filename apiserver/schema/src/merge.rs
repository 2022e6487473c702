//! Strategic merge patch: `application/strategic-merge-patch+json`, with the merge keys of Kubernetes' struct tags.
//!
//! A patch looks like the object. Objects merge key by key, `null` deletes; lists are replaced, unless the schema names a merge key,
//! by which their elements then merge. Directives (`$patch`, `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`)
//! say what this cannot express. Source: Kubernetes' strategic-merge-patch.md and its `strategicpatch` package.

mod directive;
mod list;

use self::directive::{Patch, strip};
use crate::node::{Merge, Node, Schema, Shape, Struct};
use crate::path::Path;
use crate::{Resource, builtin};
use serde_json::{Map, Value};

/// Why a patch cannot be applied; the answer is 400 BadRequest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PatchError {
    /// Path of the field in the patch.
    pub field: String,
    /// What is wrong there.
    pub problem: String,
}

impl PatchError {
    fn new(path: &Path<'_>, problem: impl Into<String>) -> Self {
        let field = path.to_string();
        Self { field: if field.is_empty() { "the patch".to_owned() } else { field }, problem: problem.into() }
    }
}

/// `original` with `patch` applied. The result is not validated: decode it, apply defaults, validate.
///
/// # Errors
/// [`PatchError`] names the field of the patch that does not fit.
pub fn strategic_merge(resource: &Resource, original: Value, patch: &Value) -> Result<Value, PatchError> {
    let root = Path::Root;
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(PatchError::new(&root, "a strategic merge patch must be an object"));
    };
    let schema = builtin::of(resource);
    object(Known::Struct(&schema, schema.root()), None, original, patch, &root).map(Value::Object)
}

/// What the schema says about an object.
#[derive(Clone, Copy)]
enum Known<'a> {
    /// Its fields.
    Struct(&'a Schema, &'a Struct),
    /// It has free keys; the values look like this.
    Map(&'a Schema, &'a Node),
    /// Nothing.
    Nothing,
}

impl<'a> Known<'a> {
    /// What is said about the values of a node.
    fn of(self, node: Option<&'a Node>) -> Self {
        let (Known::Struct(schema, _) | Known::Map(schema, _)) = self else { return Known::Nothing };
        match node.map(|node| &node.shape) {
            Some(Shape::Struct(id) | Shape::Either(id, _)) => Known::Struct(schema, schema.get(*id)),
            Some(Shape::Map(values)) => Known::Map(schema, values),
            _ => Known::Nothing,
        }
    }

    fn field(self, name: &str) -> Option<&'a Node> {
        match self {
            Known::Struct(_, it) => it.field(name).map(|field| &field.node),
            Known::Map(_, values) => Some(values),
            Known::Nothing => None,
        }
    }
}

/// How the values of a node merge.
fn merge_of(node: Option<&Node>) -> Option<&Merge> {
    node?.merge.as_deref()
}

/// Merges `patch` into `original`. `keys` are those of the field that holds the object.
fn object(
    known: Known<'_>,
    keys: Option<&Merge>,
    mut original: Map<String, Value>,
    patch: &Map<String, Value>,
    path: &Path<'_>,
) -> Result<Map<String, Value>, PatchError> {
    match directive::patch(patch, path)? {
        Patch::Replace => return Ok(plain(patch)),
        Patch::Delete => return Ok(Map::new()),
        Patch::Merge => {}
    }
    directive::retain_keys(&mut original, patch, keys, path)?;
    for (name, order) in directive::orders(patch) {
        list::reorder(known, &mut original, name, order, path)?;
    }
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        field(known, &mut original, name, value, patch, path)?;
    }
    for (name, delete) in directive::deletions(patch) {
        list::delete(known, &mut original, name, delete, path)?;
    }
    Ok(original)
}

/// Merges one field of a patch.
fn field(
    known: Known<'_>,
    original: &mut Map<String, Value>,
    name: &str,
    value: &Value,
    patch: &Map<String, Value>,
    path: &Path<'_>,
) -> Result<(), PatchError> {
    if value.is_null() {
        original.remove(name);
        return Ok(());
    }
    let node = known.field(name);
    let keys = merge_of(node);
    let path = path.field(name);
    let merged = match (original.remove(name), value) {
        (Some(Value::Object(before)), Value::Object(change)) => {
            Value::Object(object(known.of(node), keys, before, change, &path)?)
        }
        (Some(Value::Array(before)), Value::Array(change)) => match keys {
            Some(keys) if keys.strategic => {
                let element = known.of(list::element(node));
                let order = directive::order(patch, name);
                Value::Array(list::merge(element, keys, before, change, order, &path)?)
            }
            _ => value.clone(),
        },
        // Nothing to merge with, or of another type: the patch as it is, without its directives.
        _ => strip(value),
    };
    original.insert(name.to_owned(), merged);
    Ok(())
}

/// A patch as an object of its own.
fn plain(patch: &Map<String, Value>) -> Map<String, Value> {
    match strip(&Value::Object(patch.clone())) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
