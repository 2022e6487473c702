//! What a hook is asked: an AdmissionReview (`admission.k8s.io`).

use super::super::{Attributes, Operation};
use crate::binding;
use crate::request::{Options, Propagation, Request, Run};
use crate::reviews::user_info;
use crate::scale;
use crate::status::Status;
use serde_json::{Map, Value, json};
use skiff_schema::{FieldValidation, Resource};

/// The request of the review with this `uid` about an object in the version of `wanted`; `new` and `old` are in this version already.
pub(in super::super) fn request(
    uid: &str,
    seen: &Attributes<'_>,
    wanted: &Resource,
    new: &Value,
    old: &Value,
) -> Value {
    let asked = seen.request;
    let mut user = user_info(&asked.who);
    user["extra"] = json!(asked.who.extra);
    let mut request = json!({
        "uid": uid,
        "kind": kind(wanted, &asked.part),
        "resource": resource(wanted),
        "requestKind": kind(&asked.resource, &asked.part),
        "requestResource": resource(&asked.resource),
        "operation": seen.operation.word(),
        "userInfo": user,
        "object": new,
        "oldObject": old,
        "dryRun": asked.run() == Run::Dry,
        "options": options(seen),
    });
    // What is empty is left out, as Go leaves it out.
    for (field, text) in [
        ("subResource", &*asked.part),
        ("requestSubResource", &*asked.part),
        ("name", seen.name),
        ("namespace", seen.namespace()),
    ] {
        if !text.is_empty() {
            request[field] = text.into();
        }
    }
    if let Some(user) = request["userInfo"].as_object_mut().filter(|_| asked.who.extra.is_empty()) {
        user.remove("extra");
    }
    request
}

fn resource(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "resource": resource.plural})
}

/// The kind of the body, which of a part may be another's.
fn kind(resource: &Resource, part: &str) -> Value {
    match resource.subresource(part) {
        Some(part) => json!({"group": part.group, "version": part.version, "kind": part.kind}),
        None => json!({"group": resource.group, "version": resource.version, "kind": resource.kind}),
    }
}

/// What is said beside the object, as its own kind.
fn options(seen: &Attributes<'_>) -> Value {
    let asked = seen.request;
    let kind = match seen.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut said = Map::new();
    said.insert("kind".to_owned(), kind.into());
    said.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
    if asked.run() == Run::Dry {
        said.insert("dryRun".to_owned(), json!(["All"]));
    }
    match seen.operation {
        Operation::Delete => of_deletion(&asked.options, &mut said),
        _ => of_write(asked, &mut said),
    }
    said.into()
}

fn of_write(asked: &Request, said: &mut Map<String, Value>) {
    if !asked.options.manager.is_empty() {
        said.insert("fieldManager".to_owned(), (&*asked.options.manager).into());
    }
    match asked.options.validation {
        FieldValidation::Strict => drop(said.insert("fieldValidation".to_owned(), "Strict".into())),
        FieldValidation::Ignore => drop(said.insert("fieldValidation".to_owned(), "Ignore".into())),
        // As if nothing had been said.
        FieldValidation::Warn => {}
    }
}

fn of_deletion(options: &Options, said: &mut Map<String, Value>) {
    if let Some(seconds) = options.grace_seconds {
        said.insert("gracePeriodSeconds".to_owned(), seconds.into());
    }
    if let Some(propagation) = options.propagation {
        let word = match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        };
        said.insert("propagationPolicy".to_owned(), word.into());
    }
    let given = [("uid", &options.preconditions.uid), ("resourceVersion", &options.preconditions.revision)];
    let given: Map<String, Value> =
        given.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.as_deref()?.into()))).collect();
    if !given.is_empty() {
        said.insert("preconditions".to_owned(), given.into());
    }
}

/// What a write through a part is about, if that is not the object: a Scale, a Binding.
pub(super) fn body(resource: &Resource, part: &str, object: &Value) -> Result<Value, Status> {
    match part {
        _ if object.is_null() => Ok(Value::Null),
        "scale" => scale::of(resource, object),
        "binding" if object["kind"] == *resource.kind => Ok(binding::of(object)),
        _ => Ok(object.clone()),
    }
}

/// The object after a hook has changed the body of a part.
pub(in super::super) fn with_body(resource: &Resource, part: &str, object: &Value, body: Value) -> Value {
    match part {
        "scale" => scale::apply(resource, object, &body),
        "binding" if object["kind"] == *resource.kind => binding::rebound(object, &body),
        _ => body,
    }
}
