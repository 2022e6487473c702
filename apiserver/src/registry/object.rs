//! One object: as bytes in the store, as JSON on the wire, as a value in between.
//!
//! In the store an object has no resourceVersion (that is the key's revision) and begins with `apiVersion`, `kind` and
//! `metadata` in this order. So serving it costs one copy, with the resourceVersion spliced in behind `"metadata":{`, and
//! no parsing.

use super::forms::Forms;
use crate::status::Status;
use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use skiff_schema::Resource;
use skiff_store::backend::{Entry, Revision};
use std::sync::Arc;

/// An object at a revision.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) resource: Arc<Resource>,
    pub(crate) stored: Bytes,
    pub(crate) revision: Revision,
    /// Whether the store has it in another form than it would be written in today.
    pub(crate) is_stale: bool,
    /// What lists have made of it; `None`: it is not from a state that is kept.
    pub(crate) forms: Option<Arc<Forms>>,
}

impl Object {
    pub(crate) fn of(resource: &Arc<Resource>, entry: Entry) -> Self {
        Self::stored(resource, entry.value, entry.mod_revision)
    }

    /// What the store has under a key.
    pub(crate) fn stored(resource: &Arc<Resource>, value: Bytes, revision: Revision) -> Self {
        let (stored, is_stale) = match resource.is_converted() {
            true => converted(resource, &value),
            false => (value, false),
        };
        Self { resource: Arc::clone(resource), stored, revision, is_stale, forms: None }
    }

    /// Makes the object that `value` would be at `revision`.
    pub(crate) fn encode(resource: &Arc<Resource>, value: &Value, revision: Revision) -> Result<Self, Status> {
        let mut stored = Vec::with_capacity(about_bytes(value));
        serde_json::to_writer(&mut stored, &InOrder(value)).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Self { resource: Arc::clone(resource), stored: stored.into(), revision, is_stale: false, forms: None })
    }

    /// The bytes under which the object, which is `value`, is kept.
    pub(super) fn to_store(&self, value: &Value) -> Result<Bytes, Status> {
        if !self.resource.is_converted() {
            return Ok(self.stored.clone());
        }
        let mut value = value.clone();
        self.resource.to_storage(&mut value);
        Ok(Self::encode(&self.resource, &value, 0)?.stored)
    }

    /// Appends the object's JSON.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) -> Result<(), Status> {
        let head = Head::of(&self.resource, true);
        if self.begins_with(&head) {
            self.splice(&head, out);
        } else {
            out.extend_from_slice(&self.item(&head)?);
        }
        Ok(())
    }

    /// Whether [`Self::splice`] will do.
    pub(crate) fn begins_with(&self, head: &Head) -> bool {
        self.stored.starts_with(head.stored.as_bytes())
    }

    /// Appends the object's JSON, copied as it is stored; nothing if it does not begin so.
    pub(crate) fn splice(&self, head: &Head, out: &mut Vec<u8>) {
        let Some(rest) = self.stored.strip_prefix(head.stored.as_bytes()) else { return };
        out.extend_from_slice(head.shown().as_bytes());
        // What a dry run would have made has no revision.
        if self.revision > 0 {
            out.extend_from_slice(br#""resourceVersion":""#);
            out.extend_from_slice(self.revision.to_string().as_bytes());
            out.extend_from_slice(br#"","#);
        }
        out.extend_from_slice(rest);
    }

    /// The JSON of an object that another API server on the same store has written.
    pub(crate) fn item(&self, head: &Head) -> Result<Vec<u8>, Status> {
        let mut value = self.value()?;
        if let Some(fields) = value.as_object_mut().filter(|_| !head.is_typed) {
            fields.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind"));
        }
        serde_json::to_vec(&value).map_err(|error| Status::internal(error.to_string()))
    }

    pub(crate) fn json(&self) -> Result<Vec<u8>, Status> {
        let mut out = Vec::with_capacity(self.stored.len() + 32);
        self.write_json(&mut out)?;
        Ok(out)
    }

    /// The same as [`Self::value`], parsed once for all who look at a state that is kept.
    pub(crate) fn parsed(&self) -> Result<Arc<Value>, Status> {
        match &self.forms {
            Some(forms) => forms.parsed(self.stored.len(), || self.value()),
            None => self.value().map(Arc::new),
        }
    }

    /// The object as a value, with its resourceVersion if it has one.
    pub(crate) fn value(&self) -> Result<Value, Status> {
        let mut value: Value = serde_json::from_slice(&self.stored)
            .map_err(|error| Status::internal(format!("decode stored {}: {error}", self.resource.kind)))?;
        if self.revision > 0 {
            metadata_mut(&mut value).insert("resourceVersion".to_owned(), self.revision.to_string().into());
        }
        Ok(value)
    }
}

/// How the objects of a resource begin.
pub(crate) struct Head {
    stored: String,
    /// Whether version and kind are shown: a list says of what kind its items are, except for custom resources.
    is_typed: bool,
}

impl Head {
    pub(crate) fn of(resource: &Resource, is_typed: bool) -> Self {
        let (api_version, kind) = (resource.api_version(), &resource.kind);
        Self { stored: format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"#), is_typed }
    }

    fn shown(&self) -> &str {
        if self.is_typed { &self.stored } else { r#"{"metadata":{"# }
    }
}

/// A stored object in the served form, and whether it would be stored otherwise today. One that cannot be read stays as it is: who asks
/// for it is told.
fn converted(resource: &Resource, stored: &Bytes) -> (Bytes, bool) {
    let Ok(mut value) = serde_json::from_slice::<Value>(stored) else { return (stored.clone(), false) };
    let is_stale = value["apiVersion"] != resource.stored_api_version();
    resource.from_storage(&mut value);
    match serde_json::to_vec(&InOrder(&value)) {
        Ok(form) => (form.into(), is_stale),
        Err(_) => (stored.clone(), false),
    }
}

/// How long the JSON of `value` will be; a little more where texts are escaped.
fn about_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 6,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => 3 + items.iter().map(about_bytes).sum::<usize>(),
        Value::Object(fields) => {
            3 + fields.iter().map(|(name, value)| name.len() + 3 + about_bytes(value)).sum::<usize>()
        }
    }
}

/// Serializes an object with its type and metadata in front and without the resourceVersion.
struct InOrder<'a>(&'a Value);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];
        let Value::Object(fields) = self.0 else { return self.0.serialize(serializer) };
        let mut map = serializer.serialize_map(None)?;
        for name in ["apiVersion", "kind"] {
            if let Some(value) = fields.get(name) {
                map.serialize_entry(name, value)?;
            }
        }
        map.serialize_entry("metadata", &Metadata(fields.get("metadata")))?;
        for (name, value) in fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str())) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct Metadata<'a>(Option<&'a Value>);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.and_then(Value::as_object).into_iter().flatten();
        serializer.collect_map(fields.filter(|(name, _)| *name != "resourceVersion"))
    }
}

/// `metadata`, made if it is missing.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    object_at(object, "metadata")
}

/// The map at `field`, made if it is missing or something else.
pub(crate) fn object_at<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let slot = &mut object[field];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("was made an object just above")
}

/// A text in `metadata`; empty if it is missing.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub(crate) fn name_of(object: &Value) -> &str {
    meta(object, "name")
}

/// Whether deletion has begun.
pub(crate) fn is_terminating(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// `metadata.finalizers`.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Now, as Kubernetes writes times: RFC 3339 in whole seconds.
pub(crate) fn now() -> String {
    rfc3339(jiff::Timestamp::now())
}

/// RFC 3339 in whole seconds.
pub(crate) fn rfc3339(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
