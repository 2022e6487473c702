//! The range of the node's pods, from the node object to the runtime.
//!
//! In a cluster the control plane allocates `spec.podCIDR`, often after the node was registered.

use crate::config::KubeletConfig;
use crate::cri::{Cri, said};
use k8s_openapi::api::core::v1::Node;
use skiff_client::Caches;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long after the runtime refused a range it is told again: sandboxes of another range have to go first.
const RETRY: Duration = Duration::from_secs(10);

/// What the runtime has to be told.
pub(crate) struct PodRange {
    name: String,
    cri: Cri,
    known: Option<String>,
}

impl PodRange {
    /// For `node` as it was registered.
    pub(crate) fn new(config: &KubeletConfig, cri: &Cri, node: &Node) -> Self {
        let known = of(node).or_else(|| config.pod_cidr.fallback().map(str::to_owned));
        Self { name: config.node_name.clone(), cri: cri.clone(), known: known.filter(|range| !range.is_empty()) }
    }

    /// Tells the runtime the range, if there is one; a runtime that has its own configuration need not take it.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) async fn announce(&self) -> Result<(), tonic::Status> {
        let Some(range) = &self.known else { return Ok(()) };
        match self.cri.set_pod_cidr(range).await {
            Err(status) if status.code() == tonic::Code::Unimplemented => {
                tracing::debug!("the runtime has its own pod network configuration");
                Ok(())
            }
            result => result,
        }
    }

    /// Tells the runtime whenever the node object names another range. Runs for ever.
    pub(crate) async fn follow(mut self, caches: Caches) {
        let node = caches.one::<Node>(None, &self.name);
        let changed = Arc::new(Notify::new());
        let told = changed.clone();
        let _subscription = node.subscribe(move |_| told.notify_one());
        loop {
            changed.notified().await;
            self.take(node.get("", &self.name).as_deref().and_then(of)).await;
        }
    }

    async fn take(&mut self, named: Option<String>) {
        if named.is_none() || named == self.known {
            return;
        }
        self.known = named;
        while let Err(status) = self.announce().await {
            tracing::warn!(error = said(&status), range = self.known, "the runtime does not take the pod range");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// The ranges that a node object names, as the runtime is told them: separated by commas.
fn of(node: &Node) -> Option<String> {
    let spec = node.spec.as_ref()?;
    let all = spec.pod_cidrs.clone().filter(|ranges| !ranges.is_empty());
    let all = all.or_else(|| spec.pod_cidr.clone().map(|range| vec![range]))?;
    Some(all.join(",")).filter(|text| !text.is_empty())
}
