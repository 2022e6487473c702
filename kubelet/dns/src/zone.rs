//! What the cluster's objects say about names: an index that each change of an object changes by that object.
//!
//! No I/O and no wire format: a name is looked up ([`Zone::find`]), and what is found says what kinds of records it has.

pub(crate) mod arpa; // names of addresses
mod objects; // what one object says
mod range; // addresses of the cluster

pub use objects::{Endpoint, Port};
pub use range::Range;

use crate::error::DnsError;
use crate::labels::Labels;
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use objects::{ServiceEntry, SliceEntry, Target, owner, undashed};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Everything below one namespace and name.
#[derive(Debug, Default)]
struct Entry {
    service: Option<ServiceEntry>,
    slices: BTreeMap<Box<str>, SliceEntry>,
}

/// How often an endpoint's full label stands in slices.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    all: u32,
    ready: u32,
}

/// The services of one namespace, by name.
type Services = HashMap<Box<[u8]>, Entry>;

/// Label, service and namespace of an endpoint.
type EndpointName = (Box<str>, Box<str>, Box<str>);

/// The names of a cluster.
#[derive(Debug)]
pub struct Zone {
    domain: Box<str>,
    domain_labels: Vec<Box<[u8]>>,
    /// Addresses of this server, under `ns.dns`.
    servers: Vec<IpAddr>,
    /// Addresses whose names nobody else knows.
    ranges: Vec<Range>,
    namespaces: HashMap<Box<[u8]>, Services>,
    /// Services by address, as `name.namespace`.
    by_service_address: HashMap<IpAddr, BTreeSet<Box<str>>>,
    by_endpoint_address: HashMap<IpAddr, BTreeMap<EndpointName, Seen>>,
    serial: u32,
    is_complete: bool,
}

/// What there is at a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// It is not the cluster's to say.
    Foreign,
    /// Nothing, and nothing below it (NXDOMAIN).
    Missing,
    /// Nothing, but something may be below it (NODATA).
    Empty,
    /// The zone itself.
    Apex,
    /// The version of the specification.
    Version,
    /// Addresses without ports.
    Addresses(Vec<IpAddr>),
    /// A service with addresses of its own.
    Service {
        /// They.
        addresses: &'a [IpAddr],
        /// Those of its ports that the name means, each with an SRV record.
        ports: Vec<&'a Port>,
    },
    /// Endpoints of a service.
    Endpoints(Vec<Serving<'a>>),
    /// Another name.
    Alias(&'a str),
    /// Names of an address, without the cluster's domain's dot at the end.
    Names(Vec<String>),
}

/// Endpoints of one slice that a name means, and the ports that it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Serving<'a> {
    /// They.
    pub endpoints: Vec<&'a Endpoint>,
    /// Their ports.
    pub ports: Vec<&'a Port>,
}

impl Zone {
    /// An empty zone. `ranges` are those of the cluster's services and pods: of an address in them nobody else knows a name.
    /// `serial` counts on with every change; it should not begin with a number that another instance has used.
    ///
    /// # Errors
    /// `domain` is no domain name.
    pub fn new(domain: &str, servers: Vec<IpAddr>, ranges: Vec<Range>, serial: u32) -> Result<Self, DnsError> {
        let text = domain.trim_end_matches('.').to_ascii_lowercase();
        let is_name = !text.is_empty() && text.split('.').all(is_label) && Name::from_ascii(&text).is_ok();
        if !is_name {
            return Err(DnsError::Domain { domain: domain.to_owned() });
        }
        Ok(Self {
            domain_labels: text.split('.').map(|label| label.as_bytes().into()).collect(),
            domain: text.into(),
            servers,
            ranges,
            namespaces: HashMap::new(),
            by_service_address: HashMap::new(),
            by_endpoint_address: HashMap::new(),
            serial,
            is_complete: false,
        })
    }

    /// The cluster's domain, without a dot at its end.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// How many labels the domain has.
    #[must_use]
    pub fn domain_labels(&self) -> usize {
        self.domain_labels.len()
    }

    /// A number that grows with every change.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Whether everything that there was at the start is in it: before that, nothing is known to be missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// From here on what is not in it is not there.
    pub fn complete(&mut self) {
        self.is_complete = true;
    }

