//! Which node a pod goes to, and why not the others. No I/O.
//!
//! Filters in the order of Kubernetes' default plugins: NodeUnschedulable, NodeAffinity (with nodeSelector), TaintToleration,
//! NodePorts, NodeResourcesFit. Among the nodes that remain, the one with most room left wins (LeastAllocated).

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, ResourceRequirements, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use skiff_proto::quantity;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Add;

/// CPU in thousandths of a core, memory in bytes, and whole units of everything else that a node may offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) cpu_millis: i64,
    pub(crate) memory_bytes: i64,
    /// Ephemeral storage, huge pages, extended resources.
    pub(crate) others: BTreeMap<String, i64>,
}

impl Add for Resources {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            others: merged(self.others, other.others, i64::saturating_add),
        }
    }
}

impl Resources {
    /// What a pod asks for: its containers together, or its hungriest init container if that is more, plus its overhead.
    pub(crate) fn requested_by(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let containers = spec.containers.iter().map(|container| Self::of(container.resources.as_ref()));
        let (mut sidecars, mut peak) = (Self::default(), Self::default());
        for init in spec.init_containers.iter().flatten() {
            let own = Self::of(init.resources.as_ref());
            // A sidecar (KEP-753) keeps what it has; an ordinary init container runs beside the sidecars before it.
            if init.restart_policy.as_deref() == Some("Always") {
                sidecars = sidecars + own;
                peak = peak.max(sidecars.clone());
            } else {
                peak = peak.max(sidecars.clone() + own);
            }
        }
        let running = containers.fold(sidecars, Self::add);
        running.max(peak) + Self::from_map(spec.overhead.as_ref())
    }

    fn of(resources: Option<&ResourceRequirements>) -> Self {
        Self::from_map(resources.and_then(|resources| resources.requests.as_ref()))
    }

    fn from_map(map: Option<&BTreeMap<String, Quantity>>) -> Self {
        let value = |name: &str| map.and_then(|map| map.get(name));
        let others = map.into_iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "cpu" | "memory" | "pods"));
        Self {
            cpu_millis: value("cpu").map_or(0, millis),
            memory_bytes: value("memory").map_or(0, units),
            others: others.map(|(name, amount)| (name.clone(), units(amount))).collect(),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            others: merged(self.others, other.others, i64::max),
        }
    }
}

/// What the API server let in parses; anything else counts as nothing.
fn millis(amount: &Quantity) -> i64 {
    let millis = quantity::Quantity::parse(&amount.0).map_or(0, quantity::Quantity::millis);
    i64::try_from(millis).unwrap_or(i64::MAX)
}

fn units(amount: &Quantity) -> i64 {
    quantity::Quantity::parse(&amount.0).map_or(0, quantity::Quantity::units)
}

fn merged(
    mut left: BTreeMap<String, i64>,
    right: BTreeMap<String, i64>,
    both: fn(i64, i64) -> i64,
) -> BTreeMap<String, i64> {
    for (name, amount) in right {
        let sum = left.entry(name).or_default();
        *sum = both(*sum, amount);
    }
    left
}

/// A node and what is taken on it.
#[derive(Debug)]
pub(crate) struct NodeState<'a> {
    pub(crate) node: &'a Node,
    pub(crate) taken: Resources,
    pub(crate) pods: i64,
    /// Protocol and number of host ports in use.
    pub(crate) ports: Vec<(&'a str, i32)>,
}

/// Why no node takes the pod: each reason with the number of nodes it holds for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unschedulable {
    pub(crate) nodes: usize,
    pub(crate) reasons: BTreeMap<String, usize>,
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return write!(out, "no nodes available to schedule pods");
        }
        let reasons: Vec<_> = self.reasons.iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
        write!(out, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))
    }
}

