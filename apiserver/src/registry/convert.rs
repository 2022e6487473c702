//! Custom resources whose versions a webhook turns into each other (`spec.conversion.strategy: Webhook`): objects that are stored in
//! another version than they are asked for in, or would be stored in, go through it, all of a page at once.
//!
//! What a converter may not touch is put back: of the metadata it changes labels and annotations only.

use super::object::{Object, meta};
use super::{Target, prefix};
use crate::admission::{Soon, Stored, known, later};
use crate::remote::trust::Credentials;
use crate::remote::{Asked, Limits};
use crate::status::Status;
use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use skiff_schema::Resource;
use skiff_store::backend::{Backend, Change, Entry, ListRange};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a converter may take (kube-apiserver).
const TIMEOUT: Duration = Duration::from_secs(30);
/// How large the answer may be beside what was asked.
const ANSWER_BYTES_MIN: usize = 1 << 20;
/// How many times larger than what was asked the answer may be.
const GROWTH_MAX: usize = 4;

/// The converters of all definitions, with their connections.
pub(crate) struct Converters {
    stored: Direct,
    /// By group and name of the resource.
    known: Mutex<HashMap<String, Arc<Converter>>>,
}

/// One of them.
#[derive(Debug)]
struct Converter {
    /// As its definition has it.
    written: Arc<Value>,
    client: Result<Asked, String>,
    /// The version of ConversionReview in which it is asked, if it knows one that we do.
    review: Option<&'static str>,
}

impl Converter {
    fn read(written: &Arc<Value>) -> Self {
        let versions = written["conversionReviewVersions"].as_array().into_iter().flatten();
        let known = |version: &str| ["v1", "v1beta1"].into_iter().find(|known| *known == version);
        Self {
            written: Arc::clone(written),
            client: Asked::read(&written["clientConfig"], &Credentials::default()),
            review: versions.filter_map(Value::as_str).find_map(known),
        }
    }

