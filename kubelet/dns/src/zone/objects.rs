//! What a service and an endpoint slice say about names.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::IpAddr;

/// The label that joins a slice to its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A port that has a number; what has a name has an SRV record under it, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name, lower case as the API demands; empty if it has none.
    pub name: Box<str>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Box<str>,
    /// Its number.
    pub number: u16,
}

impl Port {
    fn new(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<Self> {
        Some(Self {
            name: name.unwrap_or_default().to_ascii_lowercase().into(),
            protocol: protocol.unwrap_or("TCP").to_ascii_lowercase().into(),
            number: number.and_then(|number| u16::try_from(number).ok())?,
        })
    }

    /// Whether `_name._protocol` means it.
    pub(super) fn is(&self, name: &[u8], protocol: &[u8]) -> bool {
        !name.is_empty() && self.name.as_bytes() == name && self.protocol.as_bytes() == protocol
    }
}

/// What a service's name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The cluster's own addresses.
    Cluster { addresses: Vec<IpAddr>, ports: Vec<Port> },
    /// Its endpoints.
    Headless,
    /// Another name.
    Alias(Box<str>),
    /// A name of digits and dots, which would be an address: no resolver would take it for a name.
    Nothing,
}

/// A service, as far as its name goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceEntry {
    pub(super) target: Target,
    /// `publishNotReadyAddresses`.
    pub(super) not_ready_too: bool,
}

impl ServiceEntry {
    pub(super) fn of(service: &Service) -> Self {
        let Some(spec) = &service.spec else { return Self { target: Target::Nothing, not_ready_too: false } };
        let not_ready_too = spec.publish_not_ready_addresses.unwrap_or(false);
        if spec.type_.as_deref() == Some("ExternalName") {
            let name = spec.external_name.as_deref().unwrap_or_default().trim_end_matches('.');
            let is_name = !name.is_empty() && name.parse::<IpAddr>().is_err();
            let target = if is_name { Target::Alias(name.into()) } else { Target::Nothing };
            return Self { target, not_ready_too };
        }
        let listed = spec.cluster_ips.iter().flatten();
        let all = if spec.cluster_ips.as_ref().is_some_and(|all| !all.is_empty()) {
            listed.collect()
        } else {
            spec.cluster_ip.iter().collect::<Vec<_>>()
        };
        if spec.cluster_ip.as_deref() == Some("None") {
            return Self { target: Target::Headless, not_ready_too };
        }
        let addresses: Vec<IpAddr> = all.iter().filter_map(|text| text.parse().ok()).collect();
        let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
            Port::new(port.name.as_deref(), port.protocol.as_deref(), Some(port.port))
        };
        let ports = spec.ports.iter().flatten().filter_map(port).collect();
        Self { target: Target::Cluster { addresses, ports }, not_ready_too }
    }
}

/// One address of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The label that it has below its service: its hostname, or its address with dashes.
    pub label: Box<str>,
    /// Where it is.
    pub address: IpAddr,
    pub(super) is_ready: bool,
}

/// An endpoint slice, its endpoints in order of their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SliceEntry {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) ports: Vec<Port>,
}

impl SliceEntry {
    pub(super) fn of(slice: &EndpointSlice) -> Self {
        let mut endpoints = Vec::new();
        for endpoint in slice.endpoints.iter().flatten() {
            // Unknown counts as ready (discovery/v1).
            let is_ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
            for text in &endpoint.addresses {
                // Slices of the type FQDN have no addresses.
                let Ok(address) = text.parse::<IpAddr>() else { continue };
                let hostname = endpoint.hostname.as_deref().filter(|name| !name.is_empty());
                let label = hostname.map_or_else(|| dashed(address), str::to_ascii_lowercase).into();
                endpoints.push(Endpoint { label, address, is_ready });
            }
        }
        endpoints.sort_unstable_by(|one, two| (&one.label, one.address).cmp(&(&two.label, two.address)));
        let ports = slice.ports.iter().flatten();
        let ports = ports.filter_map(|port| Port::new(port.name.as_deref(), port.protocol.as_deref(), port.port));
        Self { endpoints, ports: ports.collect() }
    }

    /// The endpoints with this label.
    pub(super) fn labelled(&self, label: &[u8]) -> &[Endpoint] {
        let start = self.endpoints.partition_point(|endpoint| endpoint.label.as_bytes() < label);
        let rest = &self.endpoints[start..];
        &rest[..rest.partition_point(|endpoint| endpoint.label.as_bytes() == label)]
    }
}

/// The namespace and the service that a slice belongs to.
pub(super) fn owner(slice: &EndpointSlice) -> Option<(&str, &str)> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some((slice.metadata.namespace.as_deref()?, service))
}

/// An address as a label, as CoreDNS writes it: a label must not end with a dash.
pub(super) fn dashed(address: IpAddr) -> String {
    let text = address.to_string().replace(['.', ':'], "-");
    if text.ends_with('-') { text + "0" } else { text }
}

/// The address that a label of a pod's name stands for: `10-244-0-5`, `fd00--5`.
pub(super) fn undashed(label: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(label).ok()?;
    let is_v4 = text.matches('-').count() == 3 && !text.contains("--");
    let address: IpAddr = text.replace('-', if is_v4 { "." } else { ":" }).parse().ok()?;
    // Another spelling of the same address is another name.
    (address.is_ipv4() == is_v4).then_some(address)
}
