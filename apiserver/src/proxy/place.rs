//! Which address a name stands for: `name`, `name:port` or `scheme:name:port`.

use super::Asked;
use crate::app::App;
use crate::kubelet;
use crate::registry::{Registry, Target, built_in};
use crate::status::Status;
use rand::seq::SliceRandom;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) how: How,
    /// `10.88.0.7:8080`.
    pub(super) authority: String,
}

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// In the clear.
    Plain,
    /// With TLS, whoever answers.
    Tls,
    /// With TLS and certificates of the cluster's authority on both sides.
    Kubelet,
}

/// A name, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    how: How,
    name: &'a str,
    /// Empty: not said.
    port: &'a str,
}

fn split(id: &str) -> Option<Name<'_>> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts[..] {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme, name, port] => (scheme, name, port),
        _ => return None,
    };
    let how = match scheme {
        "" | "http" => How::Plain,
        "https" => How::Tls,
        _ => return None,
    };
    (!name.is_empty()).then_some(Name { how, name, port })
}

async fn read(registry: &Registry, plural: &str, namespace: &str, name: &str) -> Result<Value, Status> {
    registry.get(&Target { resource: built_in("", plural)?, namespace, name }).await?.value()
}

impl Place {
    /// Finds it.
    pub(super) async fn of(app: &Arc<App>, asked: Asked<'_>) -> Result<Self, Status> {
        let (one, registry) = (asked.plural.trim_end_matches('s'), &app.registry);
        let name =
            split(asked.id).ok_or_else(|| Status::bad_request(format!("invalid {one} request \"{}\"", asked.id)))?;
        match asked.plural {
            "pods" => of_pod(&read(registry, "pods", asked.namespace, name.name).await?, &name),
            "nodes" => of_node(&read(registry, "nodes", "", name.name).await?, &name),
            _ => of_service(registry, asked, &name).await,
        }
    }
}

fn of_pod(pod: &Value, name: &Name<'_>) -> Result<Place, Status> {
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    let address = reachable(address)?;
    if !name.port.is_empty() {
        return Ok(Place { how: name.how, authority: joined(address, name.port) });
    }
    let mut containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let first = containers.find_map(|container| container["ports"][0]["containerPort"].as_u64());
    let default = if name.how == How::Plain { 80 } else { 443 };
    Ok(Place { how: name.how, authority: joined(address, &first.unwrap_or(default).to_string()) })
}

fn of_node(node: &Value, name: &Name<'_>) -> Result<Place, Status> {
    let authority = kubelet::authority_of(node).ok_or_else(|| {
        Status::internal(format!("no preferred addresses found; known addresses of {}: none", name.name))
    })?;
    let (host, port) = authority.rsplit_once(':').unwrap_or((&authority, ""));
    let address = reachable(host.trim_matches(['[', ']']))?;
    if name.port.is_empty() || name.port == port {
        return Ok(Place { how: How::Kubelet, authority });
    }
    Ok(Place { how: name.how, authority: joined(address, name.port) })
}

/// One of the pods behind a service, by chance.
async fn of_service(registry: &Registry, asked: Asked<'_>, name: &Name<'_>) -> Result<Place, Status> {
    let mut port = name.port.to_owned();
    if let Ok(number) = name.port.parse::<i64>() {
        let service = read(registry, "services", asked.namespace, name.name).await?;
        port = port_name(&service, number).ok_or_else(|| {
            Status::unavailable(format!("no service port {number} found for service \"{}\"", name.name))
        })?;
    }
    let endpoints = read(registry, "endpoints", asked.namespace, name.name).await?;
    let mut candidates = candidates(&endpoints, &port, asked.namespace);
    candidates.shuffle(&mut rand::rng());
    for Candidate { pod, address, port } in candidates {
        // An endpoint that no pod has is somebody's claim; who may write endpoints could make us ask any address.
        let Ok(pod) = read(registry, "pods", asked.namespace, &pod).await else { continue };
        let mut addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
        if let (true, Ok(ip)) = (addresses.any(|it| it["ip"] == *address), address.parse()) {
            return Ok(Place { how: name.how, authority: joined(ip, &port.to_string()) });
        }
    }
    Err(Status::unavailable(format!("no endpoints available for service \"{}\"", asked.id)))
}

/// The name of a service's port.
fn port_name(service: &Value, number: i64) -> Option<String> {
    let mut ports = service["spec"]["ports"].as_array()?.iter();
    let port = ports.find(|port| port["port"] == number)?;
    Some(port["name"].as_str().unwrap_or_default().to_owned())
}

/// An endpoint, and the pod that it says it is.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    pod: String,
    address: String,
    port: u64,
}

