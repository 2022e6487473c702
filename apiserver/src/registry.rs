//! Typed objects over keys: `/registry/<resource>/<namespace>/<name>`, where the key's revision is the object's
//! resourceVersion.
//!
//! Every write is a compare-and-swap on the object's key. A write that is computed from the present object (a patch, a
//! status, a scale) is computed again when somebody else was faster.
//!
//! What it leaves to others: what objects look like (`skiff-schema`), what is added or refused (`admission`), the wire.

pub(crate) mod object; // one object, as bytes and as value
pub(crate) mod selector; // which objects are meant

mod write; // every write, stage by stage

mod apply; // what an applied configuration makes of an object
mod components; // how the control plane's parts are
mod convert; // custom resources that a webhook converts
mod create; // new objects
mod delete; // marking and removing
mod feed; // one watch of the store for all who watch a resource, and its state for all who list it
mod forms; // what answers are made of, written once
mod kept; // lists and objects from the state that a feed keeps
mod known; // what this server's own tasks know
mod partial; // a few fields of an object
mod patch; // what a patch makes of an object
mod put; // a new state of what is there, or is not there yet
mod read; // get and list
mod recent; // what was written a moment ago, for who writes it again
mod shared; // one object that many watch
mod update; // changed objects
mod watch; // what happens to objects

pub(crate) use apply::Configuration;
pub(crate) use create::generated_name;
pub(crate) use delete::{Deleted, check_preconditions, delete_options, warning_of_deletion};
pub(crate) use forms::Form;
pub(crate) use known::Known;
pub(crate) use patch::{Patch, PatchKind};
pub(crate) use put::replacement;
pub(crate) use read::{List, ListOptions, VersionMatch};
pub(crate) use shared::{FormNumber, Shared};
pub(crate) use update::check_names;
pub(crate) use watch::{Event, EventKind, WatchOptions, Watcher};
pub(crate) use write::{Change, Owners, Written};

use crate::admission::configured::Current;
use crate::admission::resource_quota::Quotas;
use crate::admission::services::Allocator;
use crate::admission::{Setting, Soon, Stored, known, later};
use crate::authority::Authority;
use crate::request::Request;
use crate::status::Status;
use bytes::Bytes;
use convert::Converters;
use feed::Feeds;
use futures::future::BoxFuture;
use object::{Object, meta};
use recent::Recent;
use serde_json::Value;
use skiff_schema::{Catalog, Decoded, Resource};
use skiff_step::{Engine, Step};
use skiff_store::backend::{Backend, Entry, Revision, Swapped};
use std::sync::{Arc, PoisonError, RwLock};

/// How often a write is computed again after losing a race. Each loss means that somebody else won, so this many losses in
/// a row is a client that writes in a loop.
const ATTEMPTS_MAX: usize = 32;

const COMMIT: Step = Step::new("api.commit", "Kubernetes API conventions: a pod's new state becomes durable");

/// One object's address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) resource: &'a Arc<Resource>,
    /// Empty for resources without namespaces.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl Target<'_> {
    fn key(&self) -> Bytes {
        key(self.resource, self.namespace, self.name)
    }

    fn not_found(&self) -> Status {
        Status::not_found(self.resource, self.name)
    }
}

/// Objects over a store.
pub(crate) struct Registry {
    backend: Arc<dyn Backend>,
    feeds: Arc<Feeds>,
    engine: Engine,
    services: Allocator,
    authority: Arc<Authority>,
    quotas: Quotas,
    catalog: RwLock<Arc<Catalog>>,
    configured: Current,
    converters: Arc<Converters>,
}

impl Registry {
    pub(crate) fn new(backend: Arc<dyn Backend>, engine: Engine, services: Allocator) -> Self {
        let converters = Arc::new(Converters::new(Arc::clone(&backend)));
        let feeds = Feeds::new(Arc::clone(&backend), Arc::clone(&converters));
        Self {
            backend,
            feeds,
            engine,
            services,
            authority: Arc::default(),
            quotas: Quotas::default(),
            catalog: RwLock::new(Arc::clone(Catalog::builtin())),
            configured: Current::default(),
            converters,
        }
    }

    /// Who decides what may be done.
    pub(crate) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    pub(crate) fn services(&self) -> &Allocator {
        &self.services
    }

    /// What is served now. A request takes it once, so that nothing changes under it.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces what is served.
    pub(crate) fn set_catalog(&self, next: impl FnOnce(&Catalog) -> Catalog) {
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        *catalog = Arc::new(next(&catalog));
    }

    /// How many objects of the resource there are, and how many bytes; `None`: nobody has counted them.
    pub(crate) fn size(&self, resource: &Resource) -> Option<(usize, usize)> {
        self.feeds.size(resource)
    }

    /// What administrators have configured admission to ask.
    pub(crate) fn configured(&self) -> &Current {
        &self.configured
    }

    /// What a write takes once.
    pub(crate) fn setting(&self) -> Setting {
        Setting::new(self.catalog(), self.configured.get(), Arc::clone(&self.authority))
    }

