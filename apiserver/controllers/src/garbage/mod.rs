//! Deletes what nobody owns any more, and carries out foreground and orphaning deletions.
//!
//! One watch for each resource that can be listed and deleted (metadata only) feeds a graph of owners; the verdicts are
//! the graph's, this file asks the server once more before it deletes.

mod graph;

use crate::context::{Context, ControllerError, On, absent_is_none};
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt, TryStreamExt};
use graph::{Graph, Node, Uid, Verdict};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::discovery::{Discovery, Scope, verbs};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use tokio_util::sync::CancellationToken;

/// Kinds that are never owned and change often: not worth a place in the graph.
const IGNORED: &[&str] = &["events"];

type Change = Result<(usize, watcher::Event<PartialObjectMeta<DynamicObject>>), watcher::Error>;

struct Resource {
    api: ApiResource,
    scope: Scope,
}

struct Collector {
    context: Context,
    resources: Vec<Resource>,
    graph: Graph,
    /// While a watch lists anew: the uids it has named so far, by resource.
    listing: HashMap<usize, BTreeSet<Uid>>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) -> Result<(), ControllerError> {
    let resources = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        discovered = discover(&context) => discovered?,
    };
    let mut changes: SelectAll<BoxStream<'static, Change>> = SelectAll::new();
    for (number, resource) in resources.iter().enumerate() {
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(context.client.clone(), &resource.api);
        let watch = watcher(api, watcher::Config::default()).default_backoff();
        changes.push(watch.map_ok(move |event| (number, event)).boxed());
    }
    let mut collector = Collector { context, resources, graph: Graph::default(), listing: HashMap::new() };
    collector.follow(changes, shutdown).await;
    Ok(())
}

async fn discover(context: &Context) -> Result<Vec<Resource>, ControllerError> {
    let discovery =
        Discovery::new(context.client.clone()).run_aggregated().await.on(|| "discover resources".to_owned())?;
    let all = discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
    let deletable = all.filter(|(resource, capabilities)| {
        [verbs::LIST, verbs::WATCH, verbs::DELETE].iter().all(|verb| capabilities.supports_operation(verb))
            && !IGNORED.contains(&resource.plural.as_str())
    });
    Ok(deletable.map(|(api, capabilities)| Resource { api, scope: capabilities.scope }).collect())
}

impl Collector {
    async fn follow(&mut self, mut changes: SelectAll<BoxStream<'static, Change>>, shutdown: CancellationToken) {
        // Until every watch has listed once, an owner may only seem to be missing.
        let mut unlisted: BTreeSet<usize> = (0..self.resources.len()).collect();
        let mut waiting: Vec<Uid> = Vec::new();
        loop {
            let change = tokio::select! {
                () = shutdown.cancelled() => return,
                change = changes.next() => change,
            };
            match change {
                None => return,
                Some(Ok((number, event))) => {
                    if matches!(event, watcher::Event::InitDone) {
                        unlisted.remove(&number);
                    }
                    waiting.extend(self.note(number, event));
                }
                Some(Err(error)) => {
                    tracing::debug!(error = skiff_client::sentence(&error), "garbage collector's watch")
                }
            }
            if unlisted.is_empty() {
                for uid in std::mem::take(&mut waiting) {
                    self.look_at(&uid).await;
                }
            }
        }
    }

    fn note(&mut self, number: usize, event: watcher::Event<PartialObjectMeta<DynamicObject>>) -> Vec<Uid> {
        match event {
            watcher::Event::Apply(object) => self.put(number, &object),
            watcher::Event::InitApply(object) => {
                self.listing.entry(number).or_default().extend(object.metadata.uid.clone());
                self.put(number, &object)
            }
            watcher::Event::Delete(object) => {
                object.metadata.uid.map(|uid| self.graph.remove(&uid)).unwrap_or_default()
            }
            watcher::Event::Init => {
                self.listing.insert(number, BTreeSet::new());
                Vec::new()
            }
            // What a new list no longer names was deleted while the watch was down.
            watcher::Event::InitDone => {
                let named = self.listing.remove(&number).unwrap_or_default();
                let lost = self.graph.of_resource(number).into_iter().filter(|uid| !named.contains(uid));
                lost.collect::<Vec<_>>().iter().flat_map(|uid| self.graph.remove(uid)).collect()
            }
        }
    }

    fn put(&mut self, number: usize, object: &PartialObjectMeta<DynamicObject>) -> Vec<Uid> {
        Node::new(number, &object.metadata).map(|(uid, node)| self.graph.put(uid, node)).unwrap_or_default()
    }

