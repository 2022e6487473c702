//! Random clusters against a plain model: every name that could have an answer is looked up after every change, and must have what
//! a scan over all objects says.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use serde_json::{Value, json};
use skiff_dns::{Found, Labels, Range, Zone};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

const NAMES: [&str; 3] = ["a", "b", "c"];
const NAMESPACES: [&str; 2] = ["n", "m"];
const HOSTS: [&str; 3] = ["", "h0", "h1"];
const PORTS: [&str; 2] = ["", "http"];

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Cluster(u8),
    Headless,
    External,
}

#[derive(Debug, Clone)]
struct ModelService {
    kind: Kind,
    not_ready_too: bool,
    port: &'static str,
}

#[derive(Debug, Clone)]
struct ModelEndpoint {
    address: u8,
    host: &'static str,
    ready: bool,
}

#[derive(Debug, Clone)]
struct ModelSlice {
    service: &'static str,
    port: &'static str,
    endpoints: Vec<ModelEndpoint>,
}

type Place = (&'static str, &'static str);

/// All objects, as they are.
#[derive(Debug, Default)]
struct Model {
    services: BTreeMap<Place, ModelService>,
    slices: BTreeMap<(&'static str, u8), ModelSlice>,
}

#[derive(Debug, Clone)]
enum Change {
    Service(Place, Option<ModelService>),
    Slice(&'static str, u8, Option<ModelSlice>),
}

fn change() -> impl Strategy<Value = Change> {
    let place = (prop::sample::select(&NAMESPACES[..]), prop::sample::select(&NAMES[..]));
    let kind = prop_oneof![(1_u8..4).prop_map(Kind::Cluster), Just(Kind::Headless), Just(Kind::External)];
    let service = (kind, any::<bool>(), prop::sample::select(&PORTS[..]))
        .prop_map(|(kind, not_ready_too, port)| ModelService { kind, not_ready_too, port });
    let endpoint = (1_u8..6, prop::sample::select(&HOSTS[..]), any::<bool>())
        .prop_map(|(address, host, ready)| ModelEndpoint { address, host, ready });
    let slice =
        (prop::sample::select(&NAMES[..]), prop::sample::select(&PORTS[..]), prop::collection::vec(endpoint, 0..4))
            .prop_map(|(service, port, endpoints)| ModelSlice { service, port, endpoints });
    prop_oneof![
        (place, prop::option::of(service)).prop_map(|(place, service)| Change::Service(place, service)),
        (prop::sample::select(&NAMESPACES[..]), 0_u8..3, prop::option::of(slice))
            .prop_map(|(namespace, number, slice)| Change::Slice(namespace, number, slice)),
    ]
}

fn pod(address: u8) -> IpAddr {
    Ipv4Addr::new(10, 244, 0, address).into()
}

fn cluster(address: u8) -> IpAddr {
    Ipv4Addr::new(10, 96, 0, address).into()
}

fn service_object((namespace, name): Place, service: &ModelService) -> Service {
    let port = json!([{"name": service.port, "port": 80}]);
    let mut spec = match &service.kind {
        Kind::Cluster(address) => json!({"clusterIP": cluster(*address).to_string(), "ports": port}),
        Kind::Headless => json!({"clusterIP": "None", "ports": port}),
        Kind::External => json!({"type": "ExternalName", "externalName": "example.com"}),
    };
    spec["publishNotReadyAddresses"] = service.not_ready_too.into();
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec}))
        .expect("a service")
}

fn slice_object(namespace: &str, number: u8, slice: &ModelSlice) -> EndpointSlice {
    let meta = json!({
        "name": format!("slice-{number}"),
        "namespace": namespace,
        "labels": {"kubernetes.io/service-name": slice.service},
    });
    let endpoint = |one: &ModelEndpoint| {
        let mut endpoint = json!({"addresses": [pod(one.address).to_string()], "conditions": {"ready": one.ready}});
        if !one.host.is_empty() {
            endpoint["hostname"] = one.host.into();
        }
        endpoint
    };
    let endpoints: Vec<Value> = slice.endpoints.iter().map(endpoint).collect();
    let ports = json!([{"name": slice.port, "port": 8080}]);
    let slice = json!({"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": ports});
    serde_json::from_value(slice).expect("a slice")
}

impl Model {
    /// Makes a change here and in the zone.
    fn make(&mut self, change: Change, zone: &mut Zone) {
        match change {
            Change::Service(place, now) => {
                let before = self.services.get(&place).map(|service| service_object(place, service));
                zone.change_service(before.as_ref(), now.as_ref().map(|now| service_object(place, now)).as_ref());
                match now {
                    Some(now) => self.services.insert(place, now),
                    None => self.services.remove(&place),
                };
            }
            Change::Slice(namespace, number, now) => {
                let key = (namespace, number);
                let before = self.slices.get(&key).map(|slice| slice_object(namespace, number, slice));
                let object = now.as_ref().map(|now| slice_object(namespace, number, now));
                zone.change_slice(before.as_ref(), object.as_ref());
                match now {
                    Some(now) => self.slices.insert(key, now),
                    None => self.slices.remove(&key),
                };
            }
        }
    }