/// The node for `pod`.
pub(crate) fn choose(pod: &Pod, nodes: &[NodeState<'_>]) -> Result<String, Unschedulable> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(i64, String)> = None;
    for state in nodes {
        match obstacle(pod, state) {
            Some(reason) => *reasons.entry(reason).or_default() += 1,
            None => {
                let candidate = (room_left(pod, state), state.node.name_any());
                // On a tie the first name wins: the same input gives the same answer.
                if best.as_ref().is_none_or(|best| candidate.0 > best.0) {
                    best = Some(candidate);
                }
            }
        }
    }
    best.map(|(_, name)| name).ok_or(Unschedulable { nodes: nodes.len(), reasons })
}

/// What a pod requires of the pods beside it, which this scheduler does not look at: it places none that would have to.
fn requires_neighbours(pod: &Pod) -> bool {
    let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else { return false };
    let near =
        affinity.pod_affinity.as_ref().and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    let far = affinity
        .pod_anti_affinity
        .as_ref()
        .and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    [near, far].into_iter().flatten().any(|terms| !terms.is_empty())
}

fn obstacle(pod: &Pod, state: &NodeState<'_>) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if requires_neighbours(pod) {
        return Some(
            "node(s) were not chosen: required podAffinity and podAntiAffinity are not implemented".to_owned(),
        );
    }
    let node = state.node;
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let unschedulable =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) && !tolerated(&unschedulable, tolerations) {
        return Some("node(s) were unschedulable".to_owned());
    }
    if !is_ready(node) {
        return Some("node(s) were not ready".to_owned());
    }
    if !affinity_holds(pod, node) {
        return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let hard = taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
    if let Some(taint) = hard.into_iter().find(|taint| !tolerated(taint, tolerations)) {
        let value = taint.value.as_deref().unwrap_or_default();
        return Some(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key));
    }
    if host_ports(pod).iter().any(|(protocol, port)| state.ports.contains(&(protocol.as_str(), *port))) {
        return Some("node(s) didn't have free ports for the requested pod ports".to_owned());
    }
    shortage(pod, state)
}

fn shortage(pod: &Pod, state: &NodeState<'_>) -> Option<String> {
    let allocatable = state.node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let total = Resources::from_map(allocatable);
    let pods_max = allocatable.and_then(|map| map.get("pods")).map_or(110, units);
    let asked = Resources::requested_by(pod);
    let after = state.taken.clone() + asked.clone();
    if state.pods >= pods_max {
        return Some("Too many pods".to_owned());
    }
    if asked.cpu_millis > 0 && after.cpu_millis > total.cpu_millis {
        return Some("Insufficient cpu".to_owned());
    }
    if asked.memory_bytes > 0 && after.memory_bytes > total.memory_bytes {
        return Some("Insufficient memory".to_owned());
    }
    // What a node does not list it does not have.
    let mut wanted = asked.others.iter().filter(|(_, amount)| **amount > 0);
    let short = wanted.find(|(name, _)| after.others.get(*name) > Some(total.others.get(*name).unwrap_or(&0)));
    short.map(|(name, _)| format!("Insufficient {name}"))
}

/// Hundredths of CPU and memory together that stay free with the pod on the node.
fn room_left(pod: &Pod, state: &NodeState<'_>) -> i64 {
    let total = Resources::from_map(state.node.status.as_ref().and_then(|status| status.allocatable.as_ref()));
    let after = state.taken.clone() + Resources::requested_by(pod);
    let share = |left: i64, of: i64| if of > 0 { left.saturating_mul(100) / of } else { 0 };
    share(total.cpu_millis - after.cpu_millis, total.cpu_millis)
        + share(total.memory_bytes - after.memory_bytes, total.memory_bytes)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == taint.effect);
        let key = toleration.key.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        let value =
            exists || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
        effect && value && (key == taint.key || key.is_empty() && exists)
    })
}

fn affinity_holds(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let labels = node.labels();
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_holds(term, node)))
}

fn term_holds(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = node.labels();
    let fields = BTreeMap::from([("metadata.name".to_owned(), node.name_any())]);
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let named = term.match_fields.as_deref().unwrap_or_default();
    // A term without any requirement matches nothing (core/v1 NodeSelectorTerm).
    !(expressions.is_empty() && named.is_empty())
        && expressions.iter().all(|requirement| holds(requirement, labels))
        && named.iter().all(|requirement| holds(requirement, &fields))
}

fn holds(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let present = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: &String| text.parse::<i64>().ok();
    let compare = |order: fn(i64, i64) -> bool| {
        let pair = present.and_then(number).zip(values.first().and_then(number));
        pair.is_some_and(|(have, want)| order(have, want))
    };
    match requirement.operator.as_str() {
        "In" => present.is_some_and(|present| values.contains(present)),
        "NotIn" => present.is_none_or(|present| !values.contains(present)),
        "Exists" => present.is_some(),
        "DoesNotExist" => present.is_none(),
        "Gt" => compare(|have, want| have > want),
        "Lt" => compare(|have, want| have < want),
        _ => false,
    }
}

