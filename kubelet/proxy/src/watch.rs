//! Follows services and endpoint slices, and applies what they say whenever they change.

use crate::apply::Applier;
use crate::health::HealthChecks;
use crate::service::{self, Read, Warning};
use crate::topology::Here;
use crate::{ProxyConfig, ProxyError};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use skiff_client::{Cache, EventKind, Subscription, event_about, record};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often we look whether the table is still there. A foreign `nft flush ruleset` is repaired within this time.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How long we wait after a refusal of the kernel.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The label of a node that says where it is.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Who events are from.
const REPORTER: &str = "skiff-proxy";

/// What is followed, and who applies it.
pub(crate) struct Proxy {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    node_name: String,
    /// Of this node it counts where it is; nobody waits for them.
    nodes: Cache<Node>,
    health: HealthChecks,
    changed: Arc<Notify>,
    _subscriptions: (Subscription, Subscription, Subscription),
    applier: Option<Applier>,
    client: Client,
    warned: BTreeSet<Warning>,
}

impl Proxy {
    pub(crate) fn new(config: &ProxyConfig, applier: Applier) -> Self {
        let (services, slices) = (config.caches.all::<Service>(), config.caches.all::<EndpointSlice>());
        let changed = Arc::new(Notify::new());
        let nodes = config.caches.all::<Node>();
        let [of_services, of_slices, of_nodes] = [(); 3].map(|()| Arc::clone(&changed));
        let own = config.node_name.clone();
        let subscriptions = (
            services.subscribe(move |_| of_services.notify_one()),
            slices.subscribe(move |_| of_slices.notify_one()),
            nodes.subscribe(move |change| {
                let zone = |node: Option<&Arc<Node>>| node.and_then(|node| zone(node));
                if change.meta().name.as_deref() == Some(&own) && zone(change.before) != zone(change.now) {
                    of_nodes.notify_one();
                }
            }),
        );
        Self {
            services,
            slices,
            node_name: config.node_name.clone(),
            nodes,
            health: HealthChecks::default(),
            changed,
            _subscriptions: subscriptions,
            applier: Some(applier),
            client: config.client.clone(),
            warned: BTreeSet::new(),
        }
    }

    /// Until `shutdown`. The first refusal of the kernel ends it, if nothing was applied before.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), ProxyError> {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _both = futures::future::join(self.services.synced(), self.slices.synced()) => {}
        }
        let mut applied = false;
        loop {
            match self.apply().await {
                Ok(()) => applied = true,
                Err(error) if !applied => return Err(error),
                Err(error) => {
                    let error = skiff_client::sentence(&error);
                    tracing::warn!(error, "cannot bring the rules up to date; trying again");
                    tokio::time::sleep(RETRY_DELAY).await;
                    self.changed.notify_one();
                }
            }
            // What changes while a change is applied is one change for us.
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.changed.notified() => {}
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
        }
    }

    async fn apply(&mut self) -> Result<(), ProxyError> {
        let Read { ports, health, warnings } = self.read();
        let Some(mut applier) = self.applier.take() else {
            return Err(ProxyError::CutOff("an earlier change panicked".to_owned()));
        };
        let work = move || {
            let result = applier.check(&ports);
            (applier, result)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (applier, result) = done.map_err(|error| ProxyError::CutOff(error.to_string()))?;
        self.applier = Some(applier);
        result?;
        self.health.serve(health).await;
        self.publish(warnings);
        Ok(())
    }

    fn read(&self) -> Read {
        let (services, slices) = (self.services.all(), self.slices.all());
        let zone = self.nodes.get("", &self.node_name).and_then(|node| zone(&node));
        let here = Here { node: self.node_name.clone(), zone };
        service::read(services.iter().map(AsRef::as_ref), slices.iter().map(AsRef::as_ref), &here)
    }

    /// Says each warning once, as an event of the service (core/v1: the API server has no `events.k8s.io`).
    fn publish(&mut self, warnings: BTreeSet<Warning>) {
        for warning in warnings.difference(&self.warned) {
            let Warning { namespace, service, message } = warning;
            tracing::warn!(service = %format!("{namespace}/{service}"), "{message}");
            if let Some(service) = self.services.get(namespace, service) {
                let (kind, reason) = (EventKind::Warning, "ServiceNotFullyProxied");
                record(&self.client, event_about(&*service, REPORTER, kind, reason, message.clone()));
            }
        }
        self.warned = warnings;
    }
}

/// Where a node is.
fn zone(node: &Node) -> Option<String> {
    node.metadata.labels.as_ref()?.get(ZONE).cloned()
}
