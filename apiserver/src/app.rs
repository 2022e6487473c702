//! What every request handler can reach.

use crate::aggregation::Aggregation;
use crate::caller::Callers;
use crate::kubelet::Kubelets;
use crate::registry::Registry;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

pub(crate) struct App {
    pub(crate) registry: Registry,
    pub(crate) callers: Callers,
    pub(crate) kubelets: Kubelets,
    pub(crate) aggregation: Aggregation,
    pub(crate) advertise: SocketAddr,
    /// Cancelled when the server stops: watches end.
    pub(crate) stopping: CancellationToken,
}
