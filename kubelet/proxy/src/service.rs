//! Reads services and endpoint slices as the proxy means them: which addresses and ports lead to which endpoints.
//! No I/O.

use crate::topology::{Candidate, Candidates, Condition, Here, Targets};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use skiff_sys::nft::{Block, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The label that joins a slice to its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label of services that belong to another proxy.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The default of `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const AFFINITY_SECONDS: i32 = 10_800;

/// One port of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// `namespace/service/port/protocol`; unique.
    pub(crate) name: String,
    /// The transport protocol.
    pub(crate) protocol: Transport,
    /// The cluster's own addresses of the service, with the port.
    pub(crate) cluster: Vec<SocketAddrV4>,
    /// External addresses that lead to it.
    pub(crate) external: Vec<SocketAddrV4>,
    /// Addresses of a load balancer that lead to it.
    pub(crate) balancer: Vec<SocketAddrV4>,
    /// Who may come to those; empty: everybody.
    pub(crate) sources: Vec<Block>,
    /// The port that leads to it on all addresses of the node.
    pub(crate) node_port: Option<u16>,
    /// Where the cluster's own addresses lead.
    pub(crate) internal: Targets,
    /// Where the other addresses lead for this node and its pods.
    pub(crate) inside: Targets,
    /// Where they lead for everybody else, if that is somewhere else.
    pub(crate) outside: Option<Targets>,
    /// How long a client stays with the endpoint it got, in seconds.
    pub(crate) affinity_seconds: Option<u32>,
}

/// Something in a service that is not done as it says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Warning {
    /// The service's namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) service: String,
    /// What is not done, and why: a sentence.
    pub(crate) message: String,
}

/// What services and slices say.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// In the order of their names, which are unique.
    pub(crate) ports: Vec<Port>,
    /// How many ready endpoints of this node stand behind each service of which balancers ask that, by the port at which they ask.
    pub(crate) health: BTreeMap<u16, Health>,
    /// What is not done as a service says.
    pub(crate) warnings: BTreeSet<Warning>,
}

/// What a balancer is told of a service on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    /// The service's namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) service: String,
    /// How many ready endpoints of it this node has.
    pub(crate) ready_here: usize,
}

/// All ports of all services, in the order of their names.
pub(crate) fn read<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    here: &Here,
) -> Read {
    let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        if let Some((namespace, service)) = owner(slice) {
            by_service.entry((namespace, service)).or_default().push(slice);
        }
    }
    let mut read = Read::default();
    for service in services {
        let key = (service.metadata.namespace.as_deref(), service.metadata.name.as_deref());
        let (Some(namespace), Some(name)) = key else { continue };
        let slices = by_service.get(&(namespace, name)).map(Vec::as_slice).unwrap_or_default();
        let mut reading = Reading { namespace, name, here, read: &mut read };
        let ports = reading.service(service, slices);
        read.ports.extend(ports);
    }
    read.ports.sort_by(|one, two| one.name.cmp(&two.name));
    read
}

fn owner(slice: &EndpointSlice) -> Option<(&str, &str)> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some((slice.metadata.namespace.as_deref()?, service))
}

struct Reading<'a> {
    namespace: &'a str,
    name: &'a str,
    here: &'a Here,
    read: &'a mut Read,
}

impl Reading<'_> {
    fn warn(&mut self, message: String) {
        let (namespace, service) = (self.namespace.to_owned(), self.name.to_owned());
        self.read.warnings.insert(Warning { namespace, service, message });
    }

    fn service(&mut self, service: &Service, slices: &[&EndpointSlice]) -> Vec<Port> {
        let Some(spec) = &service.spec else { return Vec::new() };
        let foreign = service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(PROXY_NAME));
        let headless = matches!(spec.cluster_ip.as_deref(), None | Some("" | "None"));
        if foreign || headless || spec.type_.as_deref() == Some("ExternalName") {
            return Vec::new();
        }
        let (cluster, external) = (self.cluster_addresses(service), self.external_addresses(service));
        let (balancer, sources) = (self.balancer_addresses(service), self.sources(service));
        let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
        let (inside_is_local, outside_is_local) =
            (is_local(&spec.internal_traffic_policy), is_local(&spec.external_traffic_policy));
        let mut ports = Vec::new();
        for port in spec.ports.iter().flatten() {
            let (Some(protocol), Ok(number)) =
                (Transport::named(port.protocol.as_deref().unwrap_or("TCP")), u16::try_from(port.port))
            else {
                self.warn(format!("port {} of protocol {:?} is not proxied", port.port, port.protocol));
                continue;
            };
            let at = |addresses: &[Ipv4Addr]| addresses.iter().map(|ip| SocketAddrV4::new(*ip, number)).collect();
            let candidates = self.candidates(port, protocol, slices);
            self.note_health(service, &candidates);
            let inside = candidates.of_cluster(self.here);
            ports.push(Port {
                name: self.port_name(port, protocol),
                protocol,
                cluster: at(&cluster),
                external: at(&external),
                balancer: at(&balancer),
                sources: sources.clone(),
                node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
                internal: if inside_is_local { candidates.of_node() } else { inside.clone() },
                inside,
                outside: outside_is_local.then(|| candidates.of_node()),
                affinity_seconds: affinity_seconds(service),
            });
        }
        ports
    }

    /// A balancer that sends only to nodes with endpoints asks each node how many it has. The first port tells, as the ports of one service
    /// have the same endpoints but for names of container ports.
    fn note_health(&mut self, service: &Service, candidates: &Candidates) {
        let Some(spec) = service.spec.as_ref().filter(|spec| spec.external_traffic_policy.as_deref() == Some("Local"))
        else {
            return;
        };
        let port = spec.health_check_node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        if let Some(port) = port {
            let (namespace, service) = (self.namespace.to_owned(), self.name.to_owned());
            let health = Health { namespace, service, ready_here: candidates.ready_here() };
            let known = self.read.health.entry(port).or_insert_with(|| health.clone());
            known.ready_here = known.ready_here.max(health.ready_here);
        }
    }

    fn port_name(&self, port: &ServicePort, protocol: Transport) -> String {
        let number = port.port.to_string();
        let name = port.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&number);
        format!("{}/{}/{name}/{}", self.namespace, self.name, protocol.name())
    }

    fn cluster_addresses(&mut self, service: &Service) -> Vec<Ipv4Addr> {
        let spec = service.spec.as_ref();
        let many = spec.and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default();
        let all =
            if many.is_empty() { spec.and_then(|spec| spec.cluster_ip.clone()).into_iter().collect() } else { many };
        self.addresses("clusterIPs", &all)
    }

    fn external_addresses(&mut self, service: &Service) -> Vec<Ipv4Addr> {
        let all = service.spec.as_ref().and_then(|spec| spec.external_ips.clone()).unwrap_or_default();
        self.addresses("externalIPs", &all)
    }

    fn balancer_addresses(&mut self, service: &Service) -> Vec<Ipv4Addr> {
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
        // With ipMode Proxy the packets come with the node's address, or not at all.
        let ours = ingress.iter().filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
        let texts: Vec<String> = ours.filter_map(|ingress| ingress.ip.clone()).collect();
        self.addresses("status.loadBalancer.ingress", &texts)
    }

    /// Who may come to a balancer's addresses. If nothing that is said can be read, nobody may: a list that lets everybody in says so.
    fn sources(&mut self, service: &Service) -> Vec<Block> {
        let spec = service.spec.as_ref();
        let texts = spec.and_then(|spec| spec.load_balancer_source_ranges.clone()).unwrap_or_default();
        if texts.is_empty() {
            return Vec::new();
        }
        let (mut blocks, mut unread) = (Vec::new(), Vec::new());
        for text in texts {
            match Block::parse(text.trim()) {
                Some(block) => blocks.push(block),
                None => unread.push(text),
            }
        }
        for text in unread {
            self.warn(format!("loadBalancerSourceRanges {text:?} is not an IPv4 range and lets nobody in"));
        }
        if blocks.is_empty() { vec![Block { base: [0; 4], mask: [255; 4] }] } else { blocks }
    }

    fn addresses(&mut self, field: &str, texts: &[String]) -> Vec<Ipv4Addr> {
        let mut addresses = Vec::new();
        for text in texts {
            match text.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => self.warn(format!("{field} {text:?} is not an IPv4 address and is not proxied")),
            }
        }
        addresses
    }

    fn candidates(&mut self, port: &ServicePort, protocol: Transport, slices: &[&EndpointSlice]) -> Candidates {
        let mut candidates = Candidates::default();
        for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
            let Some(number) = target_port(slice, port, protocol) else { continue };
            for endpoint in slice.endpoints.iter().flatten() {
                let hints = endpoint.hints.clone().unwrap_or_default();
                let candidate = |ip| Candidate {
                    at: SocketAddrV4::new(ip, number),
                    condition: condition(endpoint),
                    is_local: endpoint.node_name.as_deref() == Some(&self.here.node),
                    nodes: hints.for_nodes.iter().flatten().map(|node| node.name.clone()).collect(),
                    zones: hints.for_zones.iter().flatten().map(|zone| zone.name.clone()).collect(),
                };
                let addresses: Vec<_> = self.endpoint_addresses(endpoint);
                candidates.0.extend(addresses.into_iter().map(candidate));
            }
        }
        candidates
    }

    fn endpoint_addresses(&mut self, endpoint: &Endpoint) -> Vec<Ipv4Addr> {
        let all = self.addresses("endpoint", &endpoint.addresses);
        let (good, bad): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| is_endpoint(*address));
        for address in bad {
            // CVE-2021-25737: an endpoint must not lead to what only the node itself may reach.
            self.warn(format!("endpoint {address} is not served: it is a loopback, link-local or group address"));
        }
        good
    }
}

fn is_endpoint(address: Ipv4Addr) -> bool {
    !(address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_broadcast())
}

/// The port of the slice that has the name and protocol of the service's port.
fn target_port(slice: &EndpointSlice, port: &ServicePort, protocol: Transport) -> Option<u16> {
    let wanted = port.name.as_deref().unwrap_or_default();
    let found = slice.ports.iter().flatten().find(|found| {
        found.name.as_deref().unwrap_or_default() == wanted
            && Transport::named(found.protocol.as_deref().unwrap_or("TCP")) == Some(protocol)
    });
    found.and_then(|found| found.port).and_then(|number| u16::try_from(number).ok())
}

/// Absent conditions count as ready, as `serving`, and as not ending (discovery/v1).
fn condition(endpoint: &Endpoint) -> Condition {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
    let ending = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    match (ready, serving && ending) {
        (true, _) => Condition::Ready,
        (false, true) => Condition::ServingWhileEnding,
        (false, false) => Condition::NotServing,
    }
}

/// How long a client stays with its endpoint, if it does.
fn affinity_seconds(service: &Service) -> Option<u32> {
    let spec = service.spec.as_ref().filter(|spec| spec.session_affinity.as_deref() == Some("ClientIP"))?;
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECONDS);
    u32::try_from(seconds).ok()
}

#[cfg(test)]
mod tests;
