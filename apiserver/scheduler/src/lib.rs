//! Binds pods to nodes: filter, score, bind.
//!
//! Two watches feed it: the nodes, and the pods. A pod without a node is looked at when it appears, and again when a node
//! changes or a pod leaves, never by polling. The decision is a pure function ([`plan`]); binding is one POST.
//!
//! Left to others: preemption, volumes, several profiles. Never here: the store, or a node's inside.

mod bind; // writes the decision: a Binding, or the reason why there is none
mod cache; // what is known of nodes and of the pods on them
mod plan; // which node, and why not the others; no I/O

use bind::Binder;
use cache::Cache;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use skiff_step::Engine;
use tokio_util::sync::CancellationToken;

/// Pods name their scheduler in spec.schedulerName; this is ours, and the default.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// Schedules against the API server behind `client` until `shutdown`.
pub async fn run(client: Client, engine: Engine, shutdown: CancellationToken) {
    let nodes = watcher(Api::<Node>::all(client.clone()), watcher::Config::default()).default_backoff();
    let pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()).default_backoff();
    let mut changes = futures::stream::select(nodes.map_ok(Change::Node), pods.map_ok(Change::Pod)).boxed();
    let binder = Binder::new(client, engine);
    let mut cache = Cache::default();
    loop {
        let change = tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.next() => change,
        };
        match change {
            None => return,
            Some(Ok(change)) => {
                note(&mut cache, change);
                schedule(&mut cache, &binder);
            }
            Some(Err(error)) => tracing::debug!(error = skiff_client::sentence(&error), "scheduler's watch"),
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "one value at a time, on its way from the watch to the cache")]
enum Change {
    Node(watcher::Event<Node>),
    Pod(watcher::Event<Pod>),
}

fn note(cache: &mut Cache, change: Change) {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    match change {
        Change::Node(Apply(node) | InitApply(node)) => cache.put_node(node),
        Change::Node(Delete(node)) => cache.remove_node(&node),
        Change::Pod(Apply(pod) | InitApply(pod)) => cache.put_pod(pod),
        Change::Pod(Delete(pod)) => cache.remove_pod(&pod),
        Change::Node(Init) => cache.forget_nodes(),
        Change::Pod(Init) => cache.forget_pods(),
        Change::Node(InitDone) | Change::Pod(InitDone) => {}
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