    fn recent(&self) -> &Recent {
        self.feeds.recent()
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// Stores `value` if the object's revision is still `expected`; `None`: somebody was faster.
    async fn commit(&self, target: &Target<'_>, value: &Value, expected: Revision) -> Result<Option<Object>, Status> {
        let mut object = Object::encode(target.resource, value, 0)?;
        let ttl_seconds = target.resource.ttl_seconds();
        let put = self.backend.put(target.key(), self.to_store(&object, value).await?, expected, ttl_seconds);
        match self.traced(target, value, async { Ok(put.await?) }).await? {
            Swapped::Done(revision) => {
                self.feeds.wrote(target.resource, revision);
                object.revision = revision;
                Ok(Some(object))
            }
            Swapped::Conflict(_) => Ok(None),
        }
    }

    /// The bytes under which `object`, which is `value`, is kept.
    async fn to_store(&self, object: &Object, value: &Value) -> Result<Bytes, Status> {
        let resource = &object.resource;
        if resource.conversion_webhook().is_none() {
            return object.to_store(value);
        }
        let wanted = resource.stored_api_version();
        let converted = self.converters.convert(resource, &wanted, vec![value.clone()]).await?.pop();
        Ok(Object::encode(resource, &converted.unwrap_or_default(), 0)?.stored)
    }

    /// Objects of `resource` as it serves them.
    async fn objects(&self, resource: &Arc<Resource>, entries: Vec<Entry>) -> Result<Vec<Object>, Status> {
        self.converters.objects(resource, entries).await
    }

    async fn object(&self, target: &Target<'_>, entry: Option<Entry>) -> Result<Object, Status> {
        let entry = entry.ok_or_else(|| target.not_found())?;
        self.objects(target.resource, vec![entry]).await?.pop().ok_or_else(|| target.not_found())
    }

    /// Removes the object if its revision is still `expected`; answers the revision of the deletion.
    async fn remove(&self, target: &Target<'_>, value: &Value, expected: Revision) -> Result<Option<Revision>, Status> {
        let delete = self.backend.delete(target.key(), expected);
        match self.traced(target, value, async { Ok(delete.await?) }).await? {
            Swapped::Done(revision) => {
                self.feeds.wrote(target.resource, revision);
                self.services.release(self.backend(), target, value).await;
                Ok(Some(revision))
            }
            Swapped::Conflict(_) => Ok(None),
        }
    }

    async fn traced<T>(
        &self,
        target: &Target<'_>,
        value: &Value,
        write: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        if !self.engine.is_on() || !target.resource.is_traced() {
            return write.await;
        }
        let operand = || format!("{}/{}", target.namespace, target.name);
        self.engine.correlated(Some(meta(value, "uid"))).run_async(&COMMIT, operand, write).await
    }
}

/// What plugins may look at; they write nothing.
impl Stored for Registry {
    fn get<'a>(&'a self, target: Target<'a>) -> Soon<'a, Arc<Value>> {
        match self.get_now(&target) {
            Some(object) => known(object),
            None => later(async move { self.get_kept(&target).await?.parsed() }),
        }
    }

    fn list<'a>(&'a self, resource: &'a Arc<Resource>, namespace: &'a str) -> Soon<'a, Vec<Arc<Value>>> {
        if let Some(objects) = self.list_now(resource, namespace) {
            return known(objects);
        }
        later(async move {
            let options = ListOptions { version_match: VersionMatch::Own, ..ListOptions::default() };
            let list = Self::list(self, resource, namespace, &options).await?;
            list.items.iter().map(Object::parsed).collect()
        })
    }

    fn make<'a>(&'a self, resource: &'a Arc<Resource>, object: Value) -> Soon<'a, ()> {
        later(async move {
            let request = Request::own("create", &Target { resource, namespace: "", name: "" });
            match self.create(&request, Decoded { object, warnings: Vec::new() }).await {
                Err(status) if status.reason != "AlreadyExists" => Err(status),
                _ => Ok(()),
            }
        })
    }

    fn convert<'a>(
        &'a self,
        resource: &'a Resource,
        wanted: &'a str,
        object: Value,
    ) -> BoxFuture<'a, Result<Value, Status>> {
        Box::pin(async move {
            let converted = self.converters.convert(resource, wanted, vec![object]).await?.pop();
            Ok(converted.unwrap_or_default())
        })
    }
}

/// A built-in resource that this server itself looks at or writes, in version `v1`.
pub(crate) fn built_in(group: &str, plural: &str) -> Result<&'static Arc<Resource>, Status> {
    let missing = || Status::internal(format!("the table of resources lacks {plural}"));
    skiff_schema::find(group, "v1", plural).ok_or_else(missing)
}

fn key(resource: &Resource, namespace: &str, name: &str) -> Bytes {
    let mut text = prefix_text(resource, namespace);
    text.push_str(name);
    text.into()
}

fn prefix_text(resource: &Resource, namespace: &str) -> String {
    let folder = &resource.storage_folder;
    if namespace.is_empty() { format!("/registry/{folder}/") } else { format!("/registry/{folder}/{namespace}/") }
}

/// Every key of the resource in `namespace`; empty: everywhere.
fn prefix(resource: &Resource, namespace: &str) -> Bytes {
    prefix_text(resource, namespace).into()
}
