//! Parts of objects with a form of their own: Scale, Binding, Eviction.

use super::body;
use super::options::WriteOptions;
use super::respond;
use super::verbs::Call;
use crate::registry::object::{meta, name_of};
use crate::registry::{DeleteOptions, Patch, PatchKind, Run};
use crate::scale;
use crate::status::{Status, done};
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use skiff_schema::{Decoded, FieldValidation, find_auxiliary};

pub(super) async fn get_scale(call: &Call<'_>) -> Result<Response, Status> {
    let object = call.app.registry.get_not_older(&call.target(), call.parameters.revision()?).await?;
    respond::plain(StatusCode::OK, call.style, &scale::of(&call.path.resource, &object.value()?)?)
}

pub(super) async fn set_scale(
    call: &Call<'_>,
    verb: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Status> {
    let kind = if verb == "patch" { "PatchOptions" } else { "UpdateOptions" };
    let WriteOptions { run, validation } = call.parameters.write(kind)?;
    let wanted = if verb == "patch" {
        let kind = PatchKind::of(body::media_type(headers))?;
        Wanted::Patch(Patch::parse(kind, &body::read(headers, body).await?)?)
    } else {
        Wanted::Scale(read(call, "autoscaling/v1", "Scale", headers, body, validation).await?)
    };
    let change = |current: &Value| {
        let Decoded { object, warnings } = match &wanted {
            Wanted::Scale(scale) => scale.clone(),
            Wanted::Patch(patch) => {
                let resource = find_auxiliary("autoscaling/v1", "Scale")
                    .ok_or_else(|| Status::internal("the table of resources lacks Scale"))?;
                body::patched(resource, patch, &scale::of(&call.path.resource, current)?, validation)?
            }
        };
        Ok(Decoded { object: scale::apply(&call.path.resource, current, &object), warnings })
    };
    let updated = call.app.registry.update(&call.target(), "", run, change).await?;
    let response =
        respond::plain(StatusCode::OK, call.style, &scale::of(&call.path.resource, &updated.object.value()?)?)?;
    Ok(respond::with_warnings(response, &updated.warnings))
}

enum Wanted {
    Scale(Decoded),
    Patch(Patch),
}

/// Reads a body of another kind than the object's, which must be about the object that the path names.
async fn read(
    call: &Call<'_>,
    api_version: &str,
    kind: &str,
    headers: &HeaderMap,
    body: Body,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let sent = body::sent(headers, body).await?;
    let decoded = body::auxiliary(api_version, kind, sent, validation)?;
    let name = name_of(&decoded.object);
    if name != call.path.name {
        return Err(Status::bad_request(format!("name in URL does not match name in {kind} object")));
    }
    let namespace = meta(&decoded.object, "namespace");
    if !namespace.is_empty() && namespace != call.path.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(decoded)
}

/// `pods/binding`: the scheduler's decision.
pub(super) async fn bind(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    let WriteOptions { run, validation } = call.parameters.write("CreateOptions")?;
    let Decoded { object, warnings } = read(call, "v1", "Binding", headers, body, validation).await?;
    crate::binding::bind(&call.app.registry, &call.target(), &object, run).await?;
    created(call, &warnings)
}

/// `pods/eviction`: a deletion that budgets may refuse. There are no budgets.
pub(super) async fn evict(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    let WriteOptions { run, validation } = call.parameters.write("CreateOptions")?;
    let Decoded { object, warnings } = read(call, "policy/v1", "Eviction", headers, body, validation).await?;
    let options = object.get("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    let mut options = DeleteOptions::of(&options)?;
    if run == Run::Dry {
        options.run = run;
    }
    call.app.registry.delete(&call.target(), &options).await?;
    created(call, &warnings)
}

fn created(call: &Call<'_>, warnings: &[String]) -> Result<Response, Status> {
    let status = done(StatusCode::CREATED);
    Ok(respond::with_warnings(respond::plain(StatusCode::CREATED, call.style, &status)?, warnings))
}
