//! Deletes what nobody owns any more, and carries out foreground and orphaning deletions.
//!
//! The caches of all resources that can be listed and deleted (metadata only, where nobody holds the objects) feed a graph of
//! owners; the verdicts are the graph's, this file asks the server once more before it deletes.

mod graph;

use crate::context::{Context, ControllerError, On, absent_is_none, is_status};
use futures::{StreamExt, stream};
use graph::{End, Graph, Owner, Tracked, Uid, Verdict, end};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::ApiResource;
use kube::discovery::{Discovery, Scope, verbs};
use serde_json::json;
use skiff_client::MetadataCache;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Kinds that are never owned and change often: not worth a place in the graph.
const IGNORED: &[&str] = &["events"];

/// How often discovery is asked whether kinds came or went (kube-controller-manager's period).
const REDISCOVER_EVERY: Duration = Duration::from_secs(30);

/// Objects that are looked at at once.
const CONCURRENCY: usize = 16;
/// When what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The number of a resource, and the metadata of one of its objects: as they are, or as they last were.
enum Change {
    Put(usize, Box<ObjectMeta>),
    Gone(Uid),
}

#[derive(Clone, PartialEq)]
struct Resource {
    api: ApiResource,
    namespaced: bool,
}

struct Collector {
    context: Context,
    resources: Vec<Resource>,
    graph: Graph,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) -> Result<(), ControllerError> {
    let mut resources = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        discovered = discover(&context) => discovered?,
    };
    let mut _held = Vec::new();
    loop {
        // Those that were followed before are not listed again.
        _held = resources.iter().map(|one| context.caches.metadata(&one.api)).collect();
        // The graph names resources by number, so it is made anew when there are others.
        let mut collector =
            Collector { context: context.clone(), resources: resources.clone(), graph: Graph::default() };
        resources = tokio::select! {
            () = collector.follow(shutdown.clone()) => return Ok(()),
            others = others(&context, &resources, REDISCOVER_EVERY) => others,
        };
    }
}

/// Waits until the server serves other resources than `known`, asking once in every `period`; returns those.
async fn others(context: &Context, known: &[Resource], period: Duration) -> Vec<Resource> {
    loop {
        tokio::time::sleep(period).await;
        match discover(context).await {
            Ok(found) if found != known => return found,
            Ok(_) => {}
            // What is known stays right until the server answers again.
            Err(error) => tracing::debug!(error = skiff_client::sentence(&error), "garbage collector's discovery"),
        }
    }
}

async fn discover(context: &Context) -> Result<Vec<Resource>, ControllerError> {
    let discovery =
        Discovery::new(context.client.clone()).run_aggregated().await.on(|| "discover resources".to_owned())?;
    let all = discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
    let deletable = all.filter(|(resource, capabilities)| {
        [verbs::LIST, verbs::WATCH, verbs::DELETE].iter().all(|verb| capabilities.supports_operation(verb))
            && !IGNORED.contains(&resource.plural.as_str())
    });
    let mut resources: Vec<Resource> = deletable
        .map(|(api, capabilities)| Resource { api, namespaced: capabilities.scope == Scope::Namespaced })
        .collect();
    // Discovery's groups come in no order, and another order is no other list.
    resources.sort_by(|a, b| (&a.api.group, &a.api.plural).cmp(&(&b.api.group, &b.api.plural)));
    Ok(resources)
}

/// What the graph has to know of a change.
fn changes_of(number: usize, before: Option<&ObjectMeta>, now: Option<&ObjectMeta>) -> Vec<Change> {
    let facts = |meta: &ObjectMeta| ObjectMeta {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        owner_references: meta.owner_references.clone(),
        finalizers: meta.finalizers.clone(),
        deletion_timestamp: meta.deletion_timestamp.clone(),
        ..ObjectMeta::default()
    };
    match (before, now) {
        (Some(before), Some(now)) if facts(before) == facts(now) => Vec::new(),
        (_, Some(now)) => vec![Change::Put(number, Box::new(facts(now)))],
        (Some(before), None) => before.uid.clone().map(Change::Gone).into_iter().collect(),
        (None, None) => Vec::new(),
    }
}

