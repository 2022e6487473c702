//! The Objects service: every resource that discovery names, as the JSON that REST speaks.

use super::{admit, refuse};
use crate::app::App;
use crate::fairness::Counted;
use crate::options;
use crate::registry::object::Object as Stored;
use crate::registry::selector::Selection;
use crate::registry::{Deleted, Event, ListOptions, Shared, VersionMatch, WatchOptions, Watcher, delete_options};
use crate::request::{self, Run};
use crate::rest::body::Sent;
use crate::status::Status;
use crate::verbs::{self, APPLY};
use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_proto::api::v1 as proto;
use skiff_proto::api::v1::objects_server::Objects;
use skiff_schema::{FieldError, FieldValidation, IncludeObject, Resource, TableOptions, TableVersion, table};
use std::slice;
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

fn text(value: &Value) -> proto::Object {
    proto::Object { json: value.to_string().into_bytes() }
}

/// What a write is answered with, and told beside it.
fn answer(asked: &request::Request, answer: Result<verbs::Answer, Status>) -> Answer<proto::Object> {
    let object = match answer.map_err(|status| refuse(&status))? {
        verbs::Answer::Object { object: stored, .. } => object(&stored)?,
        verbs::Answer::Value { value, .. } => text(&value),
    };
    Ok(with_warnings(Response::new(object), &asked.finish()))
}

/// Adds the metadata entry `warning-bin` each: what REST says in the header `Warning`.
fn with_warnings<T>(mut response: Response<T>, warnings: &[String]) -> Response<T> {
    for warning in warnings {
        response.metadata_mut().append_bin("warning-bin", MetadataValue::from_bytes(warning.as_bytes()));
    }
    response
}

/// What the client calls itself.
fn agent<T>(request: &Request<T>) -> String {
    let agent = request.metadata().get("user-agent").and_then(|agent| agent.to_str().ok());
    agent.unwrap_or_default().to_owned()
}