/// Protocol and number of the host ports that a pod asks for.
pub(crate) fn host_ports(pod: &Pod) -> Vec<(String, i32)> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| Some((port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), port.host_port?)))
        .filter(|(_, port)| *port > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn node(name: &str, extra: &Value) -> Node {
        let mut whole = json!({
            "metadata": {"name": name, "labels": {"zone": "a"}},
            "spec": {},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}, "conditions": [{"type": "Ready", "status": "True"}]}
        });
        whole["spec"] = extra.clone();
        serde_json::from_value(whole).unwrap()
    }

    fn pod(spec: &Value) -> Pod {
        let mut whole = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}});
        whole["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn state(node: &Node) -> NodeState<'_> {
        NodeState { node, taken: Resources::default(), pods: 0, ports: Vec::new() }
    }

    fn refusal(pod: &Value, node: &Value) -> String {
        let node = self::node("n", node);
        choose(&self::pod(pod), &[state(&node)]).map_or_else(|refused| refused.to_string(), |name| format!("on {name}"))
    }

    #[test]
    fn a_pod_goes_where_there_is_most_room() {
        let (full, free) = (node("a", &json!({})), node("b", &json!({})));
        let mut full = state(&full);
        full.taken = Resources { cpu_millis: 1500, ..Resources::default() };
        assert_eq!(choose(&pod(&json!({})), &[full, state(&free)]).unwrap(), "b");
    }

    #[test]
    fn refusals_say_why() {
        let wants = |resources: Value| json!({"containers": [{"name": "c", "resources": {"requests": resources}}]});
        let cases = [
            (wants(json!({"cpu": "2500m"})), json!({}), "0/1 nodes are available: 1 Insufficient cpu."),
            (wants(json!({"memory": "2Gi"})), json!({}), "0/1 nodes are available: 1 Insufficient memory."),
            (wants(json!({"cpu": "2"})), json!({}), "on n"),
            (
                wants(json!({"example.com/gpu": "1"})),
                json!({}),
                "0/1 nodes are available: 1 Insufficient example.com/gpu.",
            ),
            (
                wants(json!({"hugepages-2Mi": "2Mi"})),
                json!({}),
                "0/1 nodes are available: 1 Insufficient hugepages-2Mi.",
            ),
            (wants(json!({"example.com/gpu": "0"})), json!({}), "on n"),
            (
                json!({"nodeSelector": {"zone": "b"}}),
                json!({}),
                "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            ),
            (json!({}), json!({"unschedulable": true}), "0/1 nodes are available: 1 node(s) were unschedulable."),
            (
                json!({}),
                json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}),
                "0/1 nodes are available: 1 node(s) had untolerated taint {k: v}.",
            ),
            (
                json!({"tolerations": [{"operator": "Exists"}]}),
                json!({"taints": [{"key": "k", "effect": "NoExecute"}]}),
                "on n",
            ),
        ];
        for (pod, node, expected) in cases {
            assert_eq!(refusal(&pod, &node), expected);
        }
        assert_eq!(choose(&pod(&json!({})), &[]).unwrap_err().to_string(), "no nodes available to schedule pods");
    }

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_stay() {
        let spec = json!({
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}],
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"name": "init", "resources": {"requests": {"cpu": "300m"}}}
            ]
        });
        assert_eq!(Resources::requested_by(&pod(&spec)).cpu_millis, 350);
    }

    proptest! {
        #[test]
        fn a_chosen_node_has_room(cpus in proptest::collection::vec(0_i64..3000, 1..6), asks in 1_i64..3000) {
            let nodes: Vec<Node> = (0..cpus.len()).map(|n| node(&format!("n{n}"), &json!({}))).collect();
            let states: Vec<_> = nodes.iter().zip(&cpus).map(|(node, cpu)| {
                NodeState { taken: Resources { cpu_millis: *cpu, ..Resources::default() }, ..state(node) }
            }).collect();
            let pod = pod(&json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{asks}m")}}}]}));
            match choose(&pod, &states) {
                Ok(name) => {
                    let index: usize = name[1..].parse().unwrap();
                    prop_assert!(cpus[index] + asks <= 2000);
                }
                Err(_) => prop_assert!(cpus.iter().all(|cpu| cpu + asks > 2000)),
            }
        }
    }
}
