//! Which addresses stand behind a port of a service. No I/O.

use crate::route::{Backend, PortRef};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

/// How a service is spoken to (`appProtocol`; KEP-3726 names the ones of Kubernetes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Protocol {
    /// HTTP/1.1, which WebSockets begin with too.
    #[default]
    Http,
    /// HTTP/2 without encryption, as gRPC is served.
    H2c,
    /// HTTP/1.1 in TLS; the certificate may be anybody's.
    Https,
}

impl Protocol {
    fn named(text: Option<&str>) -> Self {
        match text.unwrap_or_default() {
            "kubernetes.io/h2c" | "h2c" | "grpc" => Self::H2c,
            "https" | "HTTPS" | "kubernetes.io/wss" | "wss" => Self::Https,
            _ => Self::Http,
        }
    }
}

/// What stands behind a backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// How it is spoken to.
    pub(crate) protocol: Protocol,
    /// Where: those that are ready; if there are none, those that end and serve still.
    pub(crate) addresses: BTreeSet<SocketAddr>,
}

/// Why nothing can stand behind a backend, whatever runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// There is no such service.
    #[error("there is no service {0}")]
    Service(String),
    /// It is a name of somewhere else.
    #[error("service {0} is a name outside of the cluster (ExternalName), to which nothing is forwarded")]
    External(String),
    /// It has no such port.
    #[error("service {0} has no port {1}")]
    Port(String, String),
}

/// Looks a backend up.
///
/// # Errors
/// The service or its port is not there.
pub(crate) fn find(
    backend: &Backend,
    service: Option<&Service>,
    slices: &[Arc<EndpointSlice>],
) -> Result<Found, Missing> {
    let name = || format!("{}/{}", backend.namespace, backend.service);
    let service = service.ok_or_else(|| Missing::Service(name()))?;
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return Err(Missing::External(name()));
    }
    let ports = spec.ports.unwrap_or_default();
    let is_meant = |port: &&ServicePort| match &backend.port {
        PortRef::Number(number) => port.port == i32::from(*number),
        PortRef::Name(name) => port.name.as_deref() == Some(name),
    };
    let is_tcp = |port: &&ServicePort| port.protocol.as_deref().unwrap_or("TCP") == "TCP";
    let Some(port) = ports.iter().filter(is_tcp).find(is_meant) else {
        let wanted = match &backend.port {
            PortRef::Number(number) => number.to_string(),
            PortRef::Name(name) => name.clone(),
        };
        return Err(Missing::Port(name(), wanted));
    };
    let (mut ready, mut ending) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        let Some(number) = number_in(slice, port.name.as_deref().unwrap_or_default()) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let all = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
            let all = all.map(|address| SocketAddr::new(address, number));
            match state(endpoint) {
                State::Ready => ready.extend(all),
                State::Ending => ending.extend(all),
                State::Away => {}
            }
        }
    }
    let addresses = if ready.is_empty() { ending } else { ready };
    Ok(Found { protocol: Protocol::named(port.app_protocol.as_deref()), addresses })
}

/// The number of a port in a slice, which knows ports of services by their names.
fn number_in(slice: &EndpointSlice, name: &str) -> Option<u16> {
    let mut ports = slice.ports.as_deref().unwrap_or_default().iter();
    let port = ports.find(|port| port.name.as_deref().unwrap_or_default() == name)?;
    port.port.and_then(|number| u16::try_from(number).ok())
}

enum State {
    Ready,
    /// It is being ended, and answers still.
    Ending,
    Away,
}

/// An unknown condition is as the API says: ready.
fn state(endpoint: &Endpoint) -> State {
    let conditions = endpoint.conditions.as_ref();
    let of = |read: fn(&k8s_openapi::api::discovery::v1::EndpointConditions) -> Option<bool>| conditions.and_then(read);
    let ready = of(|all| all.ready).unwrap_or(true);
    let terminating = of(|all| all.terminating).unwrap_or(false);
    match (ready && !terminating, of(|all| all.serving).unwrap_or(ready) && terminating) {
        (true, _) => State::Ready,
        (_, true) => State::Ending,
        _ => State::Away,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn look(port: PortRef, service: Value, endpoints: Value) -> Result<Found, Missing> {
        let slice = json!({"addressType": "IPv4", "endpoints": endpoints, "metadata": {},
            "ports": [{"name": "web", "port": 8080}, {"name": "grpc", "port": 9090}]});
        let service: Service = serde_json::from_value(json!({"spec": service})).unwrap();
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        let backend = Backend { namespace: "n".into(), service: "s".into(), port };
        find(&backend, Some(&service), &[Arc::new(slice)])
    }

    fn ports() -> Value {
        json!({"ports": [{"name": "web", "port": 80, "targetPort": 8080},
                         {"name": "grpc", "port": 90, "appProtocol": "kubernetes.io/h2c"}]})
    }

    fn addresses(found: &Found) -> Vec<String> {
        found.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn those_that_are_ready_and_if_there_are_none_those_that_serve_still() {
        let one = |address: &str, conditions: Value| json!({"addresses": [address], "conditions": conditions});
        let ending = one("10.0.0.3", json!({"ready": false, "serving": true, "terminating": true}));
        let gone = one("10.0.0.4", json!({"ready": false, "serving": false, "terminating": true}));
        let all = json!([one("10.0.0.1", json!({})), one("10.0.0.2", json!({"ready": false})), ending, gone]);
        let found = look(PortRef::Number(80), ports(), all).unwrap();
        assert_eq!(addresses(&found), ["10.0.0.1:8080"]);
        let found = look(PortRef::Name("grpc".into()), ports(), json!([ending, gone])).unwrap();
        assert_eq!((addresses(&found), found.protocol), (vec!["10.0.0.3:9090".to_owned()], Protocol::H2c));
    }

    #[test]
    fn what_is_missing_is_said() {
        let text = |found: Result<Found, Missing>| found.unwrap_err().to_string();
        assert_eq!(text(look(PortRef::Number(81), ports(), json!([]))), "service n/s has no port 81");
        let external = json!({"type": "ExternalName", "externalName": "a.b"});
        assert!(text(look(PortRef::Number(80), external, json!([]))).contains("outside of the cluster"));
        let backend = Backend { namespace: "n".into(), service: "s".into(), port: PortRef::Number(1) };
        assert_eq!(find(&backend, None, &[]).unwrap_err().to_string(), "there is no service n/s");
    }
}
