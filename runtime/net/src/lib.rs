//! Pod networks: the built-in bridge plugin, CNI execution, address management, host ports.
//!
//! A pod network is asked for with the path of the pod's network namespace; the answer is its addresses. With a CNI
//! configuration list on the node, its plugins are executed (CNI specification 1.1). Without one, the built-in bridge
//! makes a veth pair whose peer is born inside the pod's namespace as `eth0`.
//!
//! What it leaves to others: making and keeping network namespaces, and service addresses (see skiff-proxy).

mod config;
mod error;

pub use config::{Attached, CniConfig, NetConfig, PodNetwork, PortMapping, Protocol};
pub use error::NetError;

/// The networks of all pods of one node. Cheap to clone; clones share the address files and the sockets.
#[derive(Clone, Debug)]
pub struct PodNetworks {
    config: std::sync::Arc<NetConfig>,
}

impl PodNetworks {
    /// Checks `config` and opens the address files; the network itself is made when the first pod is attached.
    ///
    /// # Errors
    /// The pod CIDR, a name or a CNI configuration is not usable, or the state folder cannot be made.
    pub fn new(config: NetConfig) -> Result<Self, NetError> {
        Ok(Self { config: std::sync::Arc::new(config) })
    }

    /// Gives the pod its interface `eth0`, addresses, routes and host ports. Asking again for the same sandbox answers
    /// the same addresses.
    ///
    /// # Errors
    /// No address is left, the namespace is gone, a right is missing, a host port is taken, a plugin failed.
    pub async fn attach(&self, pod: &PodNetwork) -> Result<Attached, NetError> {
        Err(self.unimplemented("attach", &pod.sandbox_id))
    }

    /// Takes away what [`PodNetworks::attach`] gave. Repeating it, or calling it when the namespace is gone, is fine.
    ///
    /// # Errors
    /// The kernel or a plugin refused; everything else was still taken away.
    pub async fn detach(&self, pod: &PodNetwork) -> Result<(), NetError> {
        Err(self.unimplemented("detach", &pod.sandbox_id))
    }

    /// Whether a pod could be attached now: rights, kernel features, CNI configuration.
    ///
    /// # Errors
    /// One sentence for the CRI condition `NetworkReady`.
    pub fn ready(&self) -> Result<(), NetError> {
        Err(self.unimplemented("ready", &self.config.bridge))
    }

    /// Frees the addresses, interfaces and host ports of all sandboxes that are not in `live_sandbox_ids`; for the
    /// start after a crash.
    ///
    /// # Errors
    /// The address files or the kernel refused; the rest was still freed.
    pub async fn retain(&self, live_sandbox_ids: &[String]) -> Result<(), NetError> {
        Err(self.unimplemented("retain", &live_sandbox_ids.join(",")))
    }

    /// Removes the bridge, all interfaces with the prefix, the nftables table and the address files.
    ///
    /// # Errors
    /// The kernel refused; the rest was still removed.
    pub async fn remove_all(&self) -> Result<(), NetError> {
        Err(self.unimplemented("remove_all", &self.config.bridge))
    }

    fn unimplemented(&self, operation: &'static str, operand: &str) -> NetError {
        NetError::Unimplemented { operation, operand: operand.to_owned() }
    }
}
