//! The Endpoints object of a service, for those who read it still: all addresses of a service in one object. No I/O.

use super::plan::{PortsKey, endpoint, has_address, ports_of};
use crate::owned::is_ready;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who keeps an Endpoints object (since Kubernetes 1.33).
pub(crate) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// The value for those made from a selector.
pub(crate) const CONTROLLER: &str = "endpoint-controller";
/// Addresses in one object at most (Kubernetes' own limit): every change rewrites them all.
const ADDRESSES_MAX: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The Endpoints that `service`, selecting `pods`, should have; `present` is what there is, whose annotations stay.
pub(super) fn endpoints(service: &Service, pods: &[Arc<Pod>], present: Option<&Endpoints>) -> Endpoints {
    let mut subsets = subsets(service, pods);
    let mut annotations = present.map(|present| present.annotations().clone()).unwrap_or_default();
    if truncate(&mut subsets) {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    let mut labels = service.labels().clone();
    labels.remove(HEADLESS);
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    Endpoints {
        metadata: ObjectMeta {
            name: Some(service.name_any()),
            namespace: service.namespace(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        },
        subsets: Some(subsets).filter(|subsets| !subsets.is_empty()),
    }
}

/// Whether a write of `wanted` would change anything.
pub(super) fn same(present: &Endpoints, wanted: &Endpoints) -> bool {
    present.subsets.as_deref().unwrap_or_default() == wanted.subsets.as_deref().unwrap_or_default()
        && present.labels() == wanted.labels()
        && present.annotations() == wanted.annotations()
}

fn is_headless(service: &Service) -> bool {
    matches!(service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()), None | Some("" | "None"))
}

/// Pods whose ports resolve alike share a subset.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let spec = service.spec.as_ref();
    let publish_unready = spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let portless = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default().is_empty();
    let mut groups: BTreeMap<PortsKey, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| has_address(pod)) {
        // A pod that is going serves nobody any more, but it keeps its name where unready pods have one.
        let going = pod.metadata.deletion_timestamp.is_some() && !publish_unready;
        let ports = ports_of(service, pod);
        // Only a headless service may be about addresses alone.
        if going || ports.is_empty() && !(portless && is_headless(service)) {
            continue;
        }
        let (ready, unready) = groups.entry(ports).or_default();
        let list = if publish_unready || is_ready(pod) { ready } else { unready };
        list.push(address(service, pod));
    }
    groups.into_iter().map(|(ports, (ready, unready))| subset(ports, ready, unready)).collect()
}

fn address(service: &Service, pod: &Pod) -> EndpointAddress {
    let endpoint = endpoint(service, pod);
    EndpointAddress {
        hostname: endpoint.hostname,
        ip: endpoint.addresses.into_iter().next().unwrap_or_default(),
        node_name: endpoint.node_name,
        target_ref: endpoint.target_ref,
    }
}

fn subset(ports: PortsKey, mut ready: Vec<EndpointAddress>, mut unready: Vec<EndpointAddress>) -> EndpointSubset {
    for list in [&mut ready, &mut unready] {
        list.sort_by_key(|address| (address.ip.clone(), address.target_ref.as_ref().and_then(|pod| pod.name.clone())));
    }
    let ports = ports.into_iter().map(|(name, protocol, port, app_protocol)| EndpointPort {
        name: name.filter(|name| !name.is_empty()),
        protocol: Some(protocol),
        port,
        app_protocol,
    });
    EndpointSubset {
        addresses: Some(ready).filter(|list| !list.is_empty()),
        not_ready_addresses: Some(unready).filter(|list| !list.is_empty()),
        ports: Some(ports.collect::<Vec<_>>()).filter(|list| !list.is_empty()),
    }
}

/// Leaves as many addresses as an object may have: ready ones first, and of each subset its share. Whether any went.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let ready: usize = subsets.iter().map(|subset| length(subset.addresses.as_ref())).sum();
    let unready: usize = subsets.iter().map(|subset| length(subset.not_ready_addresses.as_ref())).sum();
    if ready + unready <= ADDRESSES_MAX {
        return false;
    }
    let of_ready = ready > ADDRESSES_MAX;
    let (room, total) = if of_ready { (ADDRESSES_MAX, ready) } else { (ADDRESSES_MAX - ready, unready) };
    let mut left = room;
    for subset in subsets {
        if of_ready {
            subset.not_ready_addresses = None;
        }
        let list = if of_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (length(list.as_ref()) * room).div_ceil(total).min(left);
        left -= share;
        if let Some(list) = list {
            list.truncate(share);
        }
        *list = list.take().filter(|list| !list.is_empty());
    }
    true
}

