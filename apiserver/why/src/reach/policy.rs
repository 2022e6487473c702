//! Network policies: which of them drop what one pod sends to another, or to the outside.

use crate::answer::Finding;
use crate::facts::{Facts, Look};
use crate::look::{full_name, list, name, number, protocol, shown, text};
use crate::paths;
use crate::select::{selects, words};
use crate::words::listed;
use serde_json::Value;
use std::net::IpAddr;

const POLICIES: &str = "/apis/networking.k8s.io/v1/networkpolicies";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Ingress,
    Egress,
}

impl Way {
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Ingress => ("Ingress", "/spec/ingress", "from"),
            Self::Egress => ("Egress", "/spec/egress", "to"),
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Copy)]
enum Peer<'a> {
    Pod(&'a Value),
    Outside(Option<IpAddr>),
}

/// Policies that select `pod` and say something of this way.
fn about<'a>(facts: &'a Facts, pod: &Value, way: Way) -> Vec<&'a Value> {
    let all = facts.list(POLICIES).unwrap_or_default().iter();
    let speaks = |policy: &&Value| {
        let types = list(policy, "/spec/policyTypes");
        let (word, rules, _) = way.words();
        if types.is_empty() {
            way == Way::Ingress || policy.pointer(rules).is_some()
        } else {
            types.iter().any(|one| one == word)
        }
    };
    let selected = |policy: &&Value| {
        text(policy, "/metadata/namespace") == text(pod, "/metadata/namespace")
            && policy.pointer("/spec/podSelector").is_none_or(|selector| selects(selector, pod))
    };
    all.filter(speaks).filter(selected).collect()
}

fn in_block(block: &str, address: IpAddr) -> bool {
    let Some((base, length)) = block
        .split_once('/')
        .and_then(|(base, length)| Some((base.parse::<IpAddr>().ok()?, length.parse::<u32>().ok()?)))
    else {
        return false;
    };
    let bits = |address: IpAddr| match address {
        IpAddr::V4(four) => (u128::from(u32::from(four)) << 96, 32),
        IpAddr::V6(six) => (u128::from(six), 128),
    };
    let ((base, width), (own, own_width)) = (bits(base), bits(address));
    let mask = if length == 0 { 0 } else { u128::MAX << (128 - length.min(width)) };
    width == own_width && base & mask == own & mask
}

/// Whether `rule` of `policy` lets `peer` through.
fn lets(facts: &Facts, policy: &Value, rule: &Value, way: Way, peer: Peer<'_>) -> bool {
    let (_, _, field) = way.words();
    let peers = list(rule, &format!("/{field}"));
    peers.is_empty() || peers.iter().any(|one| is_peer(facts, policy, one, peer))
}

fn is_peer(facts: &Facts, policy: &Value, one: &Value, peer: Peer<'_>) -> bool {
    let address = match peer {
        Peer::Pod(pod) => text(pod, "/status/podIP").parse().ok(),
        Peer::Outside(address) => address,
    };
    if let Some(block) = one.get("ipBlock").filter(|block| block.is_object()) {
        let inside = |block: &str| address.is_some_and(|address| in_block(block, address));
        return inside(text(block, "/cidr")) && !list(block, "/except").iter().filter_map(Value::as_str).any(inside);
    }
    let Peer::Pod(pod) = peer else { return false };
    let namespace = text(pod, "/metadata/namespace");
    let within = match one.get("namespaceSelector").filter(|selector| selector.is_object()) {
        Some(selector) => match facts.get(&paths::global("namespaces", namespace)) {
            Look::Is(of) => selects(selector, of),
            Look::Absent | Look::Unknown => false,
        },
        None => namespace == text(policy, "/metadata/namespace"),
    };
    within && one.get("podSelector").is_none_or(|selector| selects(selector, pod))
}

/// Whether `rule` is of this port of `of`, the pod that is asked.
fn is_of_port(rule: &Value, of: Option<&Value>, port: Option<i64>, asked: &str) -> bool {
    let ports = list(rule, "/ports");
    let Some(port) = port else { return true };
    ports.is_empty()
        || ports.iter().any(|one| {
            let named = one.get("port").and_then(Value::as_str).and_then(|named| {
                let containers = of.map(|of| list(of, "/spec/containers")).unwrap_or_default();
                containers
                    .iter()
                    .flat_map(|one| list(one, "/ports"))
                    .find(|port| text(port, "/name") == named)
                    .and_then(|port| number(port, "/containerPort"))
            });
            let from = named.or_else(|| number(one, "/port"));
            let to = number(one, "/endPort").or(from);
            let inside = one.get("port").is_none_or(Value::is_null)
                || from.zip(to).is_some_and(|(from, to)| (from..=to).contains(&port));
            protocol(one) == asked && inside
        })
}

fn dropped(
    facts: &Facts,
    policies: &[&Value],
    way: Way,
    peer: Peer<'_>,
    of: Option<&Value>,
    port: Option<i64>,
    protocol: &str,
) -> bool {
    let (_, rules, _) = way.words();
    let passes = |policy: &&Value| {
        list(policy, rules)
            .iter()
            .any(|rule| lets(facts, policy, rule, way, peer) && is_of_port(rule, of, port, protocol))
    };
    !policies.is_empty() && !policies.iter().any(passes)
}

