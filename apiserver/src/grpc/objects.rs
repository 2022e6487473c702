//! The Objects service: every resource that discovery names, as the JSON that REST speaks.

use super::{admit, refuse};
use crate::admission;
use crate::app::App;
use crate::author::{Writer, writing};
use crate::options;
use crate::registry::object::Object as Stored;
use crate::registry::selector::Selection;
use crate::registry::{
    Configuration, DeleteOptions, Deleted, Event, ListOptions, Patch, PatchKind, Put, Run, Target, Updated,
    VersionMatch, WatchOptions, Watcher,
};
use crate::rest::body::{self as rest_body, Sent};
use crate::rest::verbs::APPLY;
use crate::scale;
use crate::status::Status;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_proto::api::v1 as proto;
use skiff_proto::api::v1::objects_server::Objects;
use skiff_schema::{Decoded, FieldValidation, IncludeObject, Resource, TableOptions, TableVersion, table};
use std::sync::Arc;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response};

pub(super) struct Service {
    pub(super) app: Arc<App>,
}

type Answer<T> = Result<Response<T>, tonic::Status>;

fn object(stored: &Stored) -> Result<proto::Object, tonic::Status> {
    Ok(proto::Object { json: stored.json().map_err(|status| refuse(&status))? })
}

fn scale_of(stored: &Stored) -> Result<proto::Object, tonic::Status> {
    let value = stored.value().map_err(|status| refuse(&status))?;
    let scale = scale::of(&stored.resource, &value).map_err(|status| refuse(&status))?;
    Ok(proto::Object { json: scale.to_string().into_bytes() })
}

fn answer(address: &proto::Address, stored: &Stored) -> Answer<proto::Object> {
    let object = if address.subresource == "scale" { scale_of(stored) } else { object(stored) };
    object.map(Response::new)
}

/// Adds the metadata entry `warning-bin` each: what REST says in the header `Warning`.
fn with_warnings<T>(mut response: Response<T>, warnings: &[String]) -> Response<T> {
    for warning in warnings {
        response.metadata_mut().append_bin("warning-bin", MetadataValue::from_bytes(warning.as_bytes()));
    }
    response
}

/// What a write says beside its object, checked; `kind` as REST would call it.
fn run(kind: &str, manager: &str, force: bool, dry_run: bool) -> Result<Run, tonic::Status> {
    let mut errors = Vec::new();
    options::force(force, &mut errors);
    options::field_manager(manager, &mut errors);
    match &errors[..] {
        [] => Ok(if dry_run { Run::Dry } else { Run::Real }),
        errors => Err(refuse(&Status::invalid_options(kind, errors))),
    }
}

/// What the client calls itself.
fn agent<T>(request: &Request<T>) -> String {
    let agent = request.metadata().get("user-agent").and_then(|agent| agent.to_str().ok());
    agent.unwrap_or_default().to_owned()
}

fn target<'a>(resource: &'a Arc<Resource>, address: &'a proto::Address) -> Target<'a> {
    Target { resource, namespace: &address.namespace, name: &address.name }
}

fn revision(text: &str) -> Result<i64, tonic::Status> {
    match text {
        "" => Ok(0),
        text => text
            .parse()
            .map_err(|_| tonic::Status::invalid_argument(format!("resource_version: {text:?} is not a number"))),
    }
}

fn table_options(headed: bool) -> TableOptions {
    let (include_object, version) = (IncludeObject::Metadata, TableVersion::V1);
    TableOptions { include_object, version, no_headers: headed, now: Timestamp::now() }
}

/// What a write through the `scale` subresource makes of the whole object.
fn from_scale(resource: &Resource, current: &Value, scale: &[u8]) -> Result<Decoded, Status> {
    let scale = rest_body::auxiliary("autoscaling/v1", "Scale", Sent::Json(scale.into()), FieldValidation::Strict)?;
    Ok(Decoded { object: scale::apply(resource, current, &scale.object), warnings: Vec::new() })
}

