//! From a pod to a name or an address: what it resolves to, whether somebody answers there, and who drops packets on the way.

mod names; // as which names a name is asked for
mod policy; // network policies

use crate::answer::Finding;
use crate::facts::Facts;
use crate::look::{full_name, list, name, number, protocol, text};
use crate::{node, paths, service};
use serde_json::Value;
use std::net::IpAddr;

pub(crate) use names::search_words;
pub(crate) use policy::{closed_to_all, restricted};

/// What an explanation of a way consists of: causes, what is not known, and a sentence for the summary.
type Found = (Vec<Finding>, Vec<String>, String);

/// Explains why `pod` does not come to `to`, `HOST` or `HOST:PORT`.
pub(crate) fn explain(facts: &Facts, pod: &Value, to: &str) -> Found {
    let (host, port) = taken_apart(to);
    if let Ok(address) = host.parse::<IpAddr>() {
        return to_address(facts, pod, address, port);
    }
    let Some(services) = facts.list(&paths::all("services")) else { return (Vec::new(), Vec::new(), String::new()) };
    match names::service(facts, pod, host, services) {
        Some(service) => to_service(facts, pod, service, port),
        None => names::unresolved(facts, pod, host, services).unwrap_or_else(|| outside(facts, pod, host)),
    }
}

/// Host and port; of an IPv6 address with a port the brackets fall away.
fn taken_apart(to: &str) -> (&str, Option<i64>) {
    if let Some((host, rest)) = to.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match to.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (to, None),
    }
}

fn to_address(facts: &Facts, pod: &Value, address: IpAddr, port: Option<i64>) -> Found {
    let services = facts.list(&paths::all("services")).unwrap_or_default();
    let pods = facts.list(&paths::all("pods")).unwrap_or_default();
    let shown = address.to_string();
    let has = |object: &&Value, one: &str, all: &str| {
        text(object, one) == shown || list(object, all).iter().any(|ip| *ip == *shown || ip["ip"] == *shown)
    };
    if let Some(service) = services.iter().find(|service| has(service, "/spec/clusterIP", "/spec/clusterIPs")) {
        return to_service(facts, pod, service, port);
    }
    match pods.iter().find(|other| has(other, "/status/podIP", "/status/podIPs")) {
        Some(other) => {
            let mut found = policy::between(facts, pod, other, port, "TCP");
            found.extend(crate::pod::causes(facts, other));
            (found, Vec::new(), format!("{address} is pod {}.", full_name(other)))
        }
        None => outside(facts, pod, &shown),
    }
}

fn to_service(facts: &Facts, pod: &Value, service: &Value, port: Option<i64>) -> Found {
    let mut found = Vec::new();
    let ports = list(service, "/spec/ports");
    let wanted = port.and_then(|port| ports.iter().find(|one| number(one, "/port") == Some(port)));
    let is_headless = text(service, "/spec/clusterIP") == "None";
    if let Some(port) = port.filter(|_| wanted.is_none() && !is_headless) {
        let has: Vec<_> = ports.iter().map(service::shown_port).collect();
        let cause = format!("Service {} has no port {port}, only {}.", full_name(service), crate::words::listed(&has));
        found.push(
            Finding::new("PortMissing", format!("service {}", full_name(service)), cause)
                .advice("Ask at one of these ports, or add this one to spec.ports."),
        );
    }
    found.extend(service::causes(facts, service));
    if let Some(backend) = service::pods_of(facts, service).into_iter().find(|backend| crate::pod::is_well(backend)) {
        let port = wanted.or(ports.first());
        let protocol = port.map_or("TCP", protocol);
        let number = port
            .and_then(|port| service::target(port, backend))
            .or_else(|| port.and_then(|port| number(port, "/port")));
        found.extend(policy::between(facts, pod, backend, number, protocol));
    }
    (found, Vec::new(), format!("What it asks for is service {}.", full_name(service)))
}

/// Beyond the cluster.
fn outside(facts: &Facts, pod: &Value, host: &str) -> Found {
    let (mut found, mut unknown) = node::outward(facts, text(pod, "/spec/nodeName"));
    found.splice(0..0, policy::egress_to(facts, pod, host.parse().ok()));
    unknown.push(format!("whether {host} itself answers: nobody but the pod can try"));
    (found, unknown, format!("{host} is outside of the cluster, as far as pod {} is concerned.", name(pod)))
}

#[cfg(test)]
mod tests {
    use super::taken_apart;

    #[test]
    fn hosts_have_ports_or_not() {
        let all = ["db", "db:5432", "10.0.0.1:80", "fd00::1", "[fd00::1]:80"].map(taken_apart);
        assert_eq!(
            all,
            [("db", None), ("db", Some(5432)), ("10.0.0.1", Some(80)), ("fd00::1", None), ("fd00::1", Some(80))]
        );
    }
}
