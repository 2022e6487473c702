//! Reads services and endpoint slices as the proxy means them: which addresses and ports lead to which endpoints.
//! No I/O.
//!
//! With one node, the traffic policies `Local` and `Cluster` mean the same and are not told apart.

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use skiff_sys::nft::Transport;
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
    pub(crate) protocol: Transport,
    /// The cluster's own addresses of the service, with the port.
    pub(crate) cluster: Vec<SocketAddrV4>,
    /// Other addresses that lead to it: external and load balancer addresses.
    pub(crate) external: Vec<SocketAddrV4>,
    /// The port that leads to it on all addresses of the node.
    pub(crate) node_port: Option<u16>,
    /// Where it leads to.
    pub(crate) endpoints: BTreeSet<SocketAddrV4>,
    /// How long a client stays with the endpoint it got, in seconds.
    pub(crate) affinity_seconds: Option<u32>,
}

/// Something in a service that is not done as it says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Warning {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) message: String,
}

/// All ports of all services, in the order of their names.
pub(crate) fn read<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> (Vec<Port>, BTreeSet<Warning>) {
    let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        if let Some((namespace, service)) = owner(slice) {
            by_service.entry((namespace, service)).or_default().push(slice);
        }
    }
    let (mut ports, mut warnings) = (Vec::new(), BTreeSet::new());
    for service in services {
        let key = (service.metadata.namespace.as_deref(), service.metadata.name.as_deref());
        let (Some(namespace), Some(name)) = key else { continue };
        let slices = by_service.get(&(namespace, name)).map(Vec::as_slice).unwrap_or_default();
        let mut reading = Reading { namespace, name, warnings: &mut warnings };
        ports.extend(reading.service(service, slices));
    }
    ports.sort_by(|one, two| one.name.cmp(&two.name));
    (ports, warnings)
}

fn owner(slice: &EndpointSlice) -> Option<(&str, &str)> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some((slice.metadata.namespace.as_deref()?, service))
}

struct Reading<'a> {
    namespace: &'a str,
    name: &'a str,
    warnings: &'a mut BTreeSet<Warning>,
}

impl Reading<'_> {
    fn warn(&mut self, message: String) {
        let (namespace, service) = (self.namespace.to_owned(), self.name.to_owned());
        self.warnings.insert(Warning { namespace, service, message });
    }

    fn service(&mut self, service: &Service, slices: &[&EndpointSlice]) -> Vec<Port> {
        let Some(spec) = &service.spec else { return Vec::new() };
        let foreign = service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(PROXY_NAME));
        let headless = matches!(spec.cluster_ip.as_deref(), None | Some("" | "None"));
        if foreign || headless || spec.type_.as_deref() == Some("ExternalName") {
            return Vec::new();
        }
        let cluster = self.cluster_addresses(service);
        let external = self.external_addresses(service);
        let affinity_seconds = match spec.session_affinity.as_deref() {
            Some("ClientIP") => {
                let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
                let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECONDS);
                u32::try_from(seconds).ok()
            }
            _ => None,
        };
        let mut ports = Vec::new();
        for port in spec.ports.iter().flatten() {
            let (Some(protocol), Ok(number)) =
                (Transport::named(port.protocol.as_deref().unwrap_or("TCP")), u16::try_from(port.port))
            else {
                self.warn(format!("port {} of protocol {:?} is not proxied", port.port, port.protocol));
                continue;
            };
            let at = |addresses: &[Ipv4Addr]| addresses.iter().map(|ip| SocketAddrV4::new(*ip, number)).collect();
            ports.push(Port {
                name: self.port_name(port, protocol),
                protocol,
                cluster: at(&cluster),
                external: at(&external),
                node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
                endpoints: self.endpoints(port, protocol, slices),
                affinity_seconds,
            });
        }
        ports
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
        let Some(spec) = &service.spec else { return Vec::new() };
        let mut all = self.addresses("externalIPs", spec.external_ips.as_deref().unwrap_or_default());
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
        if spec.load_balancer_source_ranges.as_ref().is_some_and(|ranges| !ranges.is_empty()) && !ingress.is_empty() {
            self.warn(
                "loadBalancerSourceRanges is not enforced here, so the load balancer address is not served".into(),
            );
            return all;
        }
        // With ipMode Proxy the packets come with the node's address, or not at all.
        let ours = ingress.iter().filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
        let texts: Vec<String> = ours.filter_map(|ingress| ingress.ip.clone()).collect();
        all.extend(self.addresses("status.loadBalancer.ingress", &texts));
        all
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

    /// The ready endpoints; if there is none, those that still serve while they end (KEP-1669).
    fn endpoints(
        &mut self,
        port: &ServicePort,
        protocol: Transport,
        slices: &[&EndpointSlice],
    ) -> BTreeSet<SocketAddrV4> {
        let (mut ready, mut ending) = (BTreeSet::new(), BTreeSet::new());
        for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
            let Some(number) = target_port(slice, port, protocol) else { continue };
            for endpoint in slice.endpoints.iter().flatten() {
                let to = match Condition::of(endpoint) {
                    Condition::Ready => &mut ready,
                    Condition::ServingWhileEnding => &mut ending,
                    Condition::NotServing => continue,
                };
                to.extend(self.endpoint_addresses(endpoint).into_iter().map(|ip| SocketAddrV4::new(ip, number)));
            }
        }
        if ready.is_empty() { ending } else { ready }
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

/// What an endpoint can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Ready,
    ServingWhileEnding,
    NotServing,
}

impl Condition {
    /// Absent conditions count as ready, as `serving`, and as not ending (discovery/v1).
    fn of(endpoint: &Endpoint) -> Self {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
        let ending = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
        match (ready, serving && ending) {
            (true, _) => Self::Ready,
            (false, true) => Self::ServingWhileEnding,
            (false, false) => Self::NotServing,
        }
    }
}

#[cfg(test)]
mod tests;
