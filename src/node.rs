//! All components, assembled into a node.

mod assemble; // one function per component, in the order in which they need each other
mod clients; // who talks to the API server as whom
mod components; // the tasks, by name
mod dns; // the cluster's DNS server
mod ingress; // requests from outside
mod joining; // what a cluster has to know before nodes join it
mod kubelet; // what a kubelet is told, wherever it runs
mod member; // a node of a cluster whose API server is elsewhere
mod members; // the other nodes of `up --nodes`
mod memory; // given back after a burst
mod publish; // node ports of a box on the host's loopback
mod ranges; // those that would take what means something already
mod reach; // where pods reach the API
mod registry; // images that are served
mod renewed; // certificates were issued again
mod routes; // to the pods of other nodes
mod site; // where it is, and which addresses it gives
mod store; // an API server's store
mod teardown; // undoing all of it
mod trace; // one engine per component
mod watching; // waiting for what a node says

pub(crate) use assemble::{Node, NodeConfig, control};
pub(crate) use dns::Names;
pub(crate) use ingress::{UpIngress, ingress_config};
pub(crate) use joining::{Known as ClusterKnown, make_token};
pub(crate) use kubelet::{NodeSettings, PODS_MAX, PressureDefaults, kubelet_tls, log_limits, pressure_limits};
pub(crate) use member::{Member, MemberConfig, announce};
pub(crate) use members::{GO, Members, member_address, member_name};
pub(crate) use publish::Published;
pub(crate) use ranges::{Ranges, host_networks};
pub(crate) use reach::Reach;
pub(crate) use registry::{UpRegistry, open_registry, read_registry_config, run_registry, tls_acceptor};
pub(crate) use renewed::{hand_over, present_kubelet};
pub(crate) use routes::pod_range;
pub(crate) use site::{Place, Site, check_ranges};
pub(crate) use store::{OpenStore, client_tls, look_at_store, open_backend, open_store, read};
pub(crate) use teardown::{Undone, remove_folder};
pub(crate) use trace::engine;

use nix::net::if_::InterfaceFlags;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The address of a node in a box. No route leads to it from outside; it only has to be local (for node ports) and not a
/// pod's or a service's.
pub(crate) const BOX_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 1);
/// The bridge that pods hang on.
pub(crate) const BRIDGE: &str = "skiff0";
/// Start of the names of the node's ends of veth pairs.
pub(crate) const INTERFACE_PREFIX: &str = "skiff";
/// nftables table of the pod network.
pub(crate) const NET_TABLE: &str = "skiff";
/// nftables table of the service proxy.
pub(crate) const PROXY_TABLE: &str = "skiff-proxy";
/// nftables table of network policies.
pub(crate) const POLICY_TABLE: &str = "skiff-policy";
/// Node ports.
pub(crate) const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// The address this host shows to others: the source of its default route, or else the first one that an interface has.
/// Connecting a UDP socket asks the routing table and sends nothing; the address is from TEST-NET-1 (RFC 5737).
pub(crate) fn host_address() -> Option<IpAddr> {
    let probe = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    probe().ok().or_else(first_address)
}

/// Of an interface that is on and leads out, not of our own bridge.
fn first_address() -> Option<IpAddr> {
    let all = nix::ifaddrs::getifaddrs().ok()?;
    let leads_out =
        |flags: InterfaceFlags| flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK);
    let usable = all.filter(|one| leads_out(one.flags) && one.interface_name != BRIDGE);
    let mut addresses = usable.filter_map(|one| Some(one.address?.as_sockaddr_in()?.ip()));
    addresses.find(|address| !address.is_link_local()).map(IpAddr::V4)
}

/// The host's name as a node's name: lower case, at most 63 characters of a DNS label.
pub(crate) fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let mut name: String =
        name.to_lowercase().chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
    name.truncate(63);
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "node".to_owned() } else { name.to_owned() }
}
