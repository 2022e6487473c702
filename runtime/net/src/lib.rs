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

mod asking; // the kernel, for links
mod bridge; // performs: interfaces, addresses, routes, rules
mod chosen; // the pod range that was named since, on disk
mod cni; // what CNI plugins are told
mod config; // what was asked for
mod error; // why not
mod guard; // the nftables table of the bridge itself
mod ipam; // who has which address
mod links; // rtnetlink messages
mod own; // a network namespace for a node in a box, and what joins several
mod plan; // which address, which name
mod plugins; // performs: CNI
mod routes; // to the pods of other nodes
mod rules; // the nftables table

pub use config::{Attached, CniConfig, NetConfig, PodNetwork, PortMapping, Protocol};
pub use error::NetError;
pub use own::{join_hub, prepare_hub, prepare_own};
pub use routes::{NodeRoute, set_node_routes};

use bridge::Bridge;
use chosen::Chosen;
use plugins::Plugins;
use skiff_sys::netlink::{Family, Socket};
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes of an interface name without its terminating zero (`IFNAMSIZ` - 1).
const INTERFACE_NAME_BYTES_MAX: usize = 15;
/// Hex digits after the prefix.
const INTERFACE_SUFFIX_BYTES: usize = 8;
/// Bit of CAP_NET_ADMIN in a capability mask.
const CAP_NET_ADMIN: u32 = 12;

/// The networks of all pods of one node. Cheap to clone; clones share the address files.
#[derive(Clone, Debug)]
pub struct PodNetworks {
    /// Another one when another pod range is named.
    bridge: Arc<RwLock<Arc<Bridge>>>,
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
        let bridge = Bridge::new(Chosen::of(&config.state_dir).apply(config)?)?;
        Ok(Self { bridge: Arc::new(RwLock::new(Arc::new(bridge))), plugins })
    }

    /// Makes the bridge, with its route to the services, and answers the address at which pods reach the node; `None` when CNI
    /// plugins make the network. Its rules wait for [`PodNetworks::prepare`] or the first pod: the kernel takes tens of milliseconds for them.
    ///
    /// # Errors
    /// As [`PodNetworks::attach`].
    pub fn address(&self) -> Result<Option<Ipv4Addr>, NetError> {
        if self.has_plugins()? { Ok(None) } else { self.bridge().address().map(Some) }
    }

    /// Makes what the node needs of its own before the first pod: the bridge, with its route to the services, and the rules. Answers
    /// as [`PodNetworks::address`]. Blocks for a moment.
    ///
    /// # Errors
    /// As [`PodNetworks::attach`].
    pub fn prepare(&self) -> Result<Option<Ipv4Addr>, NetError> {
        if self.has_plugins()? { Ok(None) } else { self.bridge().prepare().map(Some) }
    }

    /// Whether there are CNI plugins now, which make the network of pods.
    fn has_plugins(&self) -> Result<bool, NetError> {
        match &self.plugins {
            Some(plugins) => Ok(plugins.network()?.is_some()),
            None => Ok(false),
        }
    }

    /// Gives pods addresses of `pod_cidr` from now on, as a cluster's control plane tells a node; of several ranges,
    /// separated by commas, the IPv4 one. It is kept for the next start.
    ///
    /// # Errors
    /// It is no such range, or sandboxes have addresses of another one.
    pub async fn use_pod_cidr(&self, pod_cidr: &str) -> Result<(), NetError> {
        let (networks, pod_cidr) = (self.clone(), pod_cidr.to_owned());
        let task = tokio::task::spawn_blocking(move || networks.change_range(&pod_cidr));
        task.await.map_err(|error| NetError::CutOff(error.to_string()))?
    }

    fn change_range(&self, pod_cidr: &str) -> Result<(), NetError> {
        let wanted = pod_cidr.split(',').find(|range| !range.contains(':')).unwrap_or(pod_cidr).trim();
        let range = plan::Range::parse("pod_cidr", wanted)?;
        // Nobody attaches to the old bridge meanwhile: who asks for it waits here.
        let mut bridge = self.bridge.write().unwrap_or_else(PoisonError::into_inner);
        if bridge.range() != range {
            if bridge.sandboxes() > 0 {
                let reason = match bridge.sandboxes() {
                    1 => format!("a sandbox has an address of {}", bridge.range()),
                    count => format!("{count} sandboxes have addresses of {}", bridge.range()),
                };
                return Err(NetError::Config { field: "pod_cidr", value: wanted.to_owned(), reason });
            }
            bridge.remove_all()?;
            let config = NetConfig { pod_cidr: wanted.to_owned(), ..bridge.config().clone() };
            Chosen::of(&config.state_dir).write(wanted)?;
            *bridge = Arc::new(Bridge::new(config)?);
        }
        if self.has_plugins()? { Ok(()) } else { bridge.prepare().map(drop) }
    }

    fn bridge(&self) -> Arc<Bridge> {
        Arc::clone(&self.bridge.read().unwrap_or_else(PoisonError::into_inner))
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
        let (operation, operand) = ("change the pod network on", self.bridge().name().to_owned());
        if !has_net_admin() {
            return Err(NetError::NoRight { operation, operand });
        }
        self.bridge().look_at_guard()?;
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
        first = first.and(self.blocking(&(), |bridge, ()| bridge.remove_all()).await);
        first.and(Chosen::of(&self.bridge().config().state_dir).forget())
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
        let task = tokio::task::spawn_blocking(move || {
            // Held to the end, so that the range does not change under an attachment.
            let bridge = bridge.read().unwrap_or_else(PoisonError::into_inner);
            work(&bridge, &input)
        });
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
