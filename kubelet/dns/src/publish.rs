//! The service `kube-dns` and the endpoint slice of this node, which lead the cluster's DNS address to where we listen.
//!
//! The service has no selector, so no controller touches its slices; each node that serves has one of its own. What clients look
//! for (the name, the label `k8s-app: kube-dns`, the ports' names) is what Kubernetes' installers write.

use crate::error::DnsError;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "kube-dns";
/// Who owns the fields, and who manages the slice.
const MANAGER: &str = "skiff-dns";
/// The port of DNS.
const PORT: u16 = 53;

/// What is published.
#[derive(Debug, Clone)]
pub struct Published {
    /// The node that serves.
    pub node_name: String,
    /// The service's address, which pods are told.
    pub address: IpAddr,
    /// Where we listen, with UDP and TCP.
    pub endpoint: SocketAddr,
    /// Whether an answer can be expected from there.
    pub ready: bool,
}

/// Creates what is missing. A service that selects pods belongs to another DNS server: it is left as it is, and nothing leads to
/// us.
///
/// # Errors
/// The API server refuses, or the service has another address.
pub async fn publish(client: &Client, what: &Published) -> Result<(), DnsError> {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let named = |verb| refused(verb, "service kube-system/kube-dns");
    match services.get_opt(SERVICE).await.map_err(named("read"))? {
        Some(found) if has_selector(&found) => {
            tracing::info!("the service kube-system/kube-dns leads to pods, and they answer for the cluster's names");
            return withdraw(client, &what.node_name).await;
        }
        Some(found) => check_address(&found, what.address)?,
        None => {}
    }
    let apply = PatchParams::apply(MANAGER).force();
    let patched = services.patch(SERVICE, &apply, &Patch::Apply(service(what.address))).await;
    let _published = patched.map_err(named("write"))?;
    publish_slice(client, what).await
}

/// Leads the service to where a node listens, which need not be this one.
///
/// # Errors
/// The API server refuses.
pub async fn publish_slice(client: &Client, what: &Published) -> Result<(), DnsError> {
    let apply = PatchParams::apply(MANAGER).force();
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes.get_opt(&what.node_name).await.map_err(refused("read", &format!("node {}", what.node_name)))?;
    let uid = node.and_then(|node| node.metadata.uid);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let name = slice_name(&what.node_name);
    let patched = slices.patch(&name, &apply, &Patch::Apply(slice(what, uid.as_deref()))).await;
    let _published = patched.map_err(refused("write", &format!("endpoint slice {NAMESPACE}/{name}")))?;
    Ok(())
}

/// Removes this node's slice, so that nothing leads here any more. The service stays: pods know its address, and another DNS server
/// may take it over.
///
/// # Errors
/// The API server refuses.
pub async fn withdraw(client: &Client, node_name: &str) -> Result<(), DnsError> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let name = slice_name(node_name);
    match slices.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(refused("remove", &format!("endpoint slice {NAMESPACE}/{name}"))(error)),
        Ok(_) => Ok(()),
    }
}

fn refused(verb: &'static str, what: &str) -> impl FnOnce(kube::Error) -> DnsError + use<> {
    let what = what.to_owned();
    move |source| DnsError::Publish { verb, what, source: Box::new(source) }
}

fn has_selector(service: &Service) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty())
}

fn check_address(service: &Service, wanted: IpAddr) -> Result<(), DnsError> {
    let found = service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default();
    if found.parse() == Ok(wanted) { Ok(()) } else { Err(DnsError::OtherAddress { found, wanted }) }
}

fn slice_name(node_name: &str) -> String {
    format!("{SERVICE}-{node_name}")
}

fn labels() -> Value {
    json!({"k8s-app": SERVICE, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"})
}

fn service(address: IpAddr) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": labels()},
        "spec": {
            "clusterIP": address.to_string(),
            "trafficDistribution": "PreferSameNode",
            "ports": [
                {"name": "dns", "port": PORT, "protocol": "UDP", "targetPort": PORT},
                {"name": "dns-tcp", "port": PORT, "protocol": "TCP", "targetPort": PORT},
            ],
        },
    })
}

fn slice(what: &Published, node_uid: Option<&str>) -> Value {
    let node = &what.node_name;
    // With its node, the slice goes too.
    let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid});
    let owners: Vec<Value> = node_uid.map(owner).into_iter().collect();
    let mut labels = labels();
    labels["kubernetes.io/service-name"] = SERVICE.into();
    labels["endpointslice.kubernetes.io/managed-by"] = MANAGER.into();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": slice_name(node), "namespace": NAMESPACE, "labels": labels, "ownerReferences": owners},
        "addressType": if what.endpoint.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{
            "addresses": [what.endpoint.ip().to_string()],
            "conditions": {"ready": what.ready, "serving": what.ready, "terminating": false},
            "nodeName": node,
            // Each node asks the server that it has itself; who has none asks any.
            "hints": {"forNodes": [{"name": node}]},
        }],
        "ports": [
            {"name": "dns", "port": what.endpoint.port(), "protocol": "UDP"},
            {"name": "dns-tcp", "port": what.endpoint.port(), "protocol": "TCP"},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read_as_the_kinds_it_says() {
        let what = Published {
            node_name: "n1".into(),
            address: "10.96.0.10".parse().unwrap(),
            endpoint: "10.244.0.1:53".parse().unwrap(),
            ready: true,
        };
        let service: Service = serde_json::from_value(service(what.address)).unwrap();
        assert!(!has_selector(&service));
        check_address(&service, what.address).unwrap();
        let refused = check_address(&service, "10.96.0.11".parse().unwrap()).unwrap_err();
        assert!(refused.to_string().contains("the address 10.96.0.10, and pods would be told 10.96.0.11"), "{refused}");
        let slice: EndpointSlice = serde_json::from_value(slice(&what, Some("u"))).unwrap();
        assert_eq!(slice.metadata.name.as_deref(), Some("kube-dns-n1"));
        assert_eq!(slice.metadata.labels.unwrap()["kubernetes.io/service-name"], "kube-dns");
    }
}
