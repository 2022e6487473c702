//! Nodes that do not take a pod: what each of them lacks, or what it keeps the pod away with.

mod near; // labels of the node, and pods beside which the pod has to be or must not be
mod room; // what is asked for, promised and left

use crate::answer::Finding;
use crate::facts::Facts;
use crate::look::{full_name, is_true, list, name, number, protocol, text};
use crate::select::{label, taint, tolerates};
use crate::words::{count, listed};
use crate::{node, paths};
use near::Spread;
use room::Amounts;
use serde_json::Value;
use std::collections::BTreeMap;

/// So many nodes are told of one by one.
const NODES_MAX: usize = 5;

/// Whether a pod still takes what it asked for.
pub(crate) fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// A pod that holds something.
struct Other<'a> {
    pod: &'a Value,
    /// Where it is; `None`: no node that is known.
    node: Option<&'a Value>,
    /// What it asks for.
    asked: Amounts,
}

impl<'a> Other<'a> {
    /// Those of `pods` that hold something, in the same order.
    fn among(pods: &'a [Value], nodes: &'a [Value]) -> Vec<Self> {
        let by_name: BTreeMap<&str, &Value> = nodes.iter().map(|node| (name(node), node)).collect();
        let holding = pods.iter().filter(|pod| !text(pod, "/spec/nodeName").is_empty() && !is_over(pod));
        let other =
            |pod| Self { pod, node: by_name.get(text(pod, "/spec/nodeName")).copied(), asked: room::asked(pod) };
        holding.map(other).collect()
    }

    /// The value of the label `key` of its node.
    fn domain(&self, key: &str) -> Option<&'a str> {
        label(self.node?, key)
    }
}

/// The pods that hold something, and what of them is the same whichever node is looked at.
struct Others<'a> {
    all: &'a [Other<'a>],
    by_node: BTreeMap<&'a str, Vec<&'a Other<'a>>>,
    spreads: Vec<Spread<'a>>,
}

impl<'a> Others<'a> {
    fn of(pod: &'a Value, nodes: &'a [Value], all: &'a [Other<'a>]) -> Self {
        let mut by_node: BTreeMap<&str, Vec<&Other<'_>>> = BTreeMap::new();
        for other in all {
            by_node.entry(text(other.pod, "/spec/nodeName")).or_default().push(other);
        }
        Self { all, by_node, spreads: Spread::all(pod, nodes, all) }
    }

    /// Those on `node`.
    fn on(&self, node: &Value) -> &[&'a Other<'a>] {
        self.by_node.get(name(node)).map(Vec::as_slice).unwrap_or_default()
    }
}

/// A pod that has no place, and the pods of all nodes.
struct Case<'a> {
    facts: &'a Facts,
    pod: &'a Value,
    /// What the pod asks for.
    asked: Amounts,
    /// `None`: not known.
    others: Option<Others<'a>>,
}

/// Why `pod`, which has no node, is taken by none; empty if one would take it, as far as can be seen.
pub(crate) fn findings(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let nodes = facts.list(&paths::all("nodes"));
    let pods = facts.list(&paths::all("pods"));
    let Some(nodes) = nodes else { return Vec::new() };
    if nodes.is_empty() {
        let cause = "The cluster has no node: none has registered itself.";
        return vec![Finding::new("NoNodes", "cluster", cause).advice("Start a kubelet that uses this API server.")];
    }
    let all = pods.map(|pods| Other::among(pods, nodes));
    let others = all.as_deref().map(|all| Others::of(pod, nodes, all));
    let case = Case { facts, pod, asked: room::asked(pod), others };
    let each: Vec<Vec<Finding>> = nodes.iter().map(|node| case.obstacles(node)).collect();
    if each.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let left = each.len().saturating_sub(NODES_MAX);
    let mut found: Vec<Finding> = each.into_iter().take(NODES_MAX).flatten().collect();
    if left > 0
        && let Some(last) = found.pop()
    {
        found.push(last.fact(format!("{} more do not take it either.", count(left, "node"))));
    }
    found
}