    async fn look_at(&self, uid: &str) {
        let done = match self.graph.verdict(uid) {
            Verdict::Keep => Ok(()),
            Verdict::Garbage => self.collect(uid).await,
            Verdict::DeleteFirst(dependents) => self.delete_each(&dependents).await,
            Verdict::Release => self.drop_finalizer(uid, "foregroundDeletion").await,
            Verdict::Orphan(dependents) => self.orphan(uid, &dependents).await,
        };
        if let Err(error) = done {
            tracing::warn!(error = skiff_client::sentence(&error), "garbage collection");
        }
    }

    fn api(&self, node: &Node) -> Option<Api<DynamicObject>> {
        let resource = self.resources.get(node.resource)?;
        Some(match (&resource.scope, &node.namespace) {
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(self.context.client.clone(), namespace, &resource.api)
            }
            _ => Api::all_with(self.context.client.clone(), &resource.api),
        })
    }

    /// Deletes the object if the server agrees that it still has owners and that none of them exists. The graph may lag
    /// behind: an orphaned object loses its owner and its reference to it by two watches, in any order.
    async fn collect(&self, uid: &str) -> Result<(), ControllerError> {
        let Some(node) = self.graph.get(uid) else { return Ok(()) };
        let Some(api) = self.api(node) else { return Ok(()) };
        let live = absent_is_none(api.get_metadata(&node.name).await).on(|| format!("get {}", node.name))?;
        let Some((_, live)) =
            live.and_then(|live| Node::new(node.resource, &live.metadata)).filter(|(is, _)| is == uid)
        else {
            return Ok(());
        };
        for owner in &live.owners {
            if self.exists(&live, owner).await? {
                return Ok(());
            }
        }
        if live.owners.is_empty() { Ok(()) } else { self.delete(uid, &live).await }
    }

    async fn exists(&self, dependent: &Node, owner: &OwnerReference) -> Result<bool, ControllerError> {
        let known = self
            .resources
            .iter()
            .position(|known| known.api.kind == owner.kind && known.api.api_version == owner.api_version);
        // A kind that this server does not serve may still exist elsewhere; deleting on a guess loses data.
        let Some(resource) = known else { return Ok(true) };
        let place = Node { resource, ..dependent.clone() };
        let Some(api) = self.api(&place) else { return Ok(true) };
        let found = absent_is_none(api.get_metadata(&owner.name).await)
            .on(|| format!("get owner {}/{}", owner.kind, owner.name))?;
        Ok(found.is_some_and(|object| object.metadata.uid.as_deref() == Some(&owner.uid)))
    }

    async fn delete_each(&self, dependents: &[Uid]) -> Result<(), ControllerError> {
        for uid in dependents {
            if let Some(node) = self.graph.get(uid).filter(|node| !node.deleting) {
                self.delete(uid, node).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, uid: &str, node: &Node) -> Result<(), ControllerError> {
        let Some(api) = self.api(node) else { return Ok(()) };
        // The uid keeps a new object of the same name out of it.
        let same = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let deleted = api.delete(&node.name, &DeleteParams::background().preconditions(same)).await.map(drop);
        match deleted {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => absent_is_none(other).map(drop).on(|| format!("delete {}", node.name)),
        }
    }

    async fn orphan(&self, owner: &str, dependents: &[Uid]) -> Result<(), ControllerError> {
        for uid in dependents {
            let Some(node) = self.graph.get(uid) else { continue };
            let kept: Vec<_> = node.owners.iter().filter(|reference| reference.uid != owner).collect();
            self.patch(node, json!({"metadata": {"uid": uid, "ownerReferences": kept}})).await?;
        }
        self.drop_finalizer(owner, "orphan").await
    }

    async fn drop_finalizer(&self, uid: &str, finalizer: &str) -> Result<(), ControllerError> {
        let Some(node) = self.graph.get(uid) else { return Ok(()) };
        let kept: Vec<_> = node.finalizers.iter().filter(|text| text.as_str() != finalizer).collect();
        self.patch(node, json!({"metadata": {"uid": uid, "finalizers": kept}})).await
    }

    async fn patch(&self, node: &Node, patch: serde_json::Value) -> Result<(), ControllerError> {
        let Some(api) = self.api(node) else { return Ok(()) };
        let patched = api.patch_metadata(&node.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        absent_is_none(patched.map(drop)).map(drop).on(|| format!("patch metadata of {}", node.name))
    }
}
