//! Binds pods to nodes: filter, score, bind.
//!
//! Two caches feed it: the nodes, and the pods. A pod without a node is looked at when it appears, and again when a node
//! changes or a pod leaves, never by polling. The decision is a pure function ([`plan`]); binding is one POST.
//!
//! Left to others: preemption, volumes, several profiles. Never here: the store, or a node's inside.

mod bind; // writes the decision: a Binding, or the reason why there is none
mod cache; // what is known of nodes and of the pods on them
mod plan; // which node, and why not the others; no I/O

use bind::Binder;
use cache::Cache;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use skiff_client::Caches;
use skiff_step::Engine;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Pods name their scheduler in spec.schedulerName; this is ours, and the default.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// Schedules against the API server behind `client` until `shutdown`; `caches` show what that server has.
pub async fn run(client: Client, caches: Caches, engine: Engine, shutdown: CancellationToken) {
    let (nodes, pods) = (caches.all::<Node>(), caches.all::<Pod>());
    // Before both are complete, a node may only seem to be missing, or to have room.
    tokio::select! {
        () = shutdown.cancelled() => return,
        _both = futures::future::join(nodes.synced(), pods.synced()) => {}
    }
    let (tell, mut changes) = mpsc::unbounded_channel();
    let (of_nodes, of_pods) = (tell.clone(), tell.clone());
    // The receiver lives as long as the subscriptions.
    let _nodes = nodes.subscribe(move |change| {
        let _over = of_nodes.send(Change::Node(change.before.cloned(), change.now.cloned()));
    });
    let _pods = pods.subscribe(move |change| {
        let _over = of_pods.send(Change::Pod(change.before.cloned(), change.now.cloned()));
    });
    let binder = Binder::new(client, engine, tell);
    let mut cache = Cache::default();
    loop {
        let change = tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.recv() => change,
        };
        let Some(change) = change else { return };
        note(&mut cache, &pods, change);
        schedule(&mut cache, &binder);
    }
}

/// What became of something: as it was, and as it is.
enum Change {
    Node(Option<Arc<Node>>, Option<Arc<Node>>),
    Pod(Option<Arc<Pod>>, Option<Arc<Pod>>),
    /// The binding of this pod was not taken.
    NotBound(Arc<Pod>),
}

fn note(cache: &mut Cache, pods: &skiff_client::Cache<Pod>, change: Change) {
    match change {
        Change::Node(_, Some(node)) => cache.put_node(node),
        Change::Node(Some(node), None) => cache.remove_node(&node),
        Change::Pod(_, Some(pod)) => cache.put_pod(pod),
        Change::Pod(Some(pod), None) => cache.remove_pod(&pod),
        Change::NotBound(pod) => {
            cache.forget(&pod);
            let meta = &pod.metadata;
            let place = meta.namespace.as_deref().zip(meta.name.as_deref());
            let present = place.and_then(|(namespace, name)| pods.get(namespace, name));
            if let Some(present) = present.filter(|present| present.metadata.uid == meta.uid) {
                cache.put_pod(present);
            }
        }
        Change::Node(None, None) | Change::Pod(None, None) => {}
    }
}

/// Decides about every waiting pod that something new has been learnt for.
fn schedule(cache: &mut Cache, binder: &Binder) {
    for pod in cache.take_waiting() {
        match plan::choose(&pod, &cache.nodes()) {
            Ok(node) => {
                // Counted at once, so that the next decision sees the room gone; the watch confirms it.
                cache.assume(&pod, &node);
                binder.bind(pod, node);
            }
            Err(unschedulable) => {
                cache.put_back(&pod);
                binder.refuse(&pod, &unschedulable);
            }
        }
    }
}
