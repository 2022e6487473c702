//! The kube-proxy stand-in: services and endpoint slices to one nftables table.
//!
//! What it leaves to others: pods (it sees services and endpoint slices), and choosing service addresses and ports.

mod error;

pub use error::ProxyError;

use tokio_util::sync::CancellationToken;

/// What the proxy needs to know.
#[derive(Clone)]
pub struct ProxyConfig {
    /// Name of the node, for events and for endpoints that are on this node.
    pub node_name: String,
    /// Where services and endpoint slices are watched.
    pub client: kube::Client,
    /// The nftables table (family ip) that the proxy owns.
    pub table: String,
    /// Pod range of this node: packets to endpoints outside of it are masqueraded.
    pub pod_cidr: String,
    /// Performs the steps.
    pub engine: skiff_step::Engine,
}

/// Keeps the table equal to the services until `shutdown`. At the start the table is replaced in one transaction, and
/// at the end it stays: connections and services survive a restart.
///
/// # Errors
/// The pod range does not parse, or the kernel refuses nftables (rights, modules).
pub async fn run(config: ProxyConfig, shutdown: CancellationToken) -> Result<(), ProxyError> {
    let _ = (config, shutdown);
    Err(ProxyError::Unimplemented("run"))
}

/// Removes `table`; it is fine if there is none.
///
/// # Errors
/// The kernel refuses nftables.
pub fn remove(table: &str) -> Result<(), ProxyError> {
    let _ = table;
    Err(ProxyError::Unimplemented("remove"))
}
