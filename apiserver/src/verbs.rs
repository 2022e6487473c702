//! What each verb does with a request, whichever door it came through: the doors read what is sent and write what is answered.

use crate::admission::Operation;
use crate::app::App;
use crate::binding;
use crate::eviction;
use crate::registry::object::{Object, meta, name_of};
use crate::registry::{
    Change, Configuration, Deleted, List, ListOptions, Patch, PatchKind, Registry, Target, Written, check_names,
    delete_options, replacement, warning_of_deletion,
};
use crate::request::{Request, Run};
use crate::rest::body::{self, Sent};
use crate::reviews;
use crate::scale;
use crate::status::{Status, done};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use skiff_schema::{Decoded, Review, find_auxiliary};

/// The media type of a configuration that is applied.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// What a write is answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The object.
    Object {
        object: Object,
        /// Whether it was not there before.
        made: bool,
    },
    /// What is no object of a resource: a Scale, a Status.
    Value { value: Value, made: bool },
}

impl From<Written> for Answer {
    fn from(Written { object, made }: Written) -> Self {
        Self::Object { object, made }
    }
}

/// GET of one object or of its scale, from a state that is not older than `revision`; 0: any.
pub(crate) async fn get(registry: &Registry, request: &Request, revision: i64) -> Result<Answer, Status> {
    let object = registry.get_not_older(&request.target(), revision).await?;
    if request.part == "scale" {
        return Ok(Answer::Value { value: scale::of(&request.resource, &object.value()?)?, made: false });
    }
    Ok(Answer::Object { object, made: false })
}

/// POST: a new object, a question, or a part that is an act.
pub(crate) async fn create(app: &App, request: &Request, sent: Sent<'_>) -> Result<Answer, Status> {
    let registry = &app.registry;
    match &*request.part {
        "" => {}
        "token" => return app.callers.issue(registry, request, sent).await,
        "binding" => return bind(registry, request, sent).await,
        "eviction" => return evict(registry, request, sent).await,
        _ => return Err(Status::method_not_allowed()),
    }
    let decoded = body::object(&request.resource, sent, request.options.validation)?;
    request.sent(&decoded.object);
    if request.resource.is_stored() {
        let object = registry.create(request, decoded).await?;
        return Ok(Answer::Object { object, made: true });
    }
    request.warn(decoded.warnings);
    let asked = registry.admit(request, Operation::Create, decoded.object).await?;
    let object = match request.resource.review() {
        Review::Token => app.callers.review(registry, request, asked).await?,
        _ => reviews::answer(registry.authority(), request, asked).await?,
    };
    Ok(Answer::Object { object, made: true })
}

/// PUT: a new state.
pub(crate) async fn update(registry: &Registry, request: &Request, sent: Sent<'_>) -> Result<Answer, Status> {
    if request.part == "scale" {
        let wanted = auxiliary(request, "autoscaling/v1", "Scale", sent)?;
        return rescale(registry, request, |_| Ok(wanted.clone())).await;
    }
    let decoded = body::object(&request.resource, sent, request.options.validation)?;
    request.sent(&decoded.object);
    if name_of(&decoded.object).is_empty() {
        let name = &request.name;
        let why = format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
        return Err(Status::bad_request(why));
    }
    check_names(&request.target(), &decoded.object)?;
    Ok(registry.write(request, &replacement(request, &decoded)).await?.into())
}

/// Refuses a patch of a kind that there is not.
pub(crate) fn check_patch(media_type: &str) -> Result<(), Status> {
    if media_type == APPLY {
        return Ok(());
    }
    PatchKind::of(media_type).map(drop)
}

/// PATCH, of the kind that `media_type` says; also server-side apply.
pub(crate) async fn patch(
    registry: &Registry,
    request: &Request,
    media_type: &str,
    body: &Bytes,
) -> Result<Answer, Status> {
    let scaled = request.part == "scale";
    if let Some(record) = &request.record {
        record.sent_patch(body);
    }
    if media_type == APPLY {
        return apply(registry, request, &Configuration::parse(body)?).await;
    }
    let patch = Patch::parse(PatchKind::of(media_type)?, body)?;
    if !scaled {
        return Ok(registry.write(request, &patch.change(request)).await?.into());
    }
    let kind = find_auxiliary("autoscaling/v1", "Scale")
        .ok_or_else(|| Status::internal("the table of resources lacks Scale"))?;
    rescale(registry, request, |scale| patch.patched(kind, (scale, scale.clone()), request.options.validation)).await
}

