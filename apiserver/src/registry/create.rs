//! New objects: what the server writes into their metadata, and names it makes up.

use super::object::{Object, meta, metadata_mut, name_of, now};
use super::{Registry, write::Owners};
use crate::request::Request;
use crate::status::Status;
use rand::Rng;
use serde_json::Value;
use skiff_schema::{Decoded, FieldError, FieldErrorKind, Resource};

/// How many made-up names are tried before the creation fails (Kubernetes: 8).
const NAMES_MAX: usize = 8;
/// Letters of made-up names: none that spell words or look alike (Kubernetes `util/rand`).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// Made-up names stay within a DNS label of 63.
const GENERATED_BASE_MAX: usize = 58;

impl Registry {
    /// Stores a new object, under its name or one made up from `generateName`. The request is told the warnings.
    pub(crate) async fn create(&self, request: &Request, draft: Decoded) -> Result<Object, Status> {
        let base = meta(&draft.object, "generateName").to_owned();
        if !name_of(&draft.object).is_empty() || base.is_empty() {
            let name = name_of(&draft.object).to_owned();
            let made = self.attempt(request, None, draft, Owners::Track).await?;
            return made.ok_or_else(|| Status::already_exists(&request.resource, &name));
        }
        let (mut name, warned) = (String::new(), request.warned());
        for _ in 0..NAMES_MAX {
            request.forget_from(warned);
            name = generated_name(&base);
            let mut named = draft.clone();
            metadata_mut(&mut named.object).insert("name".to_owned(), name.as_str().into());
            if let Some(made) = self.attempt(request, None, named, Owners::Track).await? {
                return Ok(made);
            }
        }
        Err(Status::no_free_name(&request.resource, &name))
    }
}

/// What is wrong with a new object of this name, which has these `errors`: every name must fit between two slashes of a path, whatever
/// else its kind asks of it.
pub(super) fn name_errors(name: &str, mut errors: Vec<FieldError>) -> Vec<FieldError> {
    if errors.is_empty() {
        errors.extend(path_segment_error(name));
    }
    errors
}

fn path_segment_error(name: &str) -> Option<FieldError> {
    let error = |kind, detail: &str| FieldError {
        kind,
        field: "metadata.name".to_owned(),
        value: Some(name.into()),
        detail: detail.to_owned(),
    };
    match name {
        "" => Some(error(FieldErrorKind::Required, "name or generateName is required")),
        "." | ".." => Some(error(FieldErrorKind::Invalid, "may not be '.' or '..'")),
        _ if name.contains('/') => Some(error(FieldErrorKind::Invalid, "may not contain '/'")),
        _ if name.contains('%') => Some(error(FieldErrorKind::Invalid, "may not contain '%'")),
        _ => None,
    }
}

/// A new object with the metadata and status that the server decides about.
pub(super) fn placed(request: &Request, mut object: Value) -> Result<Value, Status> {
    let (resource, namespace) = (&request.resource, request.namespace.as_str());
    if !meta(&object, "resourceVersion").is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let metadata = metadata_mut(&mut object);
    // A generation that nobody counts stays as it is said.
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(field);
    }
    metadata.remove("resourceVersion");
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if !given.is_empty() && given != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if namespace.is_empty() {
        metadata.remove("namespace");
    } else {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    metadata.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), now().into());
    if resource.counts_generations() {
        metadata.insert("generation".to_owned(), 1.into());
    }
    begin_status(resource, &mut object);
    Ok(object)
}

/// The name of an object that admission has let pass: webhooks may give another one to what is new, but not another place.
pub(super) fn admitted_name(request: &Request, old: Option<&Value>, object: &Value) -> Result<String, Status> {
    if old.is_none() && meta(object, "namespace") != request.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(name_of(old.unwrap_or(object)).to_owned())
}

/// The status is written through a path of its own.
fn begin_status(resource: &Resource, object: &mut Value) {
    if !resource.has_status() || resource.keeps_status_on_create() {
        return;
    }
    if resource.is_custom() {
        object.as_object_mut().and_then(|fields| fields.remove("status"));
    } else {
        // What is always there of a status is there from the beginning.
        object["status"] = resource.bare_status();
    }
}

/// A name that begins with `base` and that nothing has yet, most likely.
pub(crate) fn generated_name(base: &str) -> String {
    let mut random = rand::rng();
    let base: String = base.chars().take(GENERATED_BASE_MAX).collect();
    let suffix = (0..SUFFIX_LENGTH).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]));
    base.chars().chain(suffix).collect()
}
