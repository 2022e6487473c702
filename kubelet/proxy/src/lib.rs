//! The kube-proxy stand-in: services and endpoint slices to one nftables table.
//!
//! What it leaves to others: pods (it sees services and endpoint slices), and choosing service addresses and ports.

mod apply; // performs: one transaction
mod error; // why not
mod flows; // which UDP flows to forget
mod health; // what load balancers ask
mod plan; // which table, which changes
mod rules; // the rules in it
mod service; // what services and slices mean
mod topology; // which endpoints this node uses
mod watch; // when to look again

pub use error::ProxyError;

use apply::Applier;
use skiff_sys::nft::{Block, Change, Transaction};
use tokio_util::sync::CancellationToken;

/// What the proxy needs to know.
#[derive(Clone)]
pub struct ProxyConfig {
    /// Name of the node, for events and for endpoints that are on this node.
    pub node_name: String,
    /// Where events are written.
    pub client: kube::Client,
    /// Where services and endpoint slices are followed.
    pub caches: skiff_client::Caches,
    /// The nftables table (family ip) that the proxy owns.
    pub table: String,
    /// Pod range of this node: packets from elsewhere to endpoints elsewhere are masqueraded.
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
    let pods = Block::parse(&config.pod_cidr).ok_or_else(|| ProxyError::PodCidr { value: config.pod_cidr.clone() })?;
    let applier = Applier::new(config.table.clone(), pods, config.engine.clone());
    watch::Proxy::new(&config, applier).run(shutdown).await
}

/// Removes `table`; it is fine if there is none.
///
/// # Errors
/// The kernel refuses nftables.
pub fn remove(table: &str) -> Result<(), ProxyError> {
    let changes = vec![Change::EnsureTable, Change::RemoveTable];
    Ok(Transaction { table: table.to_owned(), changes }.commit()?)
}
