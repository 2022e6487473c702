//! Which address a service stands for: one of its ready endpoints, by chance. The service's own address would do where a proxy answers for
//! it, but this server need not stand where one does.

use crate::admission::Stored;
use crate::registry::{Target, built_in};
use crate::status::Status;
use rand::seq::IndexedRandom;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// Where a service says which one its slices are.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// `address:port` of one that answers for `port` of the service now.
///
/// # Errors
/// There is no such service or port, or nobody answers for it.
pub(crate) async fn of_service(stored: &dyn Stored, namespace: &str, name: &str, port: u16) -> Result<String, Status> {
    let service = self::service(stored, namespace, name).await?;
    let service = service.ok_or_else(|| Status::unavailable(format!("service {name:?} not found")))?;
    let spec = &service["spec"];
    if spec["type"] == "ExternalName" {
        return Ok(format!("{}:{port}", spec["externalName"].as_str().unwrap_or_default()));
    }
    let named = port_name(&service, port)
        .ok_or_else(|| Status::unavailable(format!("no service port {port} found for service {name:?}")))?;
    let found = endpoints(stored, namespace, name, &named).await?.unwrap_or_default();
    let chosen = found.choose(&mut rand::rng()).cloned();
    chosen.ok_or_else(|| Status::unavailable(format!("no endpoints available for service {name:?}")))
}

async fn get(
    stored: &dyn Stored,
    plural: &'static str,
    (namespace, name): (&str, &str),
) -> Result<Option<Arc<Value>>, Status> {
    match stored.get(Target { resource: built_in("", plural)?, namespace, name }).await {
        Ok(found) => Ok(Some(found)),
        Err(status) if status.reason == "NotFound" => Ok(None),
        Err(status) => Err(status),
    }
}

/// The service itself, if there is one.
///
/// # Errors
/// The store failed.
pub(crate) async fn service(stored: &dyn Stored, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Status> {
    get(stored, "services", (namespace, name)).await
}

/// The name of a service's port; empty if it has none.
pub(crate) fn port_name(service: &Value, port: u16) -> Option<String> {
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports.find(|one| one["port"] == port).map(|one| one["name"].as_str().unwrap_or_default().to_owned())
}

/// The ready endpoints of a service for the port of this name; nothing, if nobody keeps any for it.
///
/// # Errors
/// The store failed.
pub(crate) async fn endpoints(
    stored: &dyn Stored,
    namespace: &str,
    name: &str,
    named: &str,
) -> Result<Option<Vec<String>>, Status> {
    let kept = get(stored, "endpoints", (namespace, name)).await?;
    let found = kept.as_ref().map(|endpoints| of_endpoints(endpoints, named)).unwrap_or_default();
    if !found.is_empty() {
        return Ok(Some(found));
    }
    let slices = stored.list(built_in("discovery.k8s.io", "endpointslices")?, namespace).await?;
    let of_it: Vec<&Arc<Value>> =
        slices.iter().filter(|slice| slice["metadata"]["labels"][SERVICE_NAME] == name).collect();
    if kept.is_none() && of_it.is_empty() {
        return Ok(None);
    }
    Ok(Some(of_it.into_iter().flat_map(|slice| of_slice(slice, named)).collect()))
}

fn joined(address: &str, port: u64) -> Option<String> {
    Some(match address.parse().ok()? {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    })
}

fn port_of(ports: &Value, named: &str) -> Option<u64> {
    let mut ports = ports.as_array().into_iter().flatten();
    ports.find(|one| one["name"].as_str().unwrap_or_default() == named)?["port"].as_u64()
}

/// Of an Endpoints object.
fn of_endpoints(endpoints: &Value, named: &str) -> Vec<String> {
    let subsets = endpoints["subsets"].as_array().into_iter().flatten();
    let found = subsets.filter_map(|subset| Some((subset, port_of(&subset["ports"], named)?)));
    let addresses = |subset: &Value, port| -> Vec<String> {
        let addresses = subset["addresses"].as_array().into_iter().flatten();
        addresses.filter_map(|one| joined(one["ip"].as_str()?, port)).collect()
    };
    found.flat_map(|(subset, port)| addresses(subset, port)).collect()
}

/// Of an EndpointSlice; one that says nothing about being ready is.
fn of_slice(slice: &Value, named: &str) -> Vec<String> {
    let Some(port) = port_of(&slice["ports"], named) else { return Vec::new() };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let ready = endpoints.filter(|one| one["conditions"]["ready"] != false);
    ready.filter_map(|one| joined(one["addresses"][0].as_str()?, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::Shelf;
    use serde_json::json;

    async fn found(shelf: &Shelf, port: u16) -> Result<String, String> {
        of_service(shelf, "n", "s", port).await.map_err(|status| status.message)
    }

    #[tokio::test]
    async fn a_service_stands_for_its_endpoints() {
        assert_eq!(found(&Shelf::default(), 443).await, Err("service \"s\" not found".to_owned()));
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 443}]}});
        let with_service = || Shelf::default().with("services", "n", service.clone());
        assert_eq!(found(&with_service(), 80).await, Err("no service port 80 found for service \"s\"".to_owned()));
        assert_eq!(found(&with_service(), 443).await, Err("no endpoints available for service \"s\"".to_owned()));
        let endpoints = json!({"metadata": {"name": "s"}, "subsets": [
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "other", "port": 1}]},
            {"addresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "web", "port": 8443}]}]});
        assert_eq!(found(&with_service().with("endpoints", "n", endpoints), 443).await, Ok("10.0.0.2:8443".to_owned()));
        let slice = json!({"metadata": {"name": "x", "labels": {SERVICE_NAME: "s"}}, "ports": [{"name": "web", "port": 9}],
            "endpoints": [{"addresses": ["fd00::1"], "conditions": {"ready": false}}, {"addresses": ["fd00::2"]}]});
        assert_eq!(found(&with_service().with("endpointslices", "n", slice), 443).await, Ok("[fd00::2]:9".to_owned()));
        let elsewhere =
            json!({"metadata": {"name": "s"}, "spec": {"type": "ExternalName", "externalName": "h.example"}});
        assert_eq!(found(&Shelf::default().with("services", "n", elsewhere), 7).await, Ok("h.example:7".to_owned()));
    }
}
