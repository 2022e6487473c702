//! Watches over nodes: taints what is not fit for pods, takes the taints off again, and says of a node that has been silent for
//! too long that nothing is known of it.
//!
//! A node speaks by its lease and by its status. When it last spoke is measured by our own clock, from when we saw a change:
//! clocks of nodes may differ.
//!
//! Left to others: the pods of a node with such taints (`taint_eviction`). Until they are removed they keep the conditions that
//! their kubelet last wrote.

mod plan;

use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, is_status};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use skiff_client::Cache;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often silence is looked for (kube-controller-manager `--node-monitor-period`).
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LEASES: &str = "kube-node-lease";

enum Change {
    Node(String),
    Lease(String),
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let (nodes, leases) = (context.caches.all::<Node>(), context.caches.all::<Lease>());
    let (tell, mut changes) = mpsc::unbounded_channel();
    let told = tell.clone();
    let of_nodes = nodes.subscribe(move |change| {
        // The receiver lives as long as the subscription.
        let _over = told.send(Change::Node(change.meta().name.clone().unwrap_or_default()));
    });
    let of_leases = leases.subscribe(move |change| {
        let meta = change.meta();
        if meta.namespace.as_deref() == Some(LEASES) {
            let _over = tell.send(Change::Lease(meta.name.clone().unwrap_or_default()));
        }
    });
    let mut keeper = Keeper { context, nodes, leases, known: HashMap::new() };
    let mut tick = tokio::time::interval(LOOK_AGAIN);
    loop {
        let names = tokio::select! {
            () = shutdown.cancelled() => break,
            _ = tick.tick() => keeper.known.keys().cloned().collect(),
            Some(change) = changes.recv() => keeper.note(change).into_iter().collect::<Vec<_>>(),
        };
        for name in names {
            if let Err(error) = keeper.look_at(&name).await {
                tracing::warn!(node = %name, error = skiff_client::sentence(&error), "watch over a node");
            }
        }
    }
    drop((of_nodes, of_leases));
}

/// A node, and when it last spoke.
struct Known {
    node: Arc<Node>,
    said: (Option<Timestamp>, Option<Timestamp>),
    at: Instant,
    ready: bool,
}

struct Keeper {
    context: Context,
    nodes: Cache<Node>,
    leases: Cache<Lease>,
    known: HashMap<String, Known>,
}

impl Keeper {
    /// Takes a change in; answers which node to look at.
    fn note(&mut self, change: Change) -> Option<String> {
        match change {
            Change::Lease(name) => {
                self.hear(&name);
                None
            }
            Change::Node(name) => {
                let Some(node) = self.nodes.get("", &name) else {
                    self.known.remove(&name);
                    return None;
                };
                let new = || Known { node: node.clone(), said: (None, None), at: Instant::now(), ready: false };
                let known = self.known.entry(name.clone()).or_insert_with(new);
                // What we wrote last is newer than the events before it.
                if version(&node) >= version(&known.node) || node.uid() != known.node.uid() {
                    known.node = node;
                }
                self.hear(&name);
                Some(name)
            }
        }
    }

    /// Remembers that a node spoke, if it did.
    fn hear(&mut self, name: &str) {
        let Some(known) = self.known.get_mut(name) else { return };
        let lease = self.leases.get(LEASES, name);
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let said = (plan::heartbeat(&known.node), renewed);
        if said != known.said {
            known.said = said;
            known.at = Instant::now();
        }
    }

    async fn look_at(&mut self, name: &str) -> Result<(), ControllerError> {
        let Some(known) = self.known.get_mut(name) else { return Ok(()) };
        let api: Api<Node> = Api::all(self.context.client.clone());
        if known.at.elapsed() >= plan::GRACE
            && let Some(conditions) = plan::unknown(&known.node, Timestamp::now())
        {
            let patch = Patch::Strategic(json!({"status": {"conditions": conditions}}));
            let said = api.patch_status(name, &PatchParams::default(), &patch).await;
            let Some(node) = absent_is_none(said).on(|| format!("write that node {name} is silent"))? else {
                return Ok(());
            };
            known.node = Arc::new(node);
        }
        let (was, is) = (known.ready, plan::is_ready(&known.node));
        if let Some(taints) = plan::taints(&known.node, Timestamp::now()) {
            let version = known.node.resource_version();
            let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}}));
            match api.patch(name, &PatchParams::default(), &patch).await {
                Ok(node) => known.node = Arc::new(node),
                // It changed or went under us: its own event brings us back.
                Err(error) if is_status(&error, 409) || is_status(&error, 404) => return Ok(()),
                Err(error) => return Err(error).on(|| format!("write taints of node {name}")),
            }
        }
        known.ready = is;
        if was && !is {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.context.tell(&*known.node, EventKind::Normal, "NodeNotReady", message);
        }
        Ok(())
    }
}

/// Versions of one resource compare as numbers (KEP-5504).
fn version(node: &Node) -> u64 {
    node.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}
