//! What every request handler can reach.

use crate::aggregation::Aggregation;
use crate::audit::Auditor;
use crate::caller::Callers;
use crate::fairness::Fairness;
use crate::kubelet::Kubelets;
use crate::metrics::Metrics;
use crate::registry::Registry;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

pub(crate) struct App {
    pub(crate) registry: Registry,
    pub(crate) callers: Callers,
    pub(crate) kubelets: Kubelets,
    pub(crate) aggregation: Aggregation,
    pub(crate) metrics: Metrics,
    /// Who records; empty: nobody.
    pub(crate) auditor: OnceLock<Arc<Auditor>>,
    /// Who goes first.
    pub(crate) fairness: Arc<Fairness>,
    pub(crate) advertise: SocketAddr,
    /// Cancelled when the server stops: watches end.
    pub(crate) stopping: CancellationToken,
}
