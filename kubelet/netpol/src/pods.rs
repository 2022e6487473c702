//! What pods are to policies: labels, addresses and the names of their ports. No I/O.

use k8s_openapi::api::core::v1::{Container, Pod};
use skiff_sys::nft::Transport;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Labels, as selectors read them.
pub(crate) type Labels = BTreeMap<String, String>;

/// A pod with an address of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodFacts {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// Whether it is on this node.
    pub(crate) is_here: bool,
    /// Ports that have names.
    pub(crate) ports: Vec<(String, Transport, u16)>,
}

impl PodFacts {
    /// A pod of the API; `None` if it has the node's network, no address, or has ended.
    pub(crate) fn of(pod: &Pod, node: &str) -> Option<Self> {
        let status = pod.status.as_ref()?;
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let listed = status.pod_ips.iter().flatten().map(|one| one.ip.as_str());
        let addresses: Vec<&str> = listed.chain(status.pod_ip.as_deref()).collect();
        Self::at(pod, node, &addresses)
    }

    /// A pod with these addresses, which its status may not show yet.
    pub(crate) fn at(pod: &Pod, node: &str, addresses: &[&str]) -> Option<Self> {
        let (spec, meta) = (pod.spec.as_ref()?, &pod.metadata);
        let mut addresses: Vec<Ipv4Addr> = addresses.iter().filter_map(|text| text.parse().ok()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if spec.host_network == Some(true) || addresses.is_empty() {
            return None;
        }
        let sidecars = spec.init_containers.iter().flatten().filter(|one| one.restart_policy.is_some());
        Some(Self {
            uid: meta.uid.clone()?,
            namespace: meta.namespace.clone()?,
            labels: meta.labels.clone().unwrap_or_default(),
            addresses,
            is_here: spec.node_name.as_deref() == Some(node),
            ports: spec.containers.iter().chain(sidecars).flat_map(named_ports).collect(),
        })
    }
}

fn named_ports(container: &Container) -> Vec<(String, Transport, u16)> {
    let ports = container.ports.iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.container_port).ok()?;
        Some((port.name.clone()?, Transport::named(port.protocol.as_deref().unwrap_or("TCP"))?, number))
    });
    ports.collect()
}
