//! Which endpoint slices a service needs. No I/O.

use crate::owned::{has_ended, is_ready, owner_reference};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Endpoints a slice holds at most (Kubernetes' default): a change then rewrites at most this many.
const ENDPOINTS_MAX: usize = 100;
/// Which service a slice belongs to.
pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Who keeps a slice.
pub(crate) const MANAGER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";

/// The label of a node that says where it is.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
/// Which of a service's endpoints are preferred (`spec.trafficDistribution`): `PreferClose` is the older name of the same zone's.
const BY_ZONE: [&str; 3] = ["PreferClose", "PreferSameZone", BY_NODE];
const BY_NODE: &str = "PreferSameNode";

/// The slices that `service`, selecting `pods`, should have; `zone` says where a node is. They are named `<service>-<n>`, so that the same input gives the same
/// objects and a second reconciliation changes nothing.
pub(crate) fn slices(
    service: &Service,
    pods: &[Arc<Pod>],
    zone: &dyn Fn(&str) -> Option<String>,
) -> Vec<EndpointSlice> {
    let mut groups: BTreeMap<PortsKey, Vec<Endpoint>> = BTreeMap::new();
    let mut pods: Vec<&Pod> = pods.iter().map(AsRef::as_ref).filter(|pod| has_address(pod)).collect();
    pods.sort_by_key(|pod| pod.name_any());
    for pod in pods {
        // A named target port may be another number in another pod, so pods are grouped by what their ports resolve to.
        groups.entry(ports_of(service, pod)).or_default().push(placed(service, endpoint(service, pod), zone));
    }
    if groups.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    let chunks = groups.into_iter().flat_map(|(ports, endpoints)| {
        let whole: Vec<Vec<Endpoint>> = endpoints.chunks(ENDPOINTS_MAX).map(<[_]>::to_vec).collect();
        let whole = if whole.is_empty() { vec![Vec::new()] } else { whole };
        whole.into_iter().map(move |endpoints| (ports.clone(), endpoints))
    });
    chunks.enumerate().map(|(number, (ports, endpoints))| slice(service, number, ports, endpoints)).collect()
}

/// An endpoint with where it is, and for whom if the service says that near ones are preferred. One that is not ready is for nobody.
fn placed(service: &Service, mut endpoint: Endpoint, zone: &dyn Fn(&str) -> Option<String>) -> Endpoint {
    let wanted = service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref()).unwrap_or_default();
    let is_ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true);
    endpoint.zone = endpoint.node_name.as_deref().and_then(zone);
    if !is_ready || !BY_ZONE.contains(&wanted) {
        return endpoint;
    }
    let for_zones = endpoint.zone.clone().map(|name| vec![ForZone { name }]);
    let node = endpoint.node_name.clone().filter(|_| wanted == BY_NODE);
    let for_nodes = node.map(|name| vec![ForNode { name }]);
    let hints = EndpointHints { for_nodes, for_zones };
    endpoint.hints = Some(hints).filter(|hints| hints.for_nodes.is_some() || hints.for_zones.is_some());
    endpoint
}

/// Name, protocol, number and application protocol of each port.
pub(super) type PortsKey = Vec<(Option<String>, String, i32, Option<String>)>;

pub(super) fn has_address(pod: &Pod) -> bool {
    !has_ended(pod) && address(pod).is_some()
}

fn address(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())
}

pub(super) fn ports_of(service: &Service, pod: &Pod) -> PortsKey {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let resolved = ports.iter().filter_map(|port| {
        let number = target(port, pod)?;
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        Some((Some(port.name.clone().unwrap_or_default()), protocol, number, port.app_protocol.clone()))
    });
    resolved.collect()
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports
                .filter(|port| {
                    port.name.as_ref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
                })
                .map(|port| port.container_port)
                .next()
        }
    }
}