impl Collector {
    async fn follow(&mut self, shutdown: CancellationToken) {
        let (tell, mut changes) = mpsc::unbounded_channel();
        let caches: Vec<_> = self.resources.iter().map(|one| self.context.caches.metadata(&one.api)).collect();
        // Until every resource was listed once, an owner may only seem to be missing.
        let synced = futures::future::join_all(caches.iter().map(MetadataCache::synced));
        tokio::select! {
            () = shutdown.cancelled() => return,
            _all = synced => {}
        }
        let subscribe = |(number, cache): (usize, &MetadataCache)| {
            let tell = tell.clone();
            cache.subscribe(move |before, now| {
                for change in changes_of(number, before, now) {
                    // The receiver lives as long as the subscription.
                    let _over = tell.send(change);
                }
            })
        };
        let _subscriptions: Vec<_> = caches.iter().enumerate().map(subscribe).collect();
        let mut failed = BTreeSet::new();
        loop {
            let change = tokio::select! {
                () = shutdown.cancelled() => return,
                change = changes.recv() => change,
                () = tokio::time::sleep(RETRY), if !failed.is_empty() => {
                    failed = self.look_at_all(std::mem::take(&mut failed)).await;
                    continue;
                }
            };
            let Some(change) = change else { return };
            let mut waiting = BTreeSet::from_iter(self.note(change));
            // What is known already is taken in first: a verdict on half of a list would ask the server in vain.
            while let Ok(change) = changes.try_recv() {
                waiting.extend(self.note(change));
            }
            failed.extend(self.look_at_all(waiting).await);
        }
    }

    /// Returns those that have to be looked at again.
    async fn look_at_all(&self, uids: BTreeSet<Uid>) -> BTreeSet<Uid> {
        let looks = uids.into_iter().map(|uid| async move {
            let done = self.look_at(&uid).await;
            (uid, done)
        });
        let mut looks = stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(CONCURRENCY);
        let mut failed = BTreeSet::new();
        while let Some((uid, done)) = looks.next().await {
            if let Err(error) = done {
                match &error {
                    ControllerError::Api { source, .. } if is_status(source, 409) => {
                        tracing::debug!(error = skiff_client::sentence(&error), "garbage collection: it changed");
                    }
                    _ => tracing::warn!(error = skiff_client::sentence(&error), "garbage collection"),
                }
                failed.insert(uid);
            }
        }
        failed
    }

    fn note(&mut self, change: Change) -> Vec<Uid> {
        match change {
            Change::Put(number, meta) => {
                Tracked::new(number, &meta).map(|(uid, node)| self.graph.put(uid, node)).unwrap_or_default()
            }
            Change::Gone(uid) => self.graph.remove(&uid),
        }
    }

    async fn look_at(&self, uid: &str) -> Result<(), ControllerError> {
        match self.graph.verdict(uid) {
            Verdict::Keep => Ok(()),
            Verdict::Settle => self.settle(uid).await,
            Verdict::DeleteFirst(dependents) => {
                for dependent in &dependents {
                    if self.graph.get(dependent).is_some_and(|node| !node.deleting) {
                        self.settle(dependent).await?;
                    }
                }
                Ok(())
            }
            Verdict::Release => self.drop_finalizer(uid, "foregroundDeletion").await,
            Verdict::Orphan(dependents) => self.orphan(uid, &dependents).await,
        }
    }

    fn api(&self, node: &Tracked) -> Option<Api<DynamicObject>> {
        let resource = self.resources.get(node.resource)?;
        Some(match (resource.namespaced, &node.namespace) {
            (true, Some(namespace)) => Api::namespaced_with(self.context.client.clone(), namespace, &resource.api),
            _ => Api::all_with(self.context.client.clone(), &resource.api),
        })
    }