fn candidates(endpoints: &Value, port: &str, namespace: &str) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let mut ports = subset["ports"].as_array().into_iter().flatten();
        let port = ports.find(|it| it["name"].as_str().unwrap_or_default() == port);
        let Some(port) = port.and_then(|port| port["port"].as_u64()) else { continue };
        for address in subset["addresses"].as_array().into_iter().flatten() {
            let pod = &address["targetRef"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if pod["namespace"] == namespace {
                candidates.push(Candidate { pod: text(&pod["name"]), address: text(&address["ip"]), port });
            }
        }
    }
    candidates
}

/// Refuses what would lead to this machine itself or to many: pods do not choose whom the API server asks.
fn reachable(address: &str) -> Result<IpAddr, Status> {
    let refused = || Status::bad_request("address not allowed");
    let address: IpAddr = address.parse().map_err(|_| refused())?;
    let is_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let is_global = !is_local && !address.is_unspecified() && !address.is_loopback() && !address.is_multicast();
    is_global.then_some(address).ok_or_else(refused)
}

fn joined(address: IpAddr, port: &str) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_have_a_scheme_and_a_port_or_not() {
        for (id, expected) in [
            ("p", Some((How::Plain, "p", ""))),
            ("p:80", Some((How::Plain, "p", "80"))),
            ("https:p:", Some((How::Tls, "p", ""))),
            ("http:p:web", Some((How::Plain, "p", "web"))),
            ("ftp:p:21", None),
            (":80", None),
            ("a:b:c:d", None),
        ] {
            assert_eq!(split(id), expected.map(|(how, name, port)| Name { how, name, port }), "{id}");
        }
    }

    fn pod(id: &str, pod: &Value) -> Result<String, String> {
        of_pod(pod, &split(id).unwrap()).map(|place| place.authority).map_err(|status| status.message)
    }

    #[test]
    fn a_pod_is_asked_at_its_first_port() {
        let mut object = json!({"spec": {"containers": [{}, {"ports": [{"containerPort": 8080}]}]},
            "status": {"podIP": "10.88.0.7"}});
        assert_eq!(pod("p", &object).as_deref(), Ok("10.88.0.7:8080"));
        assert_eq!(pod("https:p:443", &object).as_deref(), Ok("10.88.0.7:443"));
        object["spec"] = json!({"containers": [{}]});
        assert_eq!(pod("p", &object).as_deref(), Ok("10.88.0.7:80"));
        object["status"]["podIP"] = json!("fd00::7");
        assert_eq!(pod("https:p:", &object).as_deref(), Ok("[fd00::7]:443"));
        for address in ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "fe80::1", "", "example.com"] {
            object["status"]["podIP"] = json!(address);
            assert_eq!(pod("p", &object).unwrap_err(), "address not allowed", "{address}");
        }
    }

    #[test]
    fn a_node_is_asked_as_a_kubelet_only_at_its_kubelets_port() {
        let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.5"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}});
        for (id, how, authority) in [
            ("n", How::Kubelet, "10.0.0.5:10250"),
            ("https:n:10250", How::Kubelet, "10.0.0.5:10250"),
            ("n:9100", How::Plain, "10.0.0.5:9100"),
            ("https:n:9100", How::Tls, "10.0.0.5:9100"),
        ] {
            let place = of_node(&node, &split(id).unwrap()).unwrap();
            assert_eq!(place, Place { how, authority: authority.to_owned() }, "{id}");
        }
    }

    #[test]
    fn endpoints_of_a_port_that_are_pods_are_candidates() {
        let address = |ip: &str, namespace: &str| json!({"ip": ip, "targetRef": {"kind": "Pod", "namespace": namespace, "name": "p"}});
        let endpoints = json!({"subsets": [
            {"addresses": [address("10.0.0.1", "a"), address("10.0.0.2", "b"), {"ip": "10.0.0.3"}],
             "ports": [{"name": "web", "port": 8080}, {"name": "tls", "port": 8443}]},
            {"notReadyAddresses": [address("10.0.0.4", "a")], "ports": [{"name": "web", "port": 8080}]},
            {"addresses": [address("10.0.0.5", "a")], "ports": [{"port": 9}]}]});
        let found = |port| {
            let candidates = candidates(&endpoints, port, "a");
            candidates.into_iter().map(|it| format!("{}:{}", it.address, it.port)).collect::<Vec<_>>()
        };
        assert_eq!(found("web"), ["10.0.0.1:8080"]);
        assert_eq!(found(""), ["10.0.0.5:9"]);
        assert_eq!(found("other"), Vec::<String>::new());
        let service = json!({"spec": {"ports": [{"port": 80, "name": "web"}, {"port": 81}]}});
        assert_eq!(port_name(&service, 80).as_deref(), Some("web"));
        assert_eq!(port_name(&service, 81).as_deref(), Some(""));
        assert_eq!(port_name(&service, 82), None);
    }
}
