//! Whether packets of pods leave a node: forwarding, masquerade, routes, and the firewalls of others.

use crate::answer::Finding;
use crate::facts::Facts;
use crate::look::{list, name, text};
use serde_json::Value;

/// What keeps packets of pods on `node`.
pub(super) fn findings(facts: &Facts, node: &Value) -> Vec<Finding> {
    facts.known(name(node)).map(|known| obstacles(known, name(node))).unwrap_or_default()
}

fn obstacles(known: &Value, node: &str) -> Vec<Finding> {
    let Some(network) = known.get("network").filter(|network| network.is_object()) else { return Vec::new() };
    let finding =
        |reason, cause: String, advice: &str| Finding::new(reason, format!("node {node}"), cause).advice(advice);
    let mut found = Vec::new();
    if network["forwarding"] == false {
        let cause = format!(
            "Node {node} does not forward packets (net.ipv4.ip_forward is 0), so that no pod reaches anything beyond it."
        );
        found.push(finding("ForwardingOff", cause, "sysctl -w net.ipv4.ip_forward=1"));
    }
    if network["masquerade"] == false {
        let cause = format!(
            "Node {node} has no rule that gives packets of pods its own address (masquerade), so that answers from outside do not come back."
        );
        found.push(finding(
            "NoMasquerade",
            cause,
            "Restart the node's proxy or network plugin, which writes the rule.",
        ));
    }
    for rule in list(network, "/foreign") {
        let (table, chain, says) = (text(rule, "/table"), text(rule, "/chain"), text(rule, "/rule"));
        let cause = format!(
            "A firewall that is not the cluster's drops forwarded packets on node {node}: table {table}, chain {chain}: {says}."
        );
        found.push(finding(
            "ForeignFirewall",
            cause,
            "Let it accept packets from and to the pods' addresses, or stop the program that made the table.",
        ));
    }
    found
}

/// Whether a pod on `node` reaches what is outside of the cluster, as far as the node says.
pub(crate) fn outward(facts: &Facts, node: &str) -> (Vec<Finding>, Vec<String>) {
    let Some(known) = facts.known(node) else {
        return (Vec::new(), vec![format!("whether node {node} forwards packets: its kubelet does not say")]);
    };
    let mut found = obstacles(known, node);
    let mut unknown = Vec::new();
    match known.pointer("/network/defaultRoute") {
        Some(Value::Null) => {
            let cause =
                format!("Node {node} has no default route, so that nothing beyond its own networks can be reached.");
            found.push(
                Finding::new("NoRoute", format!("node {node}"), cause).advice("ip route add default via GATEWAY"),
            );
        }
        Some(_) => {}
        None => unknown.push(format!("the routes of node {node}")),
    }
    if known.pointer("/network/foreign").is_none() {
        unknown.push(format!("firewall rules of others on node {node}"));
    }
    (found, unknown)
}
