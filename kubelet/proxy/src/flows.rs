//! Decides which UDP flows the kernel has to forget: those that still lead to an endpoint that is gone, and those that
//! began before there was a rule. TCP needs none of this: a broken connection ends, and the next one is new.

use crate::service::Port;
use skiff_sys::nft::Transport;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

/// Where UDP may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flows {
    addresses: BTreeMap<SocketAddrV4, BTreeSet<SocketAddrV4>>,
    node_ports: BTreeMap<u16, BTreeSet<SocketAddrV4>>,
}

impl Flows {
    /// As the services say.
    pub(crate) fn of(ports: &[Port]) -> Self {
        let mut flows = Self::default();
        for port in ports.iter().filter(|port| port.protocol == Transport::Udp) {
            for at in &port.cluster {
                flows.addresses.entry(*at).or_insert_with(|| port.internal.endpoints.clone());
            }
            let outside = port.outside.iter().flat_map(|outside| &outside.endpoints);
            let others: BTreeSet<_> = outside.chain(&port.inside.endpoints).copied().collect();
            for at in port.external.iter().chain(&port.balancer) {
                flows.addresses.entry(*at).or_insert_with(|| others.clone());
            }
            if let Some(number) = port.node_port {
                flows.node_ports.entry(number).or_insert_with(|| others.clone());
            }
        }
        flows
    }

    /// The same, and what was served before leads nowhere.
    pub(crate) fn since(&self, old: &Self) -> Self {
        let mut flows = self.clone();
        for at in old.addresses.keys() {
            flows.addresses.entry(*at).or_default();
        }
        for number in old.node_ports.keys() {
            flows.node_ports.entry(*number).or_default();
        }
        flows
    }

    /// Whether nothing is served.
    pub(crate) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.node_ports.is_empty()
    }

    /// Whether a flow to `to`, answered by `answered_by`, leads where nothing leads any more.
    pub(crate) fn is_stale(&self, to: SocketAddrV4, answered_by: SocketAddrV4) -> bool {
        if let Some(endpoints) = self.addresses.get(&to) {
            return !endpoints.contains(&answered_by);
        }
        // A flow to a node port that was not rewritten belongs to a program of the node, or is none of ours.
        let rewritten = to != answered_by;
        let node_port = self.node_ports.get(&to.port());
        rewritten && node_port.is_some_and(|endpoints| !endpoints.contains(&answered_by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Otherwise, Targets};

    fn at(text: &str) -> SocketAddrV4 {
        text.parse().expect("an address")
    }

    fn dns(endpoints: &[&str]) -> Flows {
        let endpoints = endpoints.iter().map(|text| at(text)).collect();
        let targets = Targets { endpoints, otherwise: Otherwise::Refuse };
        Flows::of(&[Port {
            name: "default/dns/53/udp".to_owned(),
            protocol: Transport::Udp,
            cluster: vec![at("10.96.0.10:53")],
            external: Vec::new(),
            balancer: Vec::new(),
            sources: Vec::new(),
            node_port: Some(30053),
            internal: targets.clone(),
            inside: targets,
            outside: None,
            affinity_seconds: None,
        }])
    }

    #[test]
    fn only_flows_to_endpoints_that_are_gone_are_stale() {
        let flows = dns(&["10.1.0.2:53"]);
        assert!(!flows.is_stale(at("10.96.0.10:53"), at("10.1.0.2:53")));
        assert!(flows.is_stale(at("10.96.0.10:53"), at("10.1.0.3:53")));
        assert!(flows.is_stale(at("10.96.0.10:53"), at("10.96.0.10:53")), "it began before there was a rule");
        assert!(flows.is_stale(at("192.0.2.1:30053"), at("10.1.0.3:53")));
        assert!(!flows.is_stale(at("192.0.2.1:30053"), at("192.0.2.1:30053")), "not ours");
        assert!(!flows.is_stale(at("8.8.8.8:53"), at("8.8.8.8:53")), "not ours");
    }

    #[test]
    fn a_service_that_is_gone_leads_nowhere() {
        let flows = Flows::default().since(&dns(&["10.1.0.2:53"]));
        assert!(flows.is_stale(at("10.96.0.10:53"), at("10.1.0.2:53")));
        assert!(flows.is_stale(at("192.0.2.1:30053"), at("10.1.0.2:53")));
    }
}