fn length<T>(list: Option<&Vec<T>>) -> usize {
    list.map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        let mut whole = json!({"metadata": {"name": "web", "namespace": "a", "labels": {"l": "m"}},
            "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}});
        whole["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn pod(name: &str, ip: &str, ready: &str, port: i32) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "a", "uid": format!("uid-{name}")},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": ready}]}
        }))
        .unwrap())
    }

    fn shown(endpoints: &Endpoints) -> Value {
        serde_json::to_value(endpoints).unwrap()
    }

    /// Fault N5: what a reader of Endpoints finds.
    #[test]
    fn pods_become_addresses() {
        let pods =
            [pod("b", "10.0.0.2", "True", 80), pod("a", "10.0.0.1", "False", 80), pod("c", "10.0.0.3", "True", 81)];
        let made = shown(&endpoints(&service(json!({})), &pods, None));
        let address = |name: &str, ip: &str| {
            json!({"ip": ip, "nodeName": "n",
                "targetRef": {"kind": "Pod", "name": name, "namespace": "a", "uid": format!("uid-{name}")}})
        };
        assert_eq!(
            made["metadata"]["labels"],
            json!({"l": "m", "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
        );
        assert_eq!(
            made["subsets"],
            json!([
                {"addresses": [address("b", "10.0.0.2")], "notReadyAddresses": [address("a", "10.0.0.1")],
                    "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
                {"addresses": [address("c", "10.0.0.3")], "ports": [{"name": "http", "port": 81, "protocol": "TCP"}]},
            ])
        );
    }

    /// Fault N5: pods that are finished, going or without address are left out; headless services need no ports.
    #[test]
    fn only_pods_that_may_serve_are_listed() {
        let mut going = pod("a", "10.0.0.1", "True", 80);
        Arc::make_mut(&mut going).metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        let mut done = pod("b", "10.0.0.2", "False", 80);
        Arc::make_mut(&mut done).status.as_mut().unwrap().phase = Some("Succeeded".into());
        let pods = [going, done, pod("c", "", "True", 80)];
        assert!(endpoints(&service(json!({})), &pods, None).subsets.is_none());
        let unready = json!({"publishNotReadyAddresses": true, "clusterIP": "None", "ports": []});
        let made = shown(&endpoints(&service(unready), &pods, None));
        assert_eq!(made["metadata"]["labels"]["service.kubernetes.io/headless"], "");
        assert_eq!(made["subsets"][0]["addresses"].as_array().map(Vec::len), Some(1), "{made}");
        assert!(made["subsets"][0].get("ports").is_none(), "{made}");
        assert!(endpoints(&service(json!({"ports": []})), &pods, None).subsets.is_none(), "no port, no endpoint");
    }

    /// Fault N5: beyond a thousand addresses the object says that it is cut, and ready ones stay.
    #[test]
    fn a_large_service_is_cut() {
        let many = |range: std::ops::Range<usize>, ready: &str, port: i32| {
            range
                .map(|n| pod(&format!("p{n:04}"), &format!("10.1.{}.{}", n / 250, n % 250), ready, port))
                .collect::<Vec<_>>()
        };
        let count = |made: &Endpoints| {
            let subsets = made.subsets.as_deref().unwrap_or_default();
            let sum = |list: fn(&EndpointSubset) -> usize| subsets.iter().map(list).sum::<usize>();
            (sum(|one| length(one.addresses.as_ref())), sum(|one| length(one.not_ready_addresses.as_ref())))
        };
        let pods = [many(0..900, "True", 80), many(900..1200, "False", 80), many(1200..1400, "False", 81)].concat();
        let made = endpoints(&service(json!({})), &pods, None);
        assert_eq!(count(&made), (900, 100));
        assert_eq!(made.annotations()[OVER_CAPACITY], "truncated");
        let pods = [many(0..800, "True", 80), many(800..1300, "True", 81), many(1300..1400, "False", 80)].concat();
        assert_eq!(count(&endpoints(&service(json!({})), &pods, None)), (1000, 0));
        let after = endpoints(&service(json!({})), &pods[..5], Some(&made));
        assert_eq!((count(&after), after.annotations().len()), ((5, 0), 0));
    }
}