    /// A service changed: what it was, and what it is.
    pub fn change_service(&mut self, before: Option<&Service>, now: Option<&Service>) {
        if let Some(before) = before {
            self.put_service(before, None);
        }
        if let Some(now) = now {
            self.put_service(now, Some(ServiceEntry::of(now)));
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// A slice changed: what it was, and what it is.
    pub fn change_slice(&mut self, before: Option<&EndpointSlice>, now: Option<&EndpointSlice>) {
        if let Some(before) = before {
            self.put_slice(before, None);
        }
        if let Some(now) = now {
            self.put_slice(now, Some(SliceEntry::of(now)));
        }
        self.serial = self.serial.wrapping_add(1);
    }

    fn put_service(&mut self, service: &Service, entry: Option<ServiceEntry>) {
        let (Some(namespace), Some(name)) = (service.metadata.namespace.as_deref(), service.metadata.name.as_deref())
        else {
            return;
        };
        let place = self.entry(namespace, name);
        let old = std::mem::replace(&mut place.service, entry.clone());
        let text: Box<str> = format!("{name}.{namespace}").into();
        for address in addresses(old.as_ref()) {
            if let Some(names) = self.by_service_address.get_mut(address) {
                names.remove(&text);
                if names.is_empty() {
                    self.by_service_address.remove(address);
                }
            }
        }
        for address in addresses(entry.as_ref()) {
            self.by_service_address.entry(*address).or_default().insert(text.clone());
        }
        self.forget_if_empty(namespace, name);
    }

    fn put_slice(&mut self, slice: &EndpointSlice, entry: Option<SliceEntry>) {
        let Some(((namespace, name), slice_name)) = owner(slice).zip(slice.metadata.name.as_deref()) else { return };
        for endpoint in entry.iter().flat_map(|entry| &entry.endpoints) {
            self.count(endpoint, namespace, name, 1);
        }
        let slices = &mut self.entry(namespace, name).slices;
        let old = match entry {
            Some(entry) => slices.insert(slice_name.into(), entry),
            None => slices.remove(slice_name),
        };
        for endpoint in old.iter().flat_map(|entry| &entry.endpoints) {
            self.count(endpoint, namespace, name, -1);
        }
        self.forget_if_empty(namespace, name);
    }

    fn count(&mut self, endpoint: &Endpoint, namespace: &str, name: &str, by: i32) {
        let names = self.by_endpoint_address.entry(endpoint.address).or_default();
        let key = (endpoint.label.clone(), name.into(), namespace.into());
        let seen = names.entry(key.clone()).or_default();
        seen.all = seen.all.saturating_add_signed(by);
        if endpoint.is_ready {
            seen.ready = seen.ready.saturating_add_signed(by);
        }
        if seen.all == 0 {
            names.remove(&key);
        }
        if names.is_empty() {
            self.by_endpoint_address.remove(&endpoint.address);
        }
    }

    fn entry(&mut self, namespace: &str, name: &str) -> &mut Entry {
        let services = self.namespaces.entry(namespace.as_bytes().into()).or_default();
        services.entry(name.as_bytes().into()).or_default()
    }

    fn forget_if_empty(&mut self, namespace: &str, name: &str) {
        let Some(services) = self.namespaces.get_mut(namespace.as_bytes()) else { return };
        if services.get(name.as_bytes()).is_some_and(|entry| entry.service.is_none() && entry.slices.is_empty()) {
            services.remove(name.as_bytes());
        }
        if services.is_empty() {
            self.namespaces.remove(namespace.as_bytes());
        }
    }

    /// What there is at a name.
    #[must_use]
    pub fn find(&self, name: &Labels) -> Found<'_> {
        if let Some(address) = arpa::address(name) {
            return self.find_names(address);
        }
        if !name.end_with(&self.domain_labels) {
            return Found::Foreign;
        }
        let mut at = self.domain_labels.len();
        let mut next = || {
            let label = name.from_right(at);
            at += 1;
            label
        };
        let Some(first) = next() else { return Found::Apex };
        let second = next();
        match (first, second) {
            (b"dns-version", None) => Found::Version,
            (b"dns" | b"svc" | b"pod", None) => Found::Empty,
            (b"dns", Some(b"ns")) if next().is_none() => Found::Addresses(self.servers.clone()),
            (b"svc", Some(namespace)) => match next() {
                None => Found::Empty,
                Some(service) => self.find_service(namespace, service, [next(), next(), next()]),
            },
            (b"pod", Some(_namespace)) => match (next(), next()) {
                (None, _) => Found::Empty,
                (Some(label), None) => {
                    undashed(label).map_or(Found::Missing, |address| Found::Addresses(vec![address]))
                }
                _ => Found::Missing,
            },
            _ => Found::Missing,
        }
    }

    /// `below` are the labels below the service's, from the right.
    fn find_service(&self, namespace: &[u8], name: &[u8], below: [Option<&[u8]>; 3]) -> Found<'_> {
        let entry = self.namespaces.get(namespace).and_then(|services| services.get(name));
        let Some((entry, service)) = entry.and_then(|entry| Some((entry, entry.service.as_ref()?))) else {
            return Found::Missing;
        };
        match below {
            [None, ..] => match &service.target {
                Target::Alias(name) => Found::Alias(name),
                Target::Cluster { addresses, ports } => Found::Service { addresses, ports: ports.iter().collect() },
                Target::Headless => entry.serving(service, None, |_| true),
                Target::Nothing => Found::Missing,
            },
            [Some(label), None, _] => match label.strip_prefix(b"_") {
                Some(protocol)
                    if entry
                        .has_port(service, |port| !port.name.is_empty() && port.protocol.as_bytes() == protocol) =>
                {
                    Found::Empty
                }
                _ if matches!(service.target, Target::Alias(_)) => Found::Missing,
                _ => entry.serving(service, Some(label), |_| true),
            },
            [Some(protocol), Some(port), None] => {
                let (Some(protocol), Some(port)) = (protocol.strip_prefix(b"_"), port.strip_prefix(b"_")) else {
                    return Found::Missing;
                };
                entry.at_port(service, |candidate| candidate.is(port, protocol))
            }
            _ => Found::Missing,
        }
    }