/// Says who writes and whether it is meant, unless there are `errors`; `kind` is what REST would call the options.
fn say(
    asked: &mut request::Request,
    kind: &str,
    (manager, agent): (&str, &str),
    dry_run: bool,
    errors: &[FieldError],
) -> Result<(), tonic::Status> {
    if !errors.is_empty() {
        return Err(refuse(&Status::invalid_options(kind, errors)));
    }
    let options = &mut asked.options;
    options.run = if dry_run { Run::Dry } else { Run::Real };
    options.manager = request::manager(manager, agent);
    options.validation = FieldValidation::Strict;
    Ok(())
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

#[tonic::async_trait]
impl Objects for Service {
    type WatchStream = BoxStream<'static, Result<proto::WatchEvent, tonic::Status>>;

    async fn get(&self, request: Request<proto::GetRequest>) -> Answer<proto::Object> {
        let asked = self.admit(&request, request.get_ref().address.as_ref(), "get").await?;
        let found = verbs::get(&self.app.registry, &asked, 0).await;
        answer(&asked, found)
    }

    async fn list(&self, request: Request<proto::ListRequest>) -> Answer<proto::ListResponse> {
        let about = self.admit(&request, request.get_ref().address.as_ref(), "list").await?;
        let asked = request.get_ref();
        let list = self.read_list(&about, asked).await?;
        let mut response = proto::ListResponse {
            resource_version: list.revision.to_string(),
            continue_token: list.continue_token.clone(),
            ..proto::ListResponse::default()
        };
        if asked.as_table {
            let items = list.items.iter().map(Stored::value).collect::<Result<Vec<Value>, Status>>();
            let items = items.map_err(|status| refuse(&status))?;
            let table = table(&about.resource, &items, &list.metadata(), &table_options(false));
            response.table_json = table.to_string().into_bytes();
        } else {
            response.items = list.items.iter().map(object).collect::<Result<_, _>>()?;
        }
        Ok(Response::new(response))
    }

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Answer<Self::WatchStream> {
        let mut about = self.admit(&request, request.get_ref().address.as_ref(), "watch").await?;
        let asked = request.get_ref();
        let selection = Selection::parse(&about.resource, &asked.label_selector, &asked.field_selector)
            .map_err(|status| refuse(&status))?;
        let after = revision(&asked.resource_version)?;
        let options =
            WatchOptions { selection, after, initial: after == 0, mark_initial_end: false, bookmarks: asked.bookmarks };
        let watcher = self.app.registry.watch(&about.resource, &about.namespace, options).await;
        // What a watch begins with is sent as its client takes it; its seat was for what was looked up.
        let events = Events {
            watcher: watcher.map_err(|status| refuse(&status))?,
            _counted: about.seat.take().and_then(|mut seat| seat.counted()),
            resource: about.resource,
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
        let (asked, sent) = self.admit_write(request, "create", "CreateOptions").await?;
        let created = verbs::create(&self.app, &asked, sent).await;
        answer(&asked, created)
    }

    async fn update(&self, request: Request<proto::WriteRequest>) -> Answer<proto::Object> {
        let (asked, sent) = self.admit_write(request, "update", "UpdateOptions").await?;
        let updated = verbs::update(&self.app.registry, &asked, sent).await;
        answer(&asked, updated)
    }

    async fn patch(&self, request: Request<proto::PatchRequest>) -> Answer<proto::Object> {
        let mut asked = self.admit(&request, request.get_ref().address.as_ref(), "patch").await?;
        let agent = agent(&request);
        let said = request.into_inner();
        let mut errors = Vec::new();
        if said.patch_type == APPLY {
            options::applier(&said.field_manager, &mut errors);
            asked.options.force = said.force;
        } else {
            options::force(said.force, &mut errors);
            options::field_manager(&said.field_manager, &mut errors);
        }
        say(&mut asked, "PatchOptions", (&said.field_manager, &agent), said.dry_run, &errors)?;
        let patched = verbs::patch(&self.app.registry, &asked, &said.patch_type, &said.patch.into()).await;
        answer(&asked, patched)
    }

    async fn delete(&self, request: Request<proto::DeleteRequest>) -> Answer<proto::Object> {
        let mut asked = self.admit(&request, request.get_ref().address.as_ref(), "delete").await?;
        let said = request.get_ref();
        let options = json!({
            "gracePeriodSeconds": said.grace_period_seconds,
            "propagationPolicy": said.propagation_policy,
            "preconditions": {"uid": said.uid, "resourceVersion": said.resource_version},
            "dryRun": if said.dry_run { vec!["All"] } else { Vec::new() },
        });
        asked.options = delete_options(&options).map_err(|status| refuse(&status))?;
        let deleted = verbs::delete(&self.app.registry, &asked).await;
        let (Deleted::Gone(last) | Deleted::Pending(last)) = deleted.map_err(|status| refuse(&status))?;
        Ok(with_warnings(Response::new(object(&last)?), &asked.finish()))
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
    async fn admit<T: Sync>(
        &self,
        request: &Request<T>,
        address: Option<&proto::Address>,
        verb: &'static str,
    ) -> Result<request::Request, tonic::Status> {
        admit(&self.app.registry.catalog(), request, address, verb).await
    }

    async fn admit_write(
        &self,
        request: Request<proto::WriteRequest>,
        verb: &'static str,
        kind: &str,
    ) -> Result<(request::Request, Sent<'static>), tonic::Status> {
        let mut asked = self.admit(&request, request.get_ref().address.as_ref(), verb).await?;
        let agent = agent(&request);
        let said = request.into_inner();
        let mut errors = Vec::new();
        options::field_manager(&said.field_manager, &mut errors);
        say(&mut asked, kind, (&said.field_manager, &agent), said.dry_run, &errors)?;
        Ok((asked, Sent::Json(said.object.unwrap_or_default().json.into())))
    }

    async fn read_list(
        &self,
        about: &request::Request,
        asked: &proto::ListRequest,
    ) -> Result<crate::registry::List, tonic::Status> {
        let resource = &about.resource;
        let options = ListOptions {
            selection: Selection::parse(resource, &asked.label_selector, &asked.field_selector)
                .map_err(|status| refuse(&status))?,
            limit: usize::try_from(asked.limit).map_err(|_| tonic::Status::invalid_argument("limit is negative"))?,
            continue_token: asked.continue_token.clone(),
            revision: revision(&asked.resource_version)?,
            version_match: VersionMatch::NotOlderThan,
        };
        self.app.registry.list(resource, &about.namespace, &options).await.map_err(|status| refuse(&status))
    }
}

/// A watch as protobuf messages.
struct Events {
    watcher: Watcher,
    /// Writers pay for those who watch.
    _counted: Option<Counted>,
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
                let object = if self.table { self.row(stored)? } else { object(stored.object())? };
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

    fn row(&mut self, stored: &Shared) -> Result<proto::Object, tonic::Status> {
        let value = stored.value().map_err(|status| refuse(&status))?;
        let metadata = json!({"resourceVersion": stored.object().revision.to_string()});
        let table = table(&self.resource, slice::from_ref(value), &metadata, &table_options(self.headed));
        self.headed = true;
        Ok(proto::Object { json: table.to_string().into_bytes() })
    }
}
