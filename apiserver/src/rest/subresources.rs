//! Parts of objects with a form of their own: Scale, Binding, Eviction.

use super::body;
use super::respond;
use super::verbs::Call;
use crate::registry::{DeleteOptions, Patch, PatchKind, Target};
use crate::scale;
use crate::status::{Status, success};
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use skiff_schema::{Decoded, find_auxiliary};

pub(super) async fn get_scale(call: &Call<'_>) -> Result<Response, Status> {
    let object = call.app.registry.get(&call.target()).await?;
    Ok(respond::json_value(StatusCode::OK, &scale::of(&object.value()?)))
}

pub(super) async fn set_scale(
    call: &Call<'_>,
    verb: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Status> {
    let run = call.parameters.run()?;
    let wanted = if verb == "patch" {
        let kind = PatchKind::of(body::media_type(headers))?;
        Wanted::Patch(Patch::parse(kind, &body::read(headers, body).await?)?)
    } else {
        Wanted::Scale(body::auxiliary("autoscaling/v1", "Scale", &body::read_json(headers, body).await?)?)
    };
    let change = |current: &Value| {
        let scale = match &wanted {
            Wanted::Scale(scale) => scale.clone(),
            Wanted::Patch(patch) => {
                let resource = find_auxiliary("autoscaling/v1", "Scale")
                    .ok_or_else(|| Status::internal("the table of resources lacks Scale"))?;
                let next = patch.apply(resource, &scale::of(current))?;
                body::auxiliary("autoscaling/v1", "Scale", next.to_string().as_bytes())?
            }
        };
        Ok(Decoded { object: scale::apply(current, &scale), warnings: Vec::new() })
    };
    let updated = call.app.registry.update(&call.target(), "", run, change).await?;
    Ok(respond::json_value(StatusCode::OK, &scale::of(&updated.object.value()?)))
}

enum Wanted {
    Scale(Value),
    Patch(Patch),
}

/// `pods/binding`: the scheduler's decision.
pub(super) async fn bind(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    let binding = body::auxiliary("v1", "Binding", &body::read_json(headers, body).await?)?;
    let target = call.target();
    crate::binding::bind(&call.app.registry, &target, &binding, call.parameters.run()?).await?;
    Ok(created(&target))
}

/// `pods/eviction`: a deletion that budgets may refuse. There are no budgets.
pub(super) async fn evict(call: &Call<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Status> {
    let eviction = body::auxiliary("policy/v1", "Eviction", &body::read_json(headers, body).await?)?;
    let target = call.target();
    let options = eviction.get("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    let dry = options["dryRun"].as_array().is_some_and(|list| !list.is_empty());
    let run = if dry { crate::registry::Run::Dry } else { call.parameters.run()? };
    call.app.registry.delete(&target, &DeleteOptions::of(&options)?, run).await?;
    Ok(created(&target))
}

fn created(target: &Target<'_>) -> Response {
    respond::json_value(StatusCode::CREATED, &success(target.resource, target.name, None, StatusCode::CREATED))
}