    async fn convert(&self, stored: &dyn Stored, wanted: &str, objects: &[Value]) -> Result<Vec<Value>, String> {
        let version = self.review.ok_or("no supported conversion review versions")?;
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let uid = uuid::Uuid::new_v4().to_string();
        let asked = json!({"kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects}});
        let asked = Bytes::from(asked.to_string());
        let limits = Limits { time: TIMEOUT, answer_bytes: ANSWER_BYTES_MIN + GROWTH_MAX * asked.len() };
        let query = format!("?timeout={}s", TIMEOUT.as_secs());
        read(&client.post(stored, asked, &query, limits).await?, version, &uid)
    }
}

/// The objects of a ConversionReview's response.
fn read(body: &[u8], version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let mut review: Value = serde_json::from_slice(body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let wanted = format!("apiextensions.k8s.io/{version}");
    if version == "v1" && (review["kind"] != "ConversionReview" || review["apiVersion"] != *wanted) {
        let got = [&review["apiVersion"], &review["kind"]].map(|text| text.as_str().unwrap_or_default().to_owned());
        return Err(format!(
            "expected webhook response of {wanted}, Kind=ConversionReview, got {}, Kind={}",
            got[0], got[1]
        ));
    }
    let response = &mut review["response"];
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    let said = response["uid"].as_str().unwrap_or_default();
    if version == "v1" && said != uid {
        return Err(format!("expected response.uid={uid:?}, got {said:?}"));
    }
    let text = |field: &str| response["result"][field].as_str().unwrap_or_default();
    match (text("status"), text("message")) {
        ("Success", _) => {}
        (status, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => return Err(message.to_owned()),
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

impl Converters {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { stored: Direct(backend), known: Mutex::default() }
    }

    fn of(&self, resource: &Resource, written: &Arc<Value>) -> Arc<Converter> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let id = resource.group_resource();
        match known.get(&id) {
            Some(converter) if converter.written == *written => Arc::clone(converter),
            _ => {
                let converter = Arc::new(Converter::read(written));
                known.insert(id, Arc::clone(&converter));
                converter
            }
        }
    }

    /// `objects` of the resource, each in the version `wanted` (`example.com/v2`); those that are in it already are left alone.
    ///
    /// # Errors
    /// The converter fails, or answers something else than these objects in this version.
    pub(crate) async fn convert(
        &self,
        resource: &Resource,
        wanted: &str,
        mut objects: Vec<Value>,
    ) -> Result<Vec<Value>, Status> {
        let Some(written) = resource.conversion_webhook() else { return Ok(objects) };
        let others: Vec<usize> = (0..objects.len()).filter(|at| objects[*at]["apiVersion"] != wanted).collect();
        let Some(first) = others.first() else { return Ok(objects) };
        let from = format!("{}, Kind={}", objects[*first]["apiVersion"].as_str().unwrap_or_default(), resource.kind);
        let failed = |why: String| Status::internal(format!("conversion webhook for {from} {why}"));
        let asked: Vec<Value> = others.iter().map(|at| objects[*at].clone()).collect();
        let answer = self.of(resource, written).convert(&self.stored, wanted, &asked).await;
        let answer = answer.map_err(|why| failed(format!("failed: {why}")))?;
        if answer.len() != asked.len() {
            return Err(failed(format!("returned {} objects, expected {}", answer.len(), asked.len())));
        }
        for ((index, at), converted) in others.into_iter().enumerate().zip(answer) {
            let converted = accepted(&objects[at], converted, wanted)
                .map_err(|why| failed(format!("returned invalid converted object at index {index}: {why}")))?;
            objects[at] = converted;
        }
        Ok(objects)
    }

    /// Objects as they are stored, in the version of `resource`.
    ///
    /// # Errors
    /// See [`Self::convert`].
    pub(crate) async fn objects(&self, resource: &Arc<Resource>, entries: Vec<Entry>) -> Result<Vec<Object>, Status> {
        if resource.conversion_webhook().is_none() {
            return Ok(entries.into_iter().map(|entry| Object::of(resource, entry)).collect());
        }
        let newest = resource.stored_api_version();
        let are_stale: Vec<bool> = entries.iter().map(|entry| version_of(&entry.value) != Some(&*newest)).collect();
        let entries = self.entries(resource, entries).await?;
        let objects = entries.into_iter().map(|entry| Object::of(resource, entry));
        Ok(objects.zip(are_stale).map(|(object, is_stale)| Object { is_stale, ..object }).collect())
    }

    async fn entries(&self, resource: &Resource, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Status> {
        let wanted = resource.api_version();
        let others: Vec<usize> =
            (0..entries.len()).filter(|at| version_of(&entries[*at].value) != Some(&*wanted)).collect();
        // What cannot be read stays as it is: who asks for it is told.
        let values = others.iter().map(|at| serde_json::from_slice(&entries[*at].value).unwrap_or_default());
        let values: Vec<Value> = values.collect();
        let readable: Vec<usize> = (0..values.len()).filter(|at| values[*at].is_object()).collect();
        let asked = readable.iter().map(|at| values[*at].clone()).collect();
        let converted = self.convert(resource, &wanted, asked).await?;
        for (at, value) in readable.into_iter().zip(converted) {
            entries[others[at]].value = value.to_string().into();
        }
        Ok(entries)
    }

    /// What happened, with objects in the version of `resource`.
    ///
    /// # Errors
    /// See [`Self::convert`].
    pub(crate) async fn changes(&self, resource: &Resource, changes: Vec<Change>) -> Result<Vec<Change>, Status> {
        let mut entries = Vec::new();
        for change in &changes {
            match change {
                Change::Put { entry, previous } => {
                    entries.extend([Some(entry), previous.as_ref()].into_iter().flatten())
                }
                Change::Delete { previous, .. } => entries.push(previous),
            }
        }
        let mut entries = self.entries(resource, entries.into_iter().cloned().collect()).await?.into_iter();
        let converted = changes.into_iter().filter_map(|change| {
            Some(match change {
                Change::Put { previous, .. } => {
                    let entry = entries.next()?;
                    Change::Put { entry, previous: previous.and_then(|_| entries.next()) }
                }
                Change::Delete { revision, .. } => Change::Delete { previous: entries.next()?, revision },
            })
        });
        Ok(converted.collect())
    }
}

/// What the stored bytes say of their version; they begin with it.
fn version_of(stored: &[u8]) -> Option<&str> {
    let rest = stored.strip_prefix(br#"{"apiVersion":""#)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// `converted`, if it is `original` in the version `wanted`; with the metadata that it may not change.
fn accepted(original: &Value, mut converted: Value, wanted: &str) -> Result<Value, String> {
    if converted["apiVersion"] != wanted {
        let got = converted["apiVersion"].as_str().unwrap_or_default();
        return Err(format!("invalid groupVersion (expected {wanted}, received {got})"));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (had, got) = (text(&original["kind"]), text(&converted["kind"]));
    if had != got {
        return Err(format!("invalid kind (expected {had}, received {got})"));
    }
    for (word, field) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
        let (had, got) = (meta(original, field), meta(&converted, field));
        if had != got {
            return Err(format!("must have the same {word}: {had} != {got}"));
        }
    }
    let said = converted["metadata"].take();
    if !said.is_object() {
        return Err("missing metadata in converted object".to_owned());
    }
    let mut metadata = original["metadata"].clone();
    for field in ["labels", "annotations"] {
        let Some(metadata) = metadata.as_object_mut() else { break };
        match &said[field] {
            Value::Null => drop(metadata.remove(field)),
            Value::Object(map) => {
                if let Some((key, _)) = map.iter().find(|(_, value)| !value.is_string()) {
                    return Err(format!("metadata.{field}[{key}] must be a string in converted object"));
                }
                metadata.insert(field.to_owned(), said[field].clone());
            }
            _ => return Err(format!("invalid metadata.{field} in converted object")),
        }
    }
    converted["metadata"] = metadata;
    Ok(converted)
}

/// What is stored, without anything between.
struct Direct(Arc<dyn Backend>);

impl Stored for Direct {
    fn get<'a>(&'a self, target: Target<'a>) -> Soon<'a, Arc<Value>> {
        later(async move {
            let entry = self.0.get(target.key()).await?.entry;
            Object::of(target.resource, entry.ok_or_else(|| target.not_found())?).parsed()
        })
    }

    fn list<'a>(&'a self, resource: &'a Arc<Resource>, namespace: &'a str) -> Soon<'a, Vec<Arc<Value>>> {
        later(async move {
            let range = ListRange { prefix: prefix(resource, namespace), from: None, limit: 0, revision: 0 };
            let entries = self.0.list(range).await?.entries;
            entries.into_iter().map(|entry| Object::of(resource, entry).parsed()).collect()
        })
    }

    fn make<'a>(&'a self, resource: &'a Arc<Resource>, _: Value) -> Soon<'a, ()> {
        known(Err(Status::internal(format!("{} are not made here", resource.plural))))
    }

    fn convert<'a>(&'a self, resource: &'a Resource, _: &'a str, _: Value) -> BoxFuture<'a, Result<Value, Status>> {
        let why = format!("{} are not converted here", resource.plural);
        Box::pin(async { Err(Status::internal(why)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_are_checked_in_kubernetes_words() {
        let review = |response: Value| {
            json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response})
                .to_string()
        };
        let read = |body: &str| read(body.as_bytes(), "v1", "u");
        for (body, expected) in [
            (review(Value::Null), "no response provided"),
            (review(json!({"uid": "x"})), "expected response.uid=\"u\", got \"x\""),
            (review(json!({"uid": "u"})), "response.result.status was '', not 'Success'"),
            (review(json!({"uid": "u", "result": {"status": "Failed", "message": "no"}})), "no"),
            (
                "{}".to_owned(),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got , Kind=",
            ),
        ] {
            assert_eq!(read(&body), Err(expected.to_owned()));
        }
        let fine = review(json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [{}]}));
        assert_eq!(read(&fine), Ok(vec![json!({})]));
    }

    #[test]
    fn a_converter_changes_labels_and_annotations_only() {
        let original = json!({"apiVersion": "a/v1", "kind": "A",
            "metadata": {"name": "x", "uid": "1", "labels": {"a": "1"}, "annotations": {"b": "1"}, "generation": 3}});
        let mut converted = json!({"apiVersion": "a/v2", "kind": "A", "spec": {},
            "metadata": {"name": "x", "uid": "1", "labels": {"a": "2"}, "generation": 9}});
        let accepted = |converted: &Value| super::accepted(&original, converted.clone(), "a/v2");
        assert_eq!(
            accepted(&converted).map(|object| object["metadata"].clone()),
            Ok(json!({"name": "x", "uid": "1", "labels": {"a": "2"}, "generation": 3}))
        );
        for (pointer, value, expected) in [
            ("/metadata/uid", json!("2"), "must have the same UID: 1 != 2"),
            ("/metadata/name", json!("y"), "must have the same name: x != y"),
            ("/apiVersion", json!("a/v3"), "invalid groupVersion (expected a/v2, received a/v3)"),
            ("/kind", json!("B"), "invalid kind (expected A, received B)"),
            ("/metadata/labels/a", json!(1), "metadata.labels[a] must be a string in converted object"),
            ("/metadata", json!(1), "must have the same name: x != "),
        ] {
            let mut wrong = converted.clone();
            *wrong.pointer_mut(pointer).expect("there") = value;
            assert_eq!(accepted(&wrong), Err(expected.to_owned()), "{pointer}");
        }
        converted["metadata"]["labels"] = Value::Null;
        assert!(accepted(&converted).is_ok_and(|object| object["metadata"]["labels"].is_null()));
    }

    #[test]
    fn stored_bytes_begin_with_their_version() {
        assert_eq!(version_of(br#"{"apiVersion":"a/v1","kind":"A"}"#), Some("a/v1"));
        assert_eq!(version_of(br#"{"kind":"A"}"#), None);
    }
}
