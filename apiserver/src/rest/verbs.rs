//! The verbs of ordinary objects.

use super::body;
use super::options::{Parameters, WriteOptions};
use super::path::ResourcePath;
use super::respond::{self, Style};
use crate::admission;
use crate::app::App;
use crate::registry::object::{Object, meta, name_of};
use crate::registry::{
    Configuration, DeleteOptions, Deleted, List, Patch, PatchKind, Put, Target, check_names, warn_of_delete,
};
use crate::reviews;
use crate::status::{Status, success};
use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use skiff_schema::FieldValidation;
use std::sync::Arc;

/// The media type of a configuration that is applied.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// One request about objects.
pub(super) struct Call<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) path: &'a ResourcePath,
    pub(super) parameters: &'a Parameters,
    pub(super) style: Style,
}

impl Call<'_> {
    pub(super) fn target(&self) -> Target<'_> {
        Target { resource: &self.path.resource, namespace: &self.path.namespace, name: &self.path.name }
    }
}

pub(super) async fn get(call: &Call<'_>) -> Result<Response, Status> {
    let object = call.app.registry.get_not_older(&call.target(), call.parameters.revision()?).await?;
    respond::object(StatusCode::OK, call.style, &object)
}

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Status> {
    let resource = &call.path.resource;
    let options = call.parameters.list(resource)?;
    let list = call.app.registry.list(resource, &call.path.namespace, &options).await?;
    respond::list(call.style, resource, &list)
}

pub(super) async fn create(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    let WriteOptions { run, validation } = call.parameters.write("CreateOptions")?;
    let sent = body::sent(headers, body).await?;
    let mut decoded = body::object(&call.path.resource, sent, validation)?;
    let (registry, resource, namespace) = (&call.app.registry, &call.path.resource, &call.path.namespace);
    let told = admission::warn_of_create(registry, resource, namespace, &decoded.object).await;
    let created = registry.create(resource, namespace, decoded.object, run).await?;
    decoded.warnings.extend(told);
    decoded.warnings.extend(resource.warnings(&created.value()?, None, ""));
    let response = respond::object(StatusCode::CREATED, call.style, &created)?;
    Ok(respond::with_warnings(response, &decoded.warnings))
}

/// Answers a question.
pub(super) async fn review(call: &Call<'_>, parts: &Parts, body: Body) -> Result<Response, Status> {
    let WriteOptions { validation, .. } = call.parameters.write("CreateOptions")?;
    let sent = body::sent(&parts.headers, body).await?;
    let decoded = body::object(&call.path.resource, sent, validation)?;
    let answer = reviews::answer(&parts.extensions, &call.path.resource, &call.path.namespace, decoded.object)?;
    let response = respond::object(StatusCode::CREATED, call.style, &answer)?;
    Ok(respond::with_warnings(response, &decoded.warnings))
}

pub(super) async fn update(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    let WriteOptions { run, validation } = call.parameters.write("UpdateOptions")?;
    let sent = body::sent(headers, body).await?;
    let decoded = body::object(&call.path.resource, sent, validation)?;
    if name_of(&decoded.object).is_empty() {
        let name = &call.path.name;
        let why = format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
        return Err(Status::bad_request(why));
    }
    check_names(&call.target(), &decoded.object)?;
    let change = |_: &Value| Ok(decoded.clone());
    let (code, updated) = match call.app.registry.put(&call.target(), &call.path.subresource, run, change).await? {
        Put::Made(made) => (StatusCode::CREATED, made),
        Put::Replaced(updated) => (StatusCode::OK, updated),
    };
    let response = respond::object(code, call.style, &updated.object)?;
    Ok(respond::with_warnings(response, &updated.warnings))
}

pub(super) async fn patch(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    if body::media_type(headers) == APPLY {
        return apply(call, headers, body).await;
    }
    let kind = PatchKind::of(body::media_type(headers))?;
    let WriteOptions { run, validation } = call.parameters.write("PatchOptions")?;
    let patch = Patch::parse(kind, &body::read(headers, body).await?)?;
    let resource = &call.path.resource;
    let change = |current: &Value| body::patched(resource, &patch, current, validation);
    let updated = call.app.registry.update(&call.target(), &call.path.subresource, run, change).await?;
    let response = respond::object(StatusCode::OK, call.style, &updated.object)?;
    Ok(respond::with_warnings(response, &updated.warnings))
}

/// Server-side apply.
async fn apply(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    let (WriteOptions { run, validation }, force) = call.parameters.apply()?;
    let configuration = Configuration::parse(&body::read(headers, body).await?, force, validation)?;
    let registry = &call.app.registry;
    let (applied, made) = registry.apply(&call.target(), &call.path.subresource, run, &configuration).await?;
    let code = if made { StatusCode::CREATED } else { StatusCode::OK };
    let response = respond::object(code, call.style, &applied.object)?;
    Ok(respond::with_warnings(response, &applied.warnings))
}

/// DeleteOptions from the body and, where it says nothing, from the query.
async fn delete_options(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<DeleteOptions, Status> {
    let raw = body::read(headers, body).await?;
    let said = if raw.is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        let sent = body::sent_as(headers, raw)?;
        body::auxiliary("meta.k8s.io/v1", "DeleteOptions", sent, FieldValidation::Ignore)?.object
    };
    call.parameters.delete(said)
}

pub(super) async fn delete(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    let mut options = delete_options(call, headers, body).await?;
    if options.revision.is_none() && !call.parameters.text("resourceVersion").is_empty() {
        options.revision = Some(call.parameters.text("resourceVersion").to_owned());
    }
    let response = match call.app.registry.delete(&call.target(), &options).await? {
        Deleted::Pending(object) => {
            let code = if options.adopted { StatusCode::ACCEPTED } else { StatusCode::OK };
            respond::object(code, call.style, &object)
        }
        // Kubernetes shows the last state of pods and services, and only a success of everything else.
        Deleted::Gone(object) if call.path.resource.returns_deleted() => {
            respond::object(StatusCode::OK, call.style, &object)
        }
        Deleted::Gone(object) => {
            let value = object.value()?;
            let status = success(&call.path.resource, name_of(&value), Some(meta(&value, "uid")));
            respond::plain(StatusCode::OK, call.style, &status)
        }
    }?;
    Ok(respond::with_warnings(response, &warn_of_delete(&call.path.resource, &options)))
}

pub(super) async fn delete_collection(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    let options = delete_options(call, headers, body).await?;
    let resource = &call.path.resource;
    let chosen = call.app.registry.list(resource, &call.path.namespace, &call.parameters.list(resource)?).await?;
    let mut deleted = List { items: Vec::with_capacity(chosen.items.len()), ..chosen };
    for object in chosen.items {
        if let Some(object) = delete_one(call, &object, &options).await? {
            deleted.items.push(object);
        }
    }
    respond::list(call.style, resource, &deleted)
}

/// Deletes one of many; that somebody else has deleted it meanwhile is as good.
async fn delete_one(call: &Call<'_>, object: &Object, options: &DeleteOptions) -> Result<Option<Object>, Status> {
    let value = object.value()?;
    let target = Target { resource: &object.resource, namespace: meta(&value, "namespace"), name: name_of(&value) };
    match call.app.registry.delete(&target, options).await {
        Ok(Deleted::Gone(object) | Deleted::Pending(object)) => Ok(Some(object)),
        Err(status) if status.reason == "NotFound" => Ok(None),
        Err(status) => Err(status),
    }
}
