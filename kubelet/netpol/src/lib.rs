//! Network policies to one nftables table of their own: which connections may reach the pods of this node, and leave them.
//!
//! Pods reach everything through the node, other pods too, so the hook of what passes through sees every packet of theirs but those
//! to and from the node itself, which Kubernetes allows always: probes need no rule.
//!
//! What it leaves to others: services (the proxy has rewritten destinations before a packet comes here) and pods' addresses.

mod enforce; // when to look again, and who waits for it
mod error; // why not
mod plan; // which table, which changes; no I/O
mod pods; // what pods are to policies; no I/O
mod rules; // the rules in it; no I/O
mod select; // who is chosen by a policy; no I/O

pub use enforce::{Enforcer, Gate, enforcer};
pub use error::NetpolError;

use skiff_sys::nft::{Change, Transaction};

/// What the enforcer needs to know.
#[derive(Clone)]
pub struct NetpolConfig {
    /// Policies are enforced for pods on this node.
    pub node_name: String,
    /// Where policies, pods and namespaces are followed.
    pub caches: skiff_client::Caches,
    /// The nftables table (family ip) that it owns.
    pub table: String,
    /// Performs the steps.
    pub engine: skiff_step::Engine,
}

/// Removes `table`; it is fine if there is none.
///
/// # Errors
/// The kernel refuses nftables.
pub fn remove(table: &str) -> Result<(), NetpolError> {
    let changes = vec![Change::EnsureTable, Change::RemoveTable];
    Ok(Transaction { table: table.to_owned(), changes }.commit()?)
}