/// The registry's name of the part that is written: a scale changes the spec.
fn written_part(subresource: &str) -> &str {
    if subresource == "scale" { "" } else { subresource }
}

#[tonic::async_trait]
impl Objects for Service {
    type WatchStream = BoxStream<'static, Result<proto::WatchEvent, tonic::Status>>;

    async fn get(&self, request: Request<proto::GetRequest>) -> Answer<proto::Object> {
        let (resource, address) =
            admit(&self.app.registry.catalog(), &request, request.get_ref().address.as_ref(), "get")?;
        let found = self.app.registry.get(&target(&resource, &address)).await.map_err(|status| refuse(&status))?;
        answer(&address, &found)
    }

    async fn list(&self, request: Request<proto::ListRequest>) -> Answer<proto::ListResponse> {
        let (resource, address) =
            admit(&self.app.registry.catalog(), &request, request.get_ref().address.as_ref(), "list")?;
        let asked = request.get_ref();
        let list = self.read_list(&resource, &address, asked).await?;
        let mut response = proto::ListResponse {
            resource_version: list.revision.to_string(),
            continue_token: list.continue_token.clone(),
            ..proto::ListResponse::default()
        };
        if asked.as_table {
            let items = list.items.iter().map(Stored::value).collect::<Result<Vec<Value>, Status>>();
            let items = items.map_err(|status| refuse(&status))?;
            let table = table(&resource, &items, &list.metadata(), &table_options(false));
            response.table_json = table.to_string().into_bytes();
        } else {
            response.items = list.items.iter().map(object).collect::<Result<_, _>>()?;
        }
        Ok(Response::new(response))
    }

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Answer<Self::WatchStream> {
        let (resource, address) =
            admit(&self.app.registry.catalog(), &request, request.get_ref().address.as_ref(), "watch")?;
        let asked = request.get_ref();
        let selection = Selection::parse(&resource, &asked.label_selector, &asked.field_selector)
            .map_err(|status| refuse(&status))?;
        let after = revision(&asked.resource_version)?;
        let options =
            WatchOptions { selection, after, initial: after == 0, mark_initial_end: false, bookmarks: asked.bookmarks };
        let watcher = self.app.registry.watch(&resource, &address.namespace, options).await;
        let events = Events {
            watcher: watcher.map_err(|status| refuse(&status))?,
            resource,
            table: asked.as_table,
            headed: false,
        };
        let batches = stream::unfold(events, |mut events| async move {
            let batch = events.next().await?;
            Some((stream::iter(batch), events))
        });
        Ok(Response::new(batches.flatten().take_until(self.app.stopping.clone().cancelled_owned()).boxed()))
    }

    async fn create(&self, request: Request<proto::WriteRequest>) -> Answer<proto::Object> {
        let (resource, address) =
            admit(&self.app.registry.catalog(), &request, request.get_ref().address.as_ref(), "create")?;
        let agent = agent(&request);
        let asked = request.into_inner();
        let run = run("CreateOptions", &asked.field_manager, false, asked.dry_run)?;
        let json = asked.object.unwrap_or_default().json;
        let writer = Writer::of(&asked.field_manager, &agent, &address.subresource);
        let created = writing(writer, self.create_at(&resource, &address, &json, run)).await;
        let Updated { object: created, warnings } = created.map_err(|status| refuse(&status))?;
        object(&created).map(Response::new).map(|response| with_warnings(response, &warnings))
    }