    /// Endpoints that serve a service: label, address and port's name.
    fn serving(&self, (namespace, name): Place) -> Vec<(String, IpAddr, &'static str)> {
        let Some(service) = self.services.get(&(namespace, name)) else { return Vec::new() };
        let slices = self.slices.iter().filter(|((of, _), slice)| *of == namespace && slice.service == name);
        let label = |one: &ModelEndpoint| match one.host {
            "" => pod(one.address).to_string().replace('.', "-"),
            host => host.to_owned(),
        };
        let endpoints = slices.flat_map(|(_, slice)| slice.endpoints.iter().map(|one| (one, slice.port)));
        let serving = endpoints.filter(|(one, _)| one.ready || service.not_ready_too);
        serving.map(|(one, port)| (label(one), pod(one.address), port)).collect()
    }

    /// What a service's name, or one below it, has: addresses, and whether the name is there.
    fn addresses(&self, place: Place, below: &str) -> Option<BTreeSet<IpAddr>> {
        let service = self.services.get(&place)?;
        let serving = self.serving(place);
        let of = |wanted: &dyn Fn(&(String, IpAddr, &str)) -> bool| -> Option<BTreeSet<IpAddr>> {
            let found: BTreeSet<IpAddr> = serving.iter().filter(|one| wanted(one)).map(|one| one.1).collect();
            (!found.is_empty()).then_some(found)
        };
        match (&service.kind, below) {
            (Kind::External, _) => None,
            (Kind::Cluster(address), "") => Some([cluster(*address)].into()),
            (Kind::Cluster(address), "_http._tcp.") => (service.port == "http").then(|| [cluster(*address)].into()),
            (Kind::Headless, "") => of(&|_| true),
            (Kind::Headless, "_http._tcp.") => of(&|one| one.2 == "http"),
            (_, label) => of(&|one| one.0 == label.trim_end_matches('.')),
        }
    }

    fn names(&self, address: IpAddr) -> BTreeSet<String> {
        let of_service = |((namespace, name), service): (&Place, &ModelService)| {
            let text = format!("{name}.{namespace}.svc.cluster.local");
            (matches!(service.kind, Kind::Cluster(of) if cluster(of) == address)).then_some(text)
        };
        let services: BTreeSet<String> = self.services.iter().filter_map(of_service).collect();
        if !services.is_empty() {
            return services;
        }
        let of_endpoints = |place: &Place| {
            let (namespace, name) = *place;
            let serving = self.serving(*place).into_iter().filter(|one| one.1 == address);
            serving.map(|one| format!("{}.{name}.{namespace}.svc.cluster.local", one.0)).collect::<Vec<_>>()
        };
        self.services.keys().flat_map(of_endpoints).collect()
    }
}

fn found_addresses(found: &Found<'_>) -> Option<BTreeSet<IpAddr>> {
    match found {
        Found::Service { addresses, .. } => Some(addresses.iter().copied().collect()),
        Found::Endpoints(all) => Some(all.iter().flat_map(|one| &one.endpoints).map(|one| one.address).collect()),
        _ => None,
    }
}

fn compare(model: &Model, zone: &Zone) -> Result<(), TestCaseError> {
    let labels = (1..6).map(|address| pod(address).to_string().replace('.', "-") + ".");
    let below: Vec<String> =
        labels.chain(["", "h0.", "h1.", "h2.", "_http._tcp.", "_http._udp."].map(str::to_owned)).collect();
    for namespace in NAMESPACES {
        for name in NAMES {
            let place = (namespace, name);
            let is_alias = model.services.get(&place).is_some_and(|service| service.kind == Kind::External);
            for below in &below {
                let text = format!("{below}{name}.{namespace}.svc.cluster.local");
                let found = zone.find(&Labels::parse(&text));
                if is_alias && below.is_empty() {
                    prop_assert_eq!(&found, &Found::Alias("example.com"));
                    continue;
                }
                prop_assert_eq!(found_addresses(&found), model.addresses(place, below), "{} {:?}", text, found);
            }
        }
    }
    for address in (1..6).map(pod).chain((1..4).map(cluster)) {
        let octets = address.to_string();
        let text = octets.rsplit('.').collect::<Vec<_>>().join(".") + ".in-addr.arpa";
        let found = match zone.find(&Labels::parse(&text)) {
            Found::Names(names) => names.into_iter().collect(),
            Found::Missing => BTreeSet::new(),
            other => return Err(TestCaseError::fail(format!("{text}: {other:?}"))),
        };
        prop_assert_eq!(found, model.names(address), "{}", text);
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_name_has_what_all_objects_together_say(changes in prop::collection::vec(change(), 1..25)) {
        let ranges = ["10.96.0.0/16", "10.244.0.0/24"].map(|text| Range::parse(text).unwrap());
        let mut zone = Zone::new("cluster.local", Vec::new(), ranges.into(), 1).unwrap();
        let mut model = Model::default();
        for change in changes {
            model.make(change, &mut zone);
            compare(&model, &zone)?;
        }
        // Nothing is left of what is gone.
        let places: Vec<Place> = model.services.keys().copied().collect();
        for place in places {
            model.make(Change::Service(place, None), &mut zone);
        }
        let slices: Vec<(&'static str, u8)> = model.slices.keys().copied().collect();
        for (namespace, number) in slices {
            model.make(Change::Slice(namespace, number, None), &mut zone);
        }
        compare(&model, &zone)?;
    }
}