/// What policies drop of what `from` sends to `to`.
pub(super) fn between(facts: &Facts, from: &Value, to: &Value, port: Option<i64>, protocol: &str) -> Vec<Finding> {
    let at = port.map(|port| format!(" at port {port}/{protocol}")).unwrap_or_default();
    let mut found = Vec::new();
    let out = about(facts, from, Way::Egress);
    if dropped(facts, &out, Way::Egress, Peer::Pod(to), Some(to), port, protocol) {
        found.push(finding(
            from,
            &out,
            format!(
                "drop what pod {} sends to pod {}{at}: no rule for egress allows it",
                full_name(from),
                full_name(to)
            ),
            Way::Egress,
        ));
    }
    let into = about(facts, to, Way::Ingress);
    if dropped(facts, &into, Way::Ingress, Peer::Pod(from), Some(to), port, protocol) {
        found.push(finding(
            to,
            &into,
            format!(
                "drop what pod {} gets from pod {}{at}: no rule for ingress allows it",
                full_name(to),
                full_name(from)
            ),
            Way::Ingress,
        ));
    }
    found
}

/// What policies drop of what `pod` sends to an address outside.
pub(super) fn egress_to(facts: &Facts, pod: &Value, address: Option<IpAddr>) -> Vec<Finding> {
    let out = about(facts, pod, Way::Egress);
    let shown = address.map_or_else(|| "what is outside of the cluster".to_owned(), |address| address.to_string());
    if dropped(facts, &out, Way::Egress, Peer::Outside(address), None, None, "TCP") {
        return vec![finding(
            pod,
            &out,
            format!("drop what pod {} sends to {shown}: no rule for egress allows it", full_name(pod)),
            Way::Egress,
        )];
    }
    Vec::new()
}

fn finding(pod: &Value, policies: &[&Value], what: String, way: Way) -> Finding {
    let names: Vec<_> = policies.iter().map(|policy| name(policy)).collect();
    let (noun, verb) =
        if names.len() == 1 { ("NetworkPolicy", what.replacen("drop", "drops", 1)) } else { ("NetworkPolicies", what) };
    let cause = format!("{noun} {} of namespace {} {verb}.", listed(&names), text(pod, "/metadata/namespace"));
    let allow: Vec<_> =
        policies.iter().map(|policy| format!("{} lets through: {}.", name(policy), allowed(policy, way))).collect();
    Finding::new("PolicyDrops", format!("pod {}", full_name(pod)), cause)
        .facts(allow)
        .advice("Add a rule for this peer and port to one of them, or another policy that has one.")
}

/// What a policy lets through, in words.
fn allowed(policy: &Value, way: Way) -> String {
    let (_, rules, field) = way.words();
    let rule = |rule: &Value| {
        let peers: Vec<_> = list(rule, &format!("/{field}")).iter().map(peer_words).collect();
        let ports: Vec<_> = list(rule, "/ports")
            .iter()
            .map(|port| format!("{}/{}", port.get("port").map_or_else(|| "any".to_owned(), shown), protocol(port)))
            .collect();
        let peers = if peers.is_empty() { "everybody".to_owned() } else { peers.join(" or ") };
        if ports.is_empty() { peers } else { format!("{peers} at {}", ports.join(", ")) }
    };
    let all: Vec<_> = list(policy, rules).iter().map(rule).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join("; ") }
}

fn peer_words(peer: &Value) -> String {
    if peer["ipBlock"].is_object() {
        return text(peer, "/ipBlock/cidr").to_owned();
    }
    let pods = peer
        .get("podSelector")
        .filter(|selector| selector.is_object())
        .map(|selector| format!("pods with {}", words(selector)));
    let namespaces = peer
        .get("namespaceSelector")
        .filter(|selector| selector.is_object())
        .map(|selector| format!("namespaces with {}", words(selector)));
    [pods, namespaces].into_iter().flatten().collect::<Vec<_>>().join(" in ")
}

/// Policies that let nothing at all into `pod`.
pub(crate) fn closed_to_all(facts: &Facts, pod: &Value) -> Option<Finding> {
    let into = about(facts, pod, Way::Ingress);
    let closed = !into.is_empty() && into.iter().all(|policy| list(policy, "/spec/ingress").is_empty());
    closed.then(|| {
        finding(
            pod,
            &into,
            format!("drop everything that pod {} gets: there is no rule for ingress", full_name(pod)),
            Way::Ingress,
        )
    })
}

/// Which policies let only some into `pod`, in words.
pub(crate) fn restricted(facts: &Facts, pod: &Value) -> Vec<String> {
    let into = about(facts, pod, Way::Ingress);
    into.iter()
        .map(|policy| format!("NetworkPolicy {} lets in only {}.", name(policy), allowed(policy, Way::Ingress)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::in_block;

    #[test]
    fn blocks_hold_addresses_of_their_family() {
        let inside = |block: &str, address: &str| in_block(block, address.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.9.8.7") && inside("0.0.0.0/0", "1.2.3.4") && inside("fd00::/8", "fd12::1"));
        assert!(
            !inside("10.0.0.0/8", "11.0.0.1")
                && !inside("0.0.0.0/0", "fd00::1")
                && !inside("10.0.0.1/32", "10.0.0.2")
                && !inside("x", "10.0.0.1")
        );
    }
}
