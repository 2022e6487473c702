//! Pod networks: the built-in bridge plugin, CNI execution, address management, host ports.
//!
//! A pod network is asked for with the path of the pod's network namespace; the answer is its addresses. With a CNI
//! configuration on the node, its plugins are executed (CNI specification 1.1.0). Without one, the built-in bridge makes
//! a veth pair whose peer is born inside the pod's namespace as `eth0`.
//!
//! Everything happens in the network namespace of the calling thread. Nothing is held in memory that the address files
//! and the kernel do not also know, so a crash needs [`PodNetworks::retain`] and nothing else.
//!
//! What it leaves to others: making and keeping network namespaces, and service addresses (see skiff-proxy).

mod bridge; // performs: interfaces, addresses, routes, rules
mod cni; // what CNI plugins are told
mod config; // what was asked for
mod error; // why not
mod ipam; // who has which address
mod links; // rtnetlink messages
mod own; // a network namespace for a node in a box
mod plan; // which address, which name
mod plugins; // performs: CNI
mod rules; // the nftables table

pub use config::{Attached, CniConfig, NetConfig, PodNetwork, PortMapping, Protocol};
pub use error::NetError;
pub use own::prepare_own;

use bridge::Bridge;
use plugins::Plugins;
use skiff_sys::netlink::{Family, Socket};
use std::sync::Arc;

/// Bytes of an interface name without its terminating zero (`IFNAMSIZ` - 1).
const INTERFACE_NAME_BYTES_MAX: usize = 15;
/// Hex digits after the prefix.
const INTERFACE_SUFFIX_BYTES: usize = 8;
/// Bit of CAP_NET_ADMIN in a capability mask.
const CAP_NET_ADMIN: u32 = 12;

/// The networks of all pods of one node. Cheap to clone; clones share the address files.
#[derive(Clone, Debug)]
pub struct PodNetworks {
    bridge: Arc<Bridge>,
    plugins: Option<Arc<Plugins>>,
}

impl PodNetworks {
    /// Checks `config` and reads the address files; the network itself is made when the first pod is attached.
    ///
    /// # Errors
    /// The pod CIDR, a name or a CNI configuration is not usable, or the state folder cannot be made or read.
    pub fn new(config: NetConfig) -> Result<Self, NetError> {
        check_name("bridge", &config.bridge, INTERFACE_NAME_BYTES_MAX)?;
        let prefix_max = INTERFACE_NAME_BYTES_MAX - INTERFACE_SUFFIX_BYTES;
        check_name("interface_prefix", &config.interface_prefix, prefix_max)?;
        let folder = config.state_dir.join("cni");
        let plugins = match &config.cni {
            Some(cni) => Some(Arc::new(Plugins::new(cni.clone(), folder, config.engine.clone())?)),
            None => None,
        };
        Ok(Self { bridge: Arc::new(Bridge::new(config)?), plugins })
    }

    /// Gives the pod its interface `eth0`, addresses, routes and host ports, and brings its loopback up. Asking again for
    /// the same sandbox answers the same addresses.
    ///
    /// # Errors
    /// No address is left, the namespace is gone, a right is missing, a host port is taken, a plugin failed. Then the
    /// pod has nothing of it.
    pub async fn attach(&self, pod: &PodNetwork) -> Result<Attached, NetError> {
        if let Some(plugins) = &self.plugins
            && let Some(network) = plugins.network()?
        {
            self.blocking(pod, |_, pod| bridge::loopback_up(pod)).await?;
            return plugins.attach(pod, network).await;
        }
        self.blocking(pod, |bridge, pod| bridge.attach(pod)).await
    }

    /// Takes away what [`PodNetworks::attach`] gave. Repeating it, or calling it when the namespace is gone, is fine.
    ///
    /// # Errors
    /// The kernel or a plugin refused; detach again.
    pub async fn detach(&self, pod: &PodNetwork) -> Result<(), NetError> {
        if let Some(plugins) = &self.plugins {
            plugins.detach(&pod.sandbox_id).await?;
        }
        self.blocking(pod, |bridge, pod| bridge.detach(pod)).await
    }

    /// Whether a pod could be attached now: rights, and the CNI configuration if there is one.
    ///
    /// # Errors
    /// One sentence for the CRI condition `NetworkReady`.
    pub fn ready(&self) -> Result<(), NetError> {
        if let Some(plugins) = &self.plugins {
            plugins.network()?;
        }
        let (operation, operand) = ("change the pod network on", self.bridge.name().to_owned());
        if !has_net_admin() {
            return Err(NetError::NoRight { operation, operand });
        }
        let opened = Socket::open(Family::Netfilter).map(drop);
        opened.map_err(|error| NetError::kernel("open netfilter socket for", operand)(error.into()))
    }

    /// Frees the addresses, interfaces and host ports of all sandboxes that are not in `live_sandbox_ids`; for the start
    /// after a crash.
    ///
    /// # Errors
    /// The first refusal of a file, a plugin or the kernel; the rest was still freed.
    pub async fn retain(&self, live_sandbox_ids: &[String]) -> Result<(), NetError> {
        let mut first = Ok(());
        if let Some(plugins) = &self.plugins {
            for sandbox in plugins.sandboxes()? {
                if !live_sandbox_ids.contains(&sandbox) {
                    first = first.and(plugins.detach(&sandbox).await);
                }
            }
        }
        let live = live_sandbox_ids.to_vec();
        first.and(self.blocking(&live, |bridge, live| bridge.retain(live)).await)
    }

    /// Removes the bridge, all interfaces with the prefix, the nftables table and the address files.
    ///
    /// # Errors
    /// The first refusal of the kernel; the rest was still removed.
    pub async fn remove_all(&self) -> Result<(), NetError> {
        let mut first = Ok(());
        if let Some(plugins) = &self.plugins {
            for sandbox in plugins.sandboxes()? {
                first = first.and(plugins.detach(&sandbox).await);
            }
        }
        first.and(self.blocking(&(), |bridge, ()| bridge.remove_all()).await)
    }

    /// Performs `work` on a thread that may wait for the kernel.
    async fn blocking<I, O>(
        &self,
        input: &I,
        work: impl FnOnce(&Bridge, &I) -> Result<O, NetError> + Send + 'static,
    ) -> Result<O, NetError>
    where
        I: Clone + Send + 'static,
        O: Send + 'static,
    {
        let (bridge, input) = (Arc::clone(&self.bridge), input.clone());
        let task = tokio::task::spawn_blocking(move || work(&bridge, &input));
        task.await.map_err(|error| NetError::CutOff(error.to_string()))?
    }
}

fn check_name(field: &'static str, name: &str, bytes_max: usize) -> Result<(), NetError> {
    let fits = (1..=bytes_max).contains(&name.len());
    if fits && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Ok(());
    }
    let reason = format!("it has to be 1 to {bytes_max} letters, digits, - or _");
    Err(NetError::Config { field, value: name.to_owned(), reason })
}

/// Whether this thread has CAP_NET_ADMIN (proc(5), `CapEff`).
fn has_net_admin() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> CAP_NET_ADMIN & 1 == 1)
}