    fn find_names(&self, address: IpAddr) -> Found<'_> {
        let domain = &self.domain;
        if let Some(names) = self.by_service_address.get(&address) {
            return Found::Names(names.iter().map(|name| format!("{name}.svc.{domain}")).collect());
        }
        let mut names = Vec::new();
        for ((label, name, namespace), seen) in self.by_endpoint_address.get(&address).into_iter().flatten() {
            let entry = self.namespaces.get(namespace.as_bytes()).and_then(|all| all.get(name.as_bytes()));
            let Some(service) = entry.and_then(|entry| entry.service.as_ref()) else { continue };
            if seen.ready > 0 || service.not_ready_too {
                names.push(format!("{label}.{name}.{namespace}.svc.{domain}"));
            }
        }
        match names.is_empty() {
            false => Found::Names(names),
            true if self.ranges.iter().any(|range| range.contains(address)) => Found::Missing,
            true => Found::Foreign,
        }
    }
}

impl Entry {
    /// The endpoints that serve, all or those with a label, with the ports that `wanted` chooses.
    fn serving<'a>(
        &'a self,
        service: &ServiceEntry,
        label: Option<&[u8]>,
        wanted: impl Fn(&Port) -> bool,
    ) -> Found<'a> {
        let mut found = Vec::new();
        for slice in self.slices.values() {
            let endpoints = label.map_or(&*slice.endpoints, |label| slice.labelled(label)).iter();
            let endpoints: Vec<_> = endpoints.filter(|endpoint| endpoint.is_ready || service.not_ready_too).collect();
            if !endpoints.is_empty() {
                found.push(Serving { endpoints, ports: slice.ports.iter().filter(|port| wanted(port)).collect() });
            }
        }
        // Decided by the specification (2.4.1): without ready endpoints, the name is not there.
        if found.is_empty() { Found::Missing } else { Found::Endpoints(found) }
    }

    /// What `_port._protocol` below the service's name means.
    fn at_port<'a>(&'a self, service: &'a ServiceEntry, wanted: impl Fn(&Port) -> bool) -> Found<'a> {
        match &service.target {
            Target::Cluster { addresses, ports } => {
                let ports: Vec<_> = ports.iter().filter(|port| wanted(port)).collect();
                if ports.is_empty() { Found::Missing } else { Found::Service { addresses, ports } }
            }
            Target::Headless => match self.serving(service, None, wanted) {
                Found::Endpoints(mut all) => {
                    all.retain(|serving| !serving.ports.is_empty());
                    if all.is_empty() { Found::Missing } else { Found::Endpoints(all) }
                }
                other => other,
            },
            Target::Alias(_) | Target::Nothing => Found::Missing,
        }
    }

    fn has_port(&self, service: &ServiceEntry, wanted: impl Fn(&Port) -> bool) -> bool {
        match &service.target {
            Target::Cluster { ports, .. } => ports.iter().any(wanted),
            Target::Headless => self.slices.values().flat_map(|slice| &slice.ports).any(wanted),
            Target::Alias(_) | Target::Nothing => false,
        }
    }
}

fn addresses(service: Option<&ServiceEntry>) -> &[IpAddr] {
    match service.map(|service| &service.target) {
        Some(Target::Cluster { addresses, .. }) => addresses,
        _ => &[],
    }
}

fn is_label(label: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !label.is_empty()
        && label.len() <= 63
        && label.chars().all(|c| inner(c) || c == '-')
        && label.starts_with(inner)
        && label.ends_with(inner)
}
