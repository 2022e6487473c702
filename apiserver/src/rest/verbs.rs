//! The verbs of objects over HTTP: what is said beside the object is read, the verb is done, the answer is written.

use super::body;
use super::lists;
use super::negotiate::Cbor;
use super::options::Parameters;
use super::respond::{self, Style};
use crate::app::App;
use crate::registry::object::{meta, name_of};
use crate::registry::{Configuration, Deleted};
use crate::request::Request;
use crate::status::{Status, success};
use crate::verbs::{self, Answer};
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use skiff_schema::FieldValidation;
use std::sync::Arc;

/// One request about objects.
pub(super) struct Call<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) request: Request,
    pub(super) parameters: &'a Parameters,
    pub(super) style: Style,
}

/// The media type of a configuration in CBOR that is applied.
const APPLY_CBOR: &str = "application/apply-patch+cbor";

pub(super) async fn get(call: &Call<'_>) -> Result<Response, Status> {
    respond(call, verbs::get(&call.app.registry, &call.request, call.parameters.revision()?).await)
}

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Status> {
    let resource = &call.request.resource;
    let options = call.parameters.list(resource)?;
    let list = call.app.registry.list(resource, &call.request.namespace, &options).await?;
    lists::list(call.style, resource, list)
}

pub(super) async fn create(mut call: Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    call.parameters.write("CreateOptions", &mut call.request.options)?;
    let sent = body::sent(headers, body, call.style.cbor).await?;
    respond(&call, verbs::create(call.app, &call.request, sent).await)
}

pub(super) async fn update(mut call: Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    call.parameters.write("UpdateOptions", &mut call.request.options)?;
    let sent = body::sent(headers, body, call.style.cbor).await?;
    respond(&call, verbs::update(&call.app.registry, &call.request, sent).await)
}

pub(super) async fn patch(mut call: Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    let media_type = body::media_type(headers);
    if media_type == APPLY_CBOR && call.style.cbor == Cbor::On {
        call.parameters.apply(&mut call.request.options)?;
        let object = body::from_cbor(&body::read(headers, body).await?)?;
        return respond(&call, verbs::apply(&call.app.registry, &call.request, &Configuration::of(object)?).await);
    }
    verbs::check_patch(media_type)?;
    let options = &mut call.request.options;
    if media_type == verbs::APPLY {
        call.parameters.apply(options)?;
    } else {
        call.parameters.write("PatchOptions", options)?;
    }
    let body = body::read(headers, body).await?;
    respond(&call, verbs::patch(&call.app.registry, &call.request, media_type, &body).await)
}

/// The answer, or the refusal, with what the request is told beside it.
fn respond(call: &Call<'_>, answer: Result<Answer, Status>) -> Result<Response, Status> {
    let code = |made| if made { StatusCode::CREATED } else { StatusCode::OK };
    let response = match answer.map_err(|status| status.warned(call.request.finish()))? {
        Answer::Object { object, made } => respond::object(code(made), call.style, &object),
        Answer::Value { value, made } => respond::plain(code(made), call.style, &value),
    };
    Ok(respond::with_warnings(response?, &call.request.finish()))
}

/// DeleteOptions from the body and, where it says nothing, from the query.
async fn read_delete_options(call: &mut Call<'_>, headers: &HeaderMap, body: Body) -> Result<(), Status> {
    let raw = body::read(headers, body).await?;
    let said = if raw.is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        let sent = body::sent_as(headers, raw, call.style.cbor)?;
        let options = body::auxiliary("meta.k8s.io/v1", "DeleteOptions", sent, FieldValidation::Ignore)?.object;
        if let Some(record) = &call.request.record {
            record.sent_object(None, &options);
        }
        options
    };
    let manager = std::mem::take(&mut call.request.options.manager);
    call.request.options = call.parameters.delete(said)?;
    call.request.options.manager = manager;
    Ok(())
}

pub(super) async fn delete(mut call: Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    read_delete_options(&mut call, headers, body).await?;
    let wanted = &mut call.request.options.preconditions.revision;
    if wanted.is_none() && !call.parameters.text("resourceVersion").is_empty() {
        *wanted = Some(call.parameters.text("resourceVersion").to_owned());
    }
    let resource = &call.request.resource;
    let response = match verbs::delete(&call.app.registry, &call.request).await? {
        Deleted::Pending(object) => {
            let code = if call.request.options.adopted { StatusCode::ACCEPTED } else { StatusCode::OK };
            respond::object(code, call.style, &object)
        }
        // Kubernetes shows the last state of pods and services, and only a success of everything else.
        Deleted::Gone(object) if resource.returns_deleted() => respond::object(StatusCode::OK, call.style, &object),
        Deleted::Gone(object) => {
            let value = object.value()?;
            let status = success(resource, name_of(&value), Some(meta(&value, "uid")));
            respond::plain(StatusCode::OK, call.style, &status)
        }
    };
    Ok(respond::with_warnings(response?, &call.request.finish()))
}

pub(super) async fn delete_collection(mut call: Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    read_delete_options(&mut call, headers, body).await?;
    let chosen = call.parameters.list(&call.request.resource)?;
    let deleted = verbs::delete_collection(&call.app.registry, &call.request, &chosen).await?;
    let response = lists::list(call.style, &call.request.resource, deleted)?;
    Ok(respond::with_warnings(response, &call.request.finish()))
}