/// PATCH that applies a configuration.
pub(crate) async fn apply(
    registry: &Registry,
    request: &Request,
    configuration: &Configuration,
) -> Result<Answer, Status> {
    check_names(&request.target(), &configuration.object)?;
    let written = registry.write(request, &configuration.change(request)).await?;
    if request.part == "scale" { scale_of(request, &written) } else { Ok(written.into()) }
}

/// The Scale of an object, which `next` changes.
async fn rescale(
    registry: &Registry,
    request: &Request,
    next: impl Fn(&Value) -> Result<Decoded, Status> + Send + Sync,
) -> Result<Answer, Status> {
    let resource = &request.resource;
    let change = Change::of_present(|current| {
        let Decoded { object, warnings } = next(&scale::of(resource, current)?)?;
        Ok(Decoded { object: scale::apply(resource, current, &object), warnings })
    });
    scale_of(request, &registry.write(request, &change).await?)
}

fn scale_of(request: &Request, written: &Written) -> Result<Answer, Status> {
    Ok(Answer::Value { value: scale::of(&request.resource, &written.object.value()?)?, made: false })
}

/// `pods/binding`: the scheduler's decision.
async fn bind(registry: &Registry, request: &Request, sent: Sent<'_>) -> Result<Answer, Status> {
    let Decoded { object, warnings } = auxiliary(request, "v1", "Binding", sent)?;
    binding::bind(registry, request, &object).await?;
    request.warn(warnings);
    Ok(Answer::Value { value: done(StatusCode::CREATED), made: true })
}

/// `pods/eviction`: a deletion that budgets may refuse.
async fn evict(registry: &Registry, request: &Request, sent: Sent<'_>) -> Result<Answer, Status> {
    let Decoded { object, warnings } = auxiliary(request, "policy/v1", "Eviction", sent)?;
    let object = registry.admit(request, Operation::Create, object).await?;
    let mut options = delete_options(object.get("deleteOptions").unwrap_or(&json!({})))?;
    if request.run() == Run::Dry {
        options.run = Run::Dry;
    }
    let told = eviction::evict(registry, request, &options).await?;
    request.warn(told.into_iter().chain(warnings));
    Ok(Answer::Value { value: done(StatusCode::CREATED), made: true })
}

/// DELETE of one object.
pub(crate) async fn delete(registry: &Registry, request: &Request) -> Result<Deleted, Status> {
    registry.delete(request).await
}

/// DELETE of all that are chosen; that somebody else has deleted one meanwhile is as good.
pub(crate) async fn delete_collection(
    registry: &Registry,
    request: &Request,
    chosen: &ListOptions,
) -> Result<List, Status> {
    request.warn(warning_of_deletion(&request.resource, &request.options));
    let chosen = registry.list(&request.resource, &request.namespace, chosen).await?;
    let mut deleted = List { items: Vec::with_capacity(chosen.items.len()), ..chosen };
    for object in chosen.items {
        let value = object.value()?;
        let target = Target { resource: &object.resource, namespace: meta(&value, "namespace"), name: name_of(&value) };
        match registry.delete(&request.about(&target)).await {
            Ok(Deleted::Gone(object) | Deleted::Pending(object)) => deleted.items.push(object),
            Err(status) if status.reason == "NotFound" => {}
            Err(status) => return Err(status),
        }
    }
    Ok(deleted)
}

/// Reads a body of another kind than the object's, which must be about the object that the request names.
fn auxiliary(request: &Request, api_version: &str, kind: &str, sent: Sent<'_>) -> Result<Decoded, Status> {
    let decoded = body::auxiliary(api_version, kind, sent, request.options.validation)?;
    request.sent(&decoded.object);
    if name_of(&decoded.object) != request.name {
        return Err(Status::bad_request(format!("name in URL does not match name in {kind} object")));
    }
    let namespace = meta(&decoded.object, "namespace");
    if !namespace.is_empty() && namespace != request.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(decoded)
}
