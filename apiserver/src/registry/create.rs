//! New objects: what the server writes into their metadata, and names it makes up.

use super::object::{Object, meta, metadata_mut, name_of, now};
use super::{Registry, Run, Target};
use crate::admission;
use crate::author;
use crate::status::Status;
use rand::Rng;
use serde_json::{Value, json};
use skiff_schema::{
    FieldError, FieldErrorKind, FieldValidation, Resource, apply_defaults, decode_value, validate_create,
};
use std::sync::Arc;

/// How many made-up names are tried before the creation fails (Kubernetes: 8).
const NAMES_MAX: usize = 8;
/// Letters of made-up names: none that spell words or look alike (Kubernetes `util/rand`).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// Made-up names stay within a DNS label of 63.
const GENERATED_BASE_MAX: usize = 58;

/// How it becomes known who owns the fields of an object that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    /// Whoever writes owns what changes.
    Track,
    /// The object says it: it was applied.
    Said,
}

impl Registry {
    /// Stores a new object of `resource` in `namespace` (empty: it lives in none), under its name or one made up from
    /// `generateName`.
    pub(crate) async fn create(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        object: Value,
        run: Run,
    ) -> Result<Object, Status> {
        self.create_as(resource, namespace, object, run, Owners::Track).await
    }

    pub(super) async fn create_as(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        mut object: Value,
        run: Run,
        owners: Owners,
    ) -> Result<Object, Status> {
        let base = meta(&object, "generateName").to_owned();
        if !name_of(&object).is_empty() || base.is_empty() {
            return self.create_named(resource, namespace, object, run, owners).await;
        }
        for _ in 0..NAMES_MAX {
            metadata_mut(&mut object).insert("name".to_owned(), generated_name(&base).into());
            match self.create_named(resource, namespace, object.clone(), run, owners).await {
                Err(status) if status.reason == "AlreadyExists" => {}
                other => return other,
            }
        }
        Err(Status::no_free_name(resource, name_of(&object)))
    }

    async fn create_named(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        mut object: Value,
        run: Run,
        owners: Owners,
    ) -> Result<Object, Status> {
        let said = metadata_mut(&mut object).remove("managedFields");
        prepare(resource, namespace, &mut object)?;
        let fields = owners_of(resource, &object, said, owners);
        author::put(&mut object, fields);
        let name = name_of(&object).to_owned();
        let target = Target { resource, namespace, name: &name };
        admission::admit_create(self, &target, &mut object).await?;
        apply_defaults(resource, &mut object);
        admission::complete_create(resource, &mut object);
        refuse_if_wrong(&target, &object)?;
        let claims = self.services().claim_for(self.backend(), &target, &mut object, None, run).await?;
        if run == Run::Dry {
            return match self.backend.get(target.key()).await?.entry {
                Some(_) => Err(Status::already_exists(resource, &name)),
                None => Object::encode(resource, &object, 0),
            };
        }
        let stored = self.commit(&target, &object, 0).await;
        if !matches!(stored, Ok(Some(_))) {
            claims.give_back(self.backend()).await;
        }
        stored?.ok_or_else(|| Status::already_exists(resource, &name))
    }
}

/// Who owns what of a new object: what its author said, with its defaults, and nothing that admission adds.
fn owners_of(resource: &Resource, object: &Value, said: Option<Value>, owners: Owners) -> Option<Value> {
    if owners == Owners::Said {
        return said;
    }
    let mut object = object.clone();
    apply_defaults(resource, &mut object);
    author::own(resource, "", None, &mut object, said.as_ref());
    metadata_mut(&mut object).remove("managedFields")
}

/// What is wrong with a new object, as one refusal.
fn refuse_if_wrong(target: &Target<'_>, object: &Value) -> Result<(), Status> {
    let mut errors = validate_create(target.resource, object);
    if errors.is_empty() {
        errors.extend(path_segment_error(target.name));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(target.resource, target.name, &errors)) }
}

/// Every name must fit between two slashes of a path, whatever else its kind asks of it.
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

/// The metadata and status that the server decides about.
fn prepare(resource: &Resource, namespace: &str, object: &mut Value) -> Result<(), Status> {
    if !meta(object, "resourceVersion").is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let metadata = metadata_mut(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields", "selfLink"] {
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
    if resource.has_status() && !resource.keeps_status_on_create() {
        if resource.is_custom() {
            object.as_object_mut().and_then(|fields| fields.remove("status"));
        } else {
            // What is always there of a status is there from the beginning.
            let bare = decode_value(resource, json!({"status": {}}), &[], FieldValidation::Ignore);
            object["status"] = bare.map(|mut bare| bare.object["status"].take()).unwrap_or_else(|_| json!({}));
        }
    }
    resource.prepare(object, None, "");
    Ok(())
}

fn generated_name(base: &str) -> String {
    let mut random = rand::rng();
    let base: String = base.chars().take(GENERATED_BASE_MAX).collect();
    let suffix = (0..SUFFIX_LENGTH).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]));
    base.chars().chain(suffix).collect()
}