    async fn update(&self, request: Request<proto::WriteRequest>) -> Answer<proto::Object> {
        let (resource, address) =
            admit(&self.app.registry.catalog(), &request, request.get_ref().address.as_ref(), "update")?;
        let agent = agent(&request);
        let asked = request.into_inner();
        let run = run("UpdateOptions", &asked.field_manager, false, asked.dry_run)?;
        let json = asked.object.unwrap_or_default().json;
        let scaled = address.subresource == "scale";
        let change = |current: &Value| {
            if scaled {
                from_scale(&resource, current, &json)
            } else {
                rest_body::object(&resource, Sent::Json(json.as_slice().into()), FieldValidation::Strict)
            }
        };
        let part = written_part(&address.subresource);
        let writer = Writer::of(&asked.field_manager, &agent, &address.subresource);
        let at = target(&resource, &address);
        let put = writing(writer, self.app.registry.put(&at, part, run, change)).await;
        let (Put::Made(updated) | Put::Replaced(updated)) = put.map_err(|status| refuse(&status))?;
        let Updated { object, warnings } = updated;
        answer(&address, &object).map(|response| with_warnings(response, &warnings))
    }

    async fn patch(&self, request: Request<proto::PatchRequest>) -> Answer<proto::Object> {
        let (resource, address) =
            admit(&self.app.registry.catalog(), &request, request.get_ref().address.as_ref(), "patch")?;
        let agent = agent(&request);
        let asked = request.into_inner();
        let writer = Writer::of(&asked.field_manager, &agent, &address.subresource);
        if asked.patch_type == APPLY && address.subresource != "scale" {
            let applied = writing(writer, self.apply_at(&resource, &address, &asked)).await;
            let Updated { object, warnings } = applied.map_err(|status| refuse(&status))?;
            return answer(&address, &object).map(|response| with_warnings(response, &warnings));
        }
        let run = run("PatchOptions", &asked.field_manager, asked.force, asked.dry_run)?;
        let patch = PatchKind::of(&asked.patch_type).and_then(|kind| Patch::parse(kind, &asked.patch.into()));
        let patch = patch.map_err(|status| refuse(&status))?;
        let scaled = address.subresource == "scale";
        let change = |current: &Value| {
            if scaled {
                let next = patch.apply(&resource, &scale::of(&resource, current)?)?;
                return from_scale(&resource, current, next.to_string().as_bytes());
            }
            rest_body::patched(&resource, &patch, current, FieldValidation::Strict)
        };
        let part = written_part(&address.subresource);
        let at = target(&resource, &address);
        let updated = writing(writer, self.app.registry.update(&at, part, run, change)).await;
        let Updated { object, warnings } = updated.map_err(|status| refuse(&status))?;
        answer(&address, &object).map(|response| with_warnings(response, &warnings))
    }

    async fn delete(&self, request: Request<proto::DeleteRequest>) -> Answer<proto::Object> {
        let (resource, address) =
            admit(&self.app.registry.catalog(), &request, request.get_ref().address.as_ref(), "delete")?;
        let asked = request.get_ref();
        let options = json!({
            "gracePeriodSeconds": asked.grace_period_seconds,
            "propagationPolicy": asked.propagation_policy,
            "preconditions": {"uid": asked.uid, "resourceVersion": asked.resource_version},
            "dryRun": if asked.dry_run { vec!["All"] } else { Vec::new() },
        });
        let options = DeleteOptions::of(&options).map_err(|status| refuse(&status))?;
        let deleted = self.app.registry.delete(&target(&resource, &address), &options).await;
        let (Deleted::Gone(last) | Deleted::Pending(last)) = deleted.map_err(|status| refuse(&status))?;
        object(&last).map(Response::new)
    }

    async fn resources(&self, _: Request<proto::ResourcesRequest>) -> Answer<proto::ResourcesResponse> {
        let catalog = self.app.registry.catalog();
        let resources = catalog.resources().iter().map(|resource| proto::Resource {
            group: resource.group.to_string(),
            version: resource.version.to_string(),
            kind: resource.kind.to_string(),
            plural: resource.plural.to_string(),
            singular: resource.singular.to_string(),
            short_names: resource.short_names.iter().map(ToString::to_string).collect(),
            namespaced: resource.namespaced,
        });
        Ok(Response::new(proto::ResourcesResponse { resources: resources.collect() }))
    }
}