impl Case<'_> {
    fn obstacles(&self, of: &Value) -> Vec<Finding> {
        let mut found = self.taints(of);
        if is_true(of, "/spec/unschedulable") && !found.iter().any(|finding| finding.reason == "Cordoned") {
            found.push(cordoned(of));
        }
        found.extend(near::labels(self.pod, of));
        if let Some(others) = &self.others {
            found.extend(near::pods(self.pod, of, others));
            found.extend(self.ports(of, others.on(of)));
            found.extend(room::shortages((self.pod, &self.asked), of, others.on(of)));
        }
        found
    }

    /// What taints keep the pod away with; those that a node's state brought are explained by that.
    fn taints(&self, of: &Value) -> Vec<Finding> {
        let hard = list(of, "/spec/taints").iter().filter(|one| text(one, "/effect") != "PreferNoSchedule");
        let against = hard.filter(|one| !tolerates(self.pod, one));
        let mut found = Vec::new();
        for one in against {
            match text(one, "/key") {
                "node.kubernetes.io/unschedulable" => found.push(cordoned(of)),
                "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable" => {
                    if found.iter().all(|finding: &Finding| finding.reason != "NodeNotReady") {
                        found.extend(node::not_ready(self.facts, of));
                    }
                }
                key if node::is_pressure(key) => found.extend(node::pressure(self.facts, of, key)),
                _ => found.push(tainted(self.pod, of, one)),
            }
        }
        found
    }

    /// Ports of the node that other pods hold.
    fn ports(&self, of: &Value, here: &[&Other<'_>]) -> Vec<Finding> {
        let wanted = host_ports(self.pod);
        let mut found = Vec::new();
        for other in here.iter().map(|other| other.pod) {
            let clash = |one: &&HostPort| host_ports(other).iter().any(|held| held.clashes_with(one));
            for port in wanted.iter().filter(clash) {
                let cause = format!("Port {} of {} is held by pod {}.", port.shown(), name(of), full_name(other));
                let advice = "Take another hostPort, or none and a service, or remove the pod that holds it.";
                found.push(Finding::new("PortTaken", format!("node {}", name(of)), cause).advice(advice));
            }
        }
        found
    }
}

fn cordoned(of: &Value) -> Finding {
    let cause = format!("Node {} was cordoned: it takes no new pods (spec.unschedulable is true).", name(of));
    Finding::new("Cordoned", format!("node {}", name(of)), cause).advice(format!("kubectl uncordon {}", name(of)))
}

fn tainted(pod: &Value, of: &Value, one: &Value) -> Finding {
    let (node, taint) = (name(of), taint(one));
    let tolerated: Vec<_> =
        list(pod, "/spec/tolerations").iter().map(|one| text(one, "/key")).filter(|key| !key.is_empty()).collect();
    let has = match tolerated.as_slice() {
        [] => "the pod tolerates none".to_owned(),
        keys => format!("the pod tolerates only {}", listed(keys)),
    };
    Finding::new("Taint", format!("node {node}"), format!("Node {node} has the taint {taint}, and {has}.")).advice(
        format!(
            "Give the pod a toleration of {}, or take the taint away: kubectl taint node {node} {taint}-",
            text(one, "/key")
        ),
    )
}

/// A port of the node that a pod holds or wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) protocol: String,
    pub(crate) port: i64,
    address: String,
}

impl HostPort {
    fn clashes_with(&self, other: &Self) -> bool {
        let any = |address: &str| address.is_empty() || address == "0.0.0.0" || address == "::";
        let meets = any(&self.address) || any(&other.address) || self.address == other.address;
        meets && self.port == other.port && self.protocol == other.protocol
    }

    pub(crate) fn shown(&self) -> String {
        format!("{}/{}", self.port, self.protocol)
    }
}

/// The ports of the node that a pod wants.
pub(crate) fn host_ports(pod: &Value) -> Vec<HostPort> {
    let on_host = is_true(pod, "/spec/hostNetwork");
    let containers = list(pod, "/spec/containers").iter();
    let ports = containers.flat_map(|container| list(container, "/ports"));
    let held = ports.filter_map(|port| {
        let number = number(port, "/hostPort").or_else(|| number(port, "/containerPort").filter(|_| on_host))?;
        Some(HostPort { protocol: protocol(port).to_owned(), port: number, address: text(port, "/hostIP").to_owned() })
    });
    held.filter(|held| held.port > 0).collect()
}

/// Who holds one of `ports` (number and protocol) on a node, as far as the node says.
pub(crate) fn listeners(facts: &Facts, node: &str, ports: &[(i64, &str)]) -> Vec<String> {
    let Some(known) = facts.known(node) else { return Vec::new() };
    let held = list(known, "/listeners").iter().filter(|one| {
        ports.iter().any(|(port, protocol)| number(one, "/port") == Some(*port) && text(one, "/protocol") == *protocol)
    });
    held.map(|one| {
        format!(
            "{}/{} on node {node} by {} (pid {})",
            one["port"],
            text(one, "/protocol"),
            text(one, "/process"),
            one["pid"]
        )
    })
    .collect()
}