    /// Asks the server for the object and its owners, and does what follows from them. The graph may lag behind: an orphaned
    /// object loses its owner and its reference to it by two watches, in any order.
    async fn settle(&self, uid: &str) -> Result<(), ControllerError> {
        let Some(node) = self.graph.get(uid) else { return Ok(()) };
        let Some(api) = self.api(node) else { return Ok(()) };
        let found = absent_is_none(api.get_metadata(&node.name).await).on(|| format!("get {}", node.name))?;
        let Some(found) = found else { return Ok(()) };
        let version = found.metadata.resource_version.clone();
        let live = Tracked::new(node.resource, &found.metadata).filter(|(is, live)| is == uid && !live.deleting);
        let Some((_, live)) = live else { return Ok(()) };
        let mut owners = Vec::new();
        for owner in &live.owners {
            owners.push((owner.uid.clone(), self.owner(&live, owner).await?));
        }
        let has_dependents = !self.graph.dependents(uid).is_empty();
        match end(&owners, has_dependents, self.graph.may_be_circle(uid)) {
            End::Keep => Ok(()),
            End::Disown(gone) => {
                let kept: Vec<_> = live.owners.iter().filter(|owner| !gone.contains(&owner.uid)).collect();
                self.patch(
                    &live,
                    json!({"metadata": {"uid": uid, "resourceVersion": version, "ownerReferences": kept}}),
                )
                .await
            }
            End::DeleteForeground { unblock } => {
                if unblock {
                    let mut owners = live.owners.clone();
                    owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
                    self.patch(&live, json!({"metadata": {"uid": uid, "ownerReferences": owners}})).await?;
                }
                self.delete(uid, None, &live, PropagationPolicy::Foreground).await
            }
            End::Delete => {
                let has = |finalizer: &str| live.finalizers.iter().any(|known| known == finalizer);
                let policy = match () {
                    () if has("orphan") => PropagationPolicy::Orphan,
                    () if has("foregroundDeletion") => PropagationPolicy::Foreground,
                    () => PropagationPolicy::Background,
                };
                // The version keeps out of it an object that has got another owner since.
                self.delete(uid, version, &live, policy).await
            }
        }
    }

    /// What the server says of an owner.
    async fn owner(&self, dependent: &Tracked, owner: &OwnerReference) -> Result<Owner, ControllerError> {
        let known = self
            .resources
            .iter()
            .position(|known| known.api.kind == owner.kind && known.api.api_version == owner.api_version);
        // A kind that this server does not serve may still exist elsewhere; deleting on a guess loses data.
        let Some(resource) = known else { return Ok(Owner::Solid) };
        // Nobody can say in which namespace such an owner would be.
        if dependent.namespace.is_none() && self.resources[resource].namespaced {
            return Ok(Owner::Solid);
        }
        let place = Tracked { resource, ..dependent.clone() };
        let Some(api) = self.api(&place) else { return Ok(Owner::Solid) };
        let found = absent_is_none(api.get_metadata(&owner.name).await)
            .on(|| format!("get owner {}/{}", owner.kind, owner.name))?;
        let live = found.and_then(|found| Tracked::new(resource, &found.metadata)).filter(|(uid, _)| *uid == owner.uid);
        Ok(match live {
            None => Owner::Gone,
            Some((_, live)) if live.is_foreground() => Owner::Waiting,
            Some(_) => Owner::Solid,
        })
    }

