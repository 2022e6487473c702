//! Which endpoint slices mirror an Endpoints object. No I/O.

use crate::endpoint_slice::{MANAGER_LABEL, SERVICE_LABEL};
use crate::owned::owner_reference;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Who keeps the slices.
pub(super) const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
/// Addresses of a subset that are mirrored at most (Kubernetes' default), which is also what a slice may hold.
pub(super) const ADDRESSES_MAX: usize = 1000;
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const ELECTION: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that are about the Endpoints object itself.
const OWN_ANNOTATIONS: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

/// What mirrors an Endpoints object.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    pub(super) slices: Vec<EndpointSlice>,
    /// Addresses for which there was no room.
    pub(super) skipped: usize,
}

/// Whether the object is only a lock by which programs elect a leader.
pub(super) fn is_election(endpoints: &Endpoints) -> bool {
    endpoints.annotations().contains_key(ELECTION)
}

/// Whether `endpoints` are a user's, for a service that selects no pods.
pub(super) fn is_mirrored(endpoints: &Endpoints, service: &Service) -> bool {
    let selects =
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|labels| !labels.is_empty());
    let skips = endpoints.labels().get(SKIP).is_some_and(|value| value == "true");
    !selects && !skips && !is_election(endpoints)
}

/// Name, protocol, number and application protocol of a port.
type Port = (Option<String>, Option<String>, i32, Option<String>);
/// Address family and ports.
type Key = (&'static str, Vec<Port>);

/// The slices: one for each family and list of ports, more if it would be too long.
pub(super) fn mirror(endpoints: &Endpoints) -> Mirror {
    let mut groups: BTreeMap<Key, Vec<Endpoint>> = BTreeMap::new();
    let mut skipped = 0;
    for subset in endpoints.subsets.iter().flatten() {
        let ports = ports(subset);
        let all = addresses(subset);
        skipped += all.len().saturating_sub(ADDRESSES_MAX);
        for (address, ready) in all.into_iter().take(ADDRESSES_MAX) {
            let family = match address.ip.parse() {
                Ok(IpAddr::V4(_)) => "IPv4",
                Ok(IpAddr::V6(_)) => "IPv6",
                // The API lets no other text in.
                Err(_) => continue,
            };
            groups.entry((family, ports.clone())).or_default().push(endpoint(address, ready));
        }
    }
    let chunks = groups.into_iter().flat_map(|(key, list)| {
        let chunks: Vec<Vec<Endpoint>> = list.chunks(ADDRESSES_MAX).map(<[_]>::to_vec).collect();
        chunks.into_iter().map(move |chunk| (key.clone(), chunk))
    });
    // A dot, which no name of a service has, keeps the names apart from those of slices that are made from a selector. The
    // family is in the name because it can't be changed.
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let slices = chunks.map(|((family, ports), list)| {
        let number = numbers.entry(family).or_default();
        *number += 1;
        let name = format!("{}.mirror-{}-{}", endpoints.name_any(), family.to_lowercase(), *number - 1);
        slice(endpoints, name, family, ports, list)
    });
    Mirror { slices: slices.collect(), skipped }
}

fn ports(subset: &EndpointSubset) -> Vec<Port> {
    let ports = subset.ports.iter().flatten();
    let mut ports: Vec<_> = ports
        .map(|port| {
            let protocol = port.protocol.clone().or_else(|| Some("TCP".to_owned()));
            (Some(port.name.clone().unwrap_or_default()), protocol, port.port, port.app_protocol.clone())
        })
        .collect();
    ports.sort();
    ports
}

/// All addresses, ready ones first, each once.
fn addresses(subset: &EndpointSubset) -> Vec<(&EndpointAddress, bool)> {
    let ready = subset.addresses.iter().flatten().map(|address| (address, true));
    let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
    ready.chain(unready).collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn slice(endpoints: &Endpoints, name: String, family: &str, ports: Vec<Port>, list: Vec<Endpoint>) -> EndpointSlice {
    let mut labels = endpoints.labels().clone();
    labels.insert(SERVICE_LABEL.to_owned(), endpoints.name_any());
    labels.insert(MANAGER_LABEL.to_owned(), MIRROR.to_owned());
    let mut annotations = endpoints.annotations().clone();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    let ports = ports.into_iter().map(|(name, protocol, port, app_protocol)| EndpointPort {
        name,
        protocol,
        port: Some(port),
        app_protocol,
    });
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: endpoints.namespace(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![owner_reference(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(list),
        ports: Some(ports.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn endpoints(metadata: Value, subsets: Value) -> Endpoints {
        let mut whole = json!({"metadata": {"name": "db", "namespace": "a", "uid": "u"}, "subsets": subsets});
        whole["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    /// Fault N5: the slices of a user's Endpoints, by family and ports.
    #[test]
    fn subsets_become_slices() {
        let annotations = json!({"a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
        let made = mirror(&endpoints(
            json!({"labels": {"l": "m"}, "annotations": annotations}),
            json!([{"addresses": [{"ip": "192.0.2.1", "hostname": "h"}, {"ip": "fd00::1"}],
                "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"name": "sql", "port": 5432, "appProtocol": "x"}]}]),
        ));
        assert_eq!((made.slices.len(), made.skipped), (2, 0));
        let first = serde_json::to_value(&made.slices[0]).unwrap();
        assert_eq!(
            first["metadata"]["labels"],
            json!({"l": "m", "kubernetes.io/service-name": "db",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io"})
        );
        assert_eq!(first["metadata"]["annotations"], json!({"a": "b"}));
        assert_eq!(first["metadata"]["ownerReferences"][0]["kind"], "Endpoints");
        assert_eq!(
            first["endpoints"],
            json!([
                {"addresses": ["192.0.2.1"], "conditions": {"ready": true}, "hostname": "h"},
                {"addresses": ["192.0.2.2"], "conditions": {"ready": false}},
            ])
        );
        assert_eq!(first["ports"], json!([{"name": "sql", "port": 5432, "protocol": "TCP", "appProtocol": "x"}]));
        assert_eq!((made.slices[0].address_type.as_str(), made.slices[1].address_type.as_str()), ("IPv4", "IPv6"));
        assert_ne!(made.slices[0].name_any(), made.slices[1].name_any());
    }

    /// Fault N5: a subset has its limit, and who doesn't want slices gets none.
    #[test]
    fn what_is_not_mirrored() {
        let many: Vec<Value> = (0..1003).map(|n| json!({"ip": format!("10.0.{}.{}", n / 250, n % 250)})).collect();
        let made = mirror(&endpoints(json!({}), json!([{"addresses": many, "ports": [{"port": 1}]}])));
        assert_eq!((made.slices.len(), made.skipped), (1, 3));
        let service = |spec: Value| serde_json::from_value::<Service>(json!({"metadata": {}, "spec": spec})).unwrap();
        let bare = service(json!({"ports": []}));
        assert!(is_mirrored(&endpoints(json!({}), json!([])), &bare));
        assert!(!is_mirrored(&endpoints(json!({}), json!([])), &service(json!({"selector": {"a": "b"}}))));
        for metadata in [json!({"labels": {SKIP: "true"}}), json!({"annotations": {ELECTION: "{}"}})] {
            assert!(!is_mirrored(&endpoints(metadata, json!([])), &bare));
        }
    }
}