impl Service {
    async fn read_list(
        &self,
        resource: &Arc<Resource>,
        address: &proto::Address,
        asked: &proto::ListRequest,
    ) -> Result<crate::registry::List, tonic::Status> {
        let options = ListOptions {
            selection: Selection::parse(resource, &asked.label_selector, &asked.field_selector)
                .map_err(|status| refuse(&status))?,
            limit: usize::try_from(asked.limit).map_err(|_| tonic::Status::invalid_argument("limit is negative"))?,
            continue_token: asked.continue_token.clone(),
            revision: revision(&asked.resource_version)?,
            version_match: VersionMatch::NotOlderThan,
        };
        self.app.registry.list(resource, &address.namespace, &options).await.map_err(|status| refuse(&status))
    }

    async fn apply_at(
        &self,
        resource: &Arc<Resource>,
        address: &proto::Address,
        asked: &proto::PatchRequest,
    ) -> Result<Updated, Status> {
        let mut errors = Vec::new();
        options::applier(&asked.field_manager, &mut errors);
        if !errors.is_empty() {
            return Err(Status::invalid_options("PatchOptions", &errors));
        }
        let run = if asked.dry_run { Run::Dry } else { Run::Real };
        let configuration = Configuration::parse(&asked.patch, asked.force, FieldValidation::Strict)?;
        let at = target(resource, address);
        let applied = self.app.registry.apply(&at, &address.subresource, run, &configuration).await;
        applied.map(|(updated, _)| updated)
    }

    async fn create_at(
        &self,
        resource: &Arc<Resource>,
        address: &proto::Address,
        json: &[u8],
        run: Run,
    ) -> Result<Updated, Status> {
        if !address.subresource.is_empty() {
            return Err(Status::not_implemented(format!("create of {} over gRPC", address.subresource)));
        }
        let Decoded { object, mut warnings } =
            rest_body::object(resource, Sent::Json(json.into()), FieldValidation::Strict)?;
        if !resource.is_stored() {
            return Err(Status::not_implemented(format!("create of {} over gRPC", resource.plural)));
        }
        let (registry, namespace) = (&self.app.registry, &address.namespace);
        warnings.extend(admission::warn_of_create(registry, resource, namespace, &object).await);
        Ok(Updated { object: registry.create(resource, namespace, object, run).await?, warnings })
    }
}

/// A watch as protobuf messages.
struct Events {
    watcher: Watcher,
    resource: Arc<Resource>,
    table: bool,
    headed: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Vec<Result<proto::WatchEvent, tonic::Status>>> {
        let events = self.watcher.next().await?;
        Some(events.iter().map(|event| self.message(event)).collect())
    }

    fn message(&mut self, event: &Event) -> Result<proto::WatchEvent, tonic::Status> {
        match event {
            Event::Object(kind, stored) => {
                let object = if self.table { self.row(stored)? } else { object(stored)? };
                Ok(proto::WatchEvent { r#type: kind.text().to_owned(), object: Some(object) })
            }
            Event::Bookmark { revision, .. } => {
                let bookmark = json!({"metadata": {"resourceVersion": revision.to_string()}});
                let object = proto::Object { json: bookmark.to_string().into_bytes() };
                Ok(proto::WatchEvent { r#type: "BOOKMARK".to_owned(), object: Some(object) })
            }
            Event::Error(status) => Err(refuse(status)),
        }
    }

    fn row(&mut self, stored: &Stored) -> Result<proto::Object, tonic::Status> {
        let value = stored.value().map_err(|status| refuse(&status))?;
        let metadata = json!({"resourceVersion": stored.revision.to_string()});
        let table = table(&self.resource, &[value], &metadata, &table_options(self.headed));
        self.headed = true;
        Ok(proto::Object { json: table.to_string().into_bytes() })
    }
}
