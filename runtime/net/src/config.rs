//! The words of the interface: what a pod network is asked for with, and what it answers.

use crate::NetError;
use serde::{Deserialize, Serialize};
use skiff_step::Engine;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How the pod networks of this node are made.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// Address files and host ports: they must survive a restart of skiff, not of the machine.
    pub state_dir: PathBuf,
    /// IPv4 range of the node's pods, such as `10.244.0.0/24`; its first address is the bridge's.
    pub pod_cidr: String,
    /// IPv4 range of the pods of all nodes: what goes there keeps the pod's address. `None`: there are no other nodes.
    pub cluster_cidr: Option<String>,
    /// Range of the service addresses. The bridge gets a route to it, so that the node reaches services even when it
    /// has no default route (a node in a box); routing happens before the proxy's rules see a local packet.
    pub service_cidr: Option<String>,
    /// Name of the bridge, at most 15 characters.
    pub bridge: String,
    /// Start of the names of the node's ends of veth pairs, at most 7 characters; 8 hex digits follow.
    pub interface_prefix: String,
    /// Where CNI configuration and plugins may be; the built-in bridge is used when there is no configuration list.
    pub cni: Option<CniConfig>,
    /// Whether packets from pods to whatever is no pod leave with the node's address.
    pub masquerade: bool,
    /// The nftables table (family ip) for masquerading and host ports.
    pub table: String,
    /// Performs the steps.
    pub engine: Engine,
}

/// Folders of CNI.
#[derive(Debug, Clone)]
pub struct CniConfig {
    /// Holds `*.conflist`, `*.conf` and `*.json`; the first by name is used. Usually `/etc/cni/net.d`.
    pub conf_dir: PathBuf,
    /// Searched for plugins in this order. Usually `/opt/cni/bin`.
    pub bin_dirs: Vec<PathBuf>,
}

/// The pod to be attached or detached.
#[derive(Debug, Clone)]
pub struct PodNetwork {
    /// Identifies the attachment; CNI's container id.
    pub sandbox_id: String,
    /// Kubernetes namespace, for CNI arguments and traces.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Pod uid.
    pub uid: String,
    /// The pod's network namespace: `/proc/<pid>/ns/net` or a bind mount of it.
    pub netns: PathBuf,
    /// Ports of the node that lead to this pod.
    pub port_mappings: Vec<PortMapping>,
}

/// One port of the node that leads to a port of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port in the pod, not 0.
    pub container_port: u16,
    /// Port on the node, not 0.
    pub host_port: u16,
    /// Only for packets to this address of the node; all of its addresses when absent.
    pub host_ip: Option<IpAddr>,
}

/// Transport protocols that have ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// Protocol 6.
    Tcp,
    /// Protocol 17.
    Udp,
    /// Protocol 132.
    Sctp,
}

impl Protocol {
    /// Protocol number in the IP header (IANA).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// Makes a folder that only its owner may enter, with the ones above it.
pub(crate) fn make_folder(folder: &Path) -> Result<(), NetError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(NetError::file("create folder", folder))
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

impl PortMapping {
    /// Why it cannot be made, if so.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self.host_ip {
            _ if self.host_port == 0 || self.container_port == 0 => Some("a port is 1 to 65535"),
            Some(IpAddr::V6(_)) => Some("pods have no IPv6 address"),
            _ => None,
        }
    }

    /// The address of the node that it is bound to; all of them when absent (`0.0.0.0` means the same).
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        match self.host_ip {
            Some(IpAddr::V4(address)) if !address.is_unspecified() => Some(address),
            _ => None,
        }
    }

    /// Whether some packet would belong to both.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        let same_port = self.protocol == other.protocol && self.host_port == other.host_port;
        let both = self.address().zip(other.address());
        same_port && both.is_none_or(|(one, two)| one == two)
    }
}

/// What a pod got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The pod's addresses, the primary one first.
    pub ips: Vec<IpAddr>,
}