pub(super) fn endpoint(service: &Service, pod: &Pod) -> Endpoint {
    let publish_unready = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let serving = is_ready(pod);
    let spec = pod.spec.as_ref();
    // A pod has a name of its own in a headless service only if it asks for one below that service.
    let hostname = spec
        .filter(|spec| spec.subdomain.as_deref() == Some(&service.name_any()))
        .and_then(|spec| spec.hostname.clone());
    Endpoint {
        addresses: address(pod).into_iter().collect(),
        conditions: Some(EndpointConditions {
            ready: Some(publish_unready || serving && !terminating),
            serving: Some(publish_unready || serving),
            terminating: Some(terminating),
        }),
        hostname,
        node_name: spec.and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: Some(pod.name_any()),
            namespace: pod.namespace(),
            uid: pod.uid(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

fn slice(service: &Service, number: usize, ports: PortsKey, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.to_owned(), service.name_any());
    labels.insert(MANAGER_LABEL.to_owned(), MANAGER.to_owned());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".to_owned(), String::new());
    }
    let ports = ports.into_iter().map(|(name, protocol, port, app_protocol)| EndpointPort {
        name,
        protocol: Some(protocol),
        port: Some(port),
        app_protocol,
    });
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{}-{number}", service.name_any())),
            namespace: service.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![owner_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
        }))
        .unwrap()
    }

    fn nowhere(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn near_endpoints_are_hinted_at_where_a_service_prefers_them() {
        let hints = |wanted: Option<&str>, ready: &str| {
            let mut service = service();
            service.spec.as_mut().unwrap().traffic_distribution = wanted.map(str::to_owned);
            let found = slices(&service, &[pod("a", ready, 80)], &|node| Some(format!("zone-of-{node}")));
            let endpoint = found[0].endpoints.as_ref().unwrap()[0].clone();
            assert_eq!(endpoint.zone.as_deref(), Some("zone-of-n"));
            let hints = endpoint.hints.unwrap_or_default();
            let zone = hints.for_zones.map(|zones| zones[0].name.clone());
            (zone, hints.for_nodes.map(|nodes| nodes[0].name.clone()))
        };
        let zone = || Some("zone-of-n".to_owned());
        assert_eq!(hints(None, "True"), (None, None));
        assert_eq!(hints(Some("PreferClose"), "True"), (zone(), None));
        assert_eq!(hints(Some("PreferSameZone"), "True"), (zone(), None));
        assert_eq!(hints(Some("PreferSameNode"), "True"), (zone(), Some("n".to_owned())));
        assert_eq!(hints(Some("PreferSameNode"), "False"), (None, None));
    }

    fn pod(name: &str, ready: &str, port: i32) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIP": "10.244.0.9", "conditions": [{"type": "Ready", "status": ready}]}
        }))
        .unwrap())
    }

    #[test]
    fn unready_pods_are_listed_as_such() {
        let found = slices(&service(), &[pod("b", "False", 8080), pod("a", "True", 8080)], &nowhere);
        let endpoints = found[0].endpoints.as_ref().unwrap();
        let ready: Vec<_> = endpoints.iter().map(|endpoint| endpoint.conditions.as_ref().unwrap().ready).collect();
        assert_eq!(ready, [Some(true), Some(false)]);
        assert_eq!(found[0].ports.as_ref().unwrap()[0].port, Some(8080));
    }

    #[test]
    fn pods_with_other_numbers_for_a_named_port_get_a_slice_of_their_own() {
        let found = slices(&service(), &[pod("a", "True", 8080), pod("b", "True", 9090)], &nowhere);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn many_pods_are_spread_over_slices_and_none_leave_one_empty() {
        let pods: Vec<_> = (0..250).map(|n| pod(&format!("p{n:03}"), "True", 80)).collect();
        let sizes: Vec<_> =
            slices(&service(), &pods, &nowhere).iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(slices(&service(), &[], &nowhere).len(), 1);
    }
}
