//! Watches over nodes: taints what is not fit for pods, takes the taints off again, and says of a node that has been silent for
//! too long that nothing is known of it.
//!
//! A node speaks by its lease and by its status. When it last spoke is measured by our own clock, from when we saw a change:
//! clocks of nodes may differ.
//!
//! Left out: pods. Those of a node that is not ready stay where they are, with the conditions that its kubelet last wrote, until
//! somebody deletes them.

mod plan;

use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, is_status};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often silence is looked for (kube-controller-manager `--node-monitor-period`).
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LEASES: &str = "kube-node-lease";

enum Change {
    Node(Box<watcher::Event<Node>>),
    Lease(Box<watcher::Event<Lease>>),
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let leases: Api<Lease> = context.api(LEASES);
    let nodes = watcher(nodes, watcher::Config::default()).default_backoff();
    let leases = watcher(leases, watcher::Config::default()).default_backoff();
    let nodes = nodes.map_ok(|event| Change::Node(Box::new(event)));
    let leases = leases.map_ok(|event| Change::Lease(Box::new(event)));
    let mut changes = futures::stream::select(nodes, leases).boxed();
    let mut keeper = Keeper { context, nodes: HashMap::new(), renewed: HashMap::new() };
    let mut tick = tokio::time::interval(LOOK_AGAIN);
    loop {
        let names = tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => keeper.nodes.keys().cloned().collect(),
            change = changes.next() => match change {
                None => return,
                Some(Ok(change)) => keeper.note(change),
                Some(Err(error)) => {
                    tracing::debug!(error = skiff_client::sentence(&error), "watch over nodes");
                    Vec::new()
                }
            },
        };
        for name in names {
            if let Err(error) = keeper.look_at(&name).await {
                tracing::warn!(node = %name, error = skiff_client::sentence(&error), "watch over a node");
            }
        }
    }
}

/// A node, and when it last spoke.
struct Known {
    node: Node,
    said: (Option<Timestamp>, Option<Timestamp>),
    at: Instant,
    ready: bool,
}

struct Keeper {
    context: Context,
    nodes: HashMap<String, Known>,
    /// When each node last renewed its lease, by its own clock.
    renewed: HashMap<String, Timestamp>,
}

impl Keeper {
    /// Takes a change in; answers which nodes to look at.
    fn note(&mut self, change: Change) -> Vec<String> {
        match change {
            Change::Lease(event) => {
                if let watcher::Event::Apply(lease) | watcher::Event::InitApply(lease) = *event {
                    let time = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
                    self.renewed.extend(time.map(|time| (lease.name_any(), time.0)));
                    self.hear(&lease.name_any());
                }
                Vec::new()
            }
            Change::Node(event) => match *event {
                watcher::Event::Apply(node) | watcher::Event::InitApply(node) => {
                    let name = node.name_any();
                    let new = || Known { node: node.clone(), said: (None, None), at: Instant::now(), ready: false };
                    self.nodes.entry(name.clone()).or_insert_with(new).node = node.clone();
                    self.hear(&name);
                    vec![name]
                }
                watcher::Event::Delete(node) => {
                    self.nodes.remove(&node.name_any());
                    Vec::new()
                }
                watcher::Event::Init | watcher::Event::InitDone => Vec::new(),
            },
        }
    }

    /// Remembers that a node spoke, if it did.
    fn hear(&mut self, name: &str) {
        let Some(known) = self.nodes.get_mut(name) else { return };
        let said = (plan::heartbeat(&known.node), self.renewed.get(name).copied());
        if said != known.said {
            known.said = said;
            known.at = Instant::now();
        }
    }

    async fn look_at(&mut self, name: &str) -> Result<(), ControllerError> {
        let Some(known) = self.nodes.get_mut(name) else { return Ok(()) };
        let api: Api<Node> = Api::all(self.context.client.clone());
        if known.at.elapsed() >= plan::GRACE
            && let Some(conditions) = plan::unknown(&known.node, Timestamp::now())
        {
            let patch = Patch::Strategic(json!({"status": {"conditions": conditions}}));
            let said = api.patch_status(name, &PatchParams::default(), &patch).await;
            let Some(node) = absent_is_none(said).on(|| format!("write that node {name} is silent"))? else {
                return Ok(());
            };
            known.node = node;
        }
        let (was, is) = (known.ready, plan::is_ready(&known.node));
        if let Some(taints) = plan::taints(&known.node, Timestamp::now()) {
            let version = known.node.resource_version();
            let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}}));
            match api.patch(name, &PatchParams::default(), &patch).await {
                Ok(node) => known.node = node,
                // It changed or went under us: its own event brings us back.
                Err(error) if is_status(&error, 409) || is_status(&error, 404) => return Ok(()),
                Err(error) => return Err(error).on(|| format!("write taints of node {name}")),
            }
        }
        known.ready = is;
        if was && !is {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.context.tell(&known.node, EventKind::Normal, "NodeNotReady", message);
        }
        Ok(())
    }
}