    async fn delete(
        &self,
        uid: &str,
        version: Option<String>,
        node: &Tracked,
        policy: PropagationPolicy,
    ) -> Result<(), ControllerError> {
        let Some(api) = self.api(node) else { return Ok(()) };
        // The uid keeps a new object of the same name out of it.
        let same = Preconditions { uid: Some(uid.to_owned()), resource_version: version };
        let options = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        // One that has changed meanwhile is looked at again: the graph hears of some changes only, and a status is none of them.
        let deleted = api.delete(&node.name, &options.preconditions(same)).await.map(drop);
        absent_is_none(deleted).map(drop).on(|| format!("delete {}", node.name))
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

    async fn patch(&self, node: &Tracked, patch: serde_json::Value) -> Result<(), ControllerError> {
        let Some(api) = self.api(node) else { return Ok(()) };
        let patched = api.patch_metadata(&node.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        absent_is_none(patched.map(drop)).map(drop).on(|| format!("patch metadata of {}", node.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn group(name: &str, plural: &str) -> serde_json::Value {
        let kind = json!({"group": name, "version": "v1", "kind": plural});
        let resource = json!({"resource": plural, "responseKind": kind, "scope": "Namespaced", "singularResource": plural,
            "verbs": ["delete", "list", "watch"]});
        json!({"metadata": {"name": name}, "versions": [{"version": "v1", "resources": [resource]}]})
    }

    /// An error is no change and neither is another order of groups; a group that comes is.
    #[tokio::test]
    async fn kinds_that_come_are_found() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let groups = request.uri().path() == "/apis";
            let number = if groups { count.fetch_add(1, Ordering::SeqCst) } else { 0 };
            let (a, b, c) = (group("a.example", "as"), group("b.example", "bs"), group("c.example", "cs"));
            let items = match number {
                _ if !groups => vec![],
                0 => vec![a, b],
                2 => vec![b, a],
                _ => vec![a, b, c],
            };
            let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
                "items": items});
            let code = if number == 1 { 500 } else { 200 };
            let response =
                http::Response::builder().status(code).body(kube::client::Body::from(list.to_string().into_bytes()));
            async move { Ok::<_, Infallible>(response.expect("a response")) }
        });
        let client = kube::Client::new(server, "default");
        let context = Context::new(client.clone().into(), skiff_client::Caches::new(client), "test");
        let known = discover(&context).await.expect("discovery");
        assert_eq!(known.iter().map(|one| one.api.plural.as_str()).collect::<Vec<_>>(), ["as", "bs"]);
        let found = others(&context, &known, Duration::from_millis(1)).await;
        assert_eq!(found.iter().map(|one| one.api.plural.as_str()).collect::<Vec<_>>(), ["as", "bs", "cs"]);
        assert_eq!(asked.load(Ordering::SeqCst), 4);
    }

    /// What changed between the look and the deletion is looked at again, though nothing that the graph knows of has changed.
    #[tokio::test]
    async fn a_conflict_is_not_the_end() {
        let deleted = Arc::new(AtomicUsize::new(0));
        let count = deleted.clone();
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let refused = |code: u16, reason: &str| {
                (
                    code,
                    json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}),
                )
            };
            let is_dependent = request.uri().path().ends_with("/dependent");
            let (code, answer) = match (request.method(), is_dependent) {
                (_, false) => refused(404, "NotFound"),
                (&http::Method::DELETE, _) if count.fetch_add(1, Ordering::SeqCst) == 0 => refused(409, "Conflict"),
                _ => (
                    200,
                    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": dependent()}),
                ),
            };
            let response = http::Response::builder().status(code);
            let response = response.body(kube::client::Body::from(answer.to_string().into_bytes()));
            async move { Ok::<_, Infallible>(response.expect("a response")) }
        });
        let client = kube::Client::new(server, "default");
        let context = Context::new(client.clone().into(), skiff_client::Caches::new(client), "test");
        let api = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("a.example", "v1", "A"));
        let mut collector =
            Collector { context, resources: vec![Resource { api, namespaced: true }], graph: Graph::default() };
        let meta = serde_json::from_value(dependent()).expect("metadata");
        let uids = BTreeSet::from_iter(collector.note(Change::Put(0, Box::new(meta))));
        let failed = collector.look_at_all(uids).await;
        assert_eq!(failed, BTreeSet::from(["d".to_owned()]));
        assert_eq!(collector.look_at_all(failed).await, BTreeSet::new());
        assert_eq!(deleted.load(Ordering::SeqCst), 2);
    }

    /// The metadata of an object whose owner is not there.
    fn dependent() -> serde_json::Value {
        json!({"name": "dependent", "namespace": "n", "uid": "d", "resourceVersion": "1",
            "ownerReferences": [{"apiVersion": "a.example/v1", "kind": "A", "name": "owner", "uid": "o"}]})
    }
}
