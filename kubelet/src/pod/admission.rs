//! Whether this node takes a pod that was bound to it. Pure.
//!
//! The scheduler does not send what does not fit; a pod that names its node itself comes unasked. One that is turned away
//! fails at once, as in Kubernetes, and whoever made it makes another elsewhere.

use super::resources::{Qos, qos_class};
use super::sysctls::{self, Allowed};
use crate::pressure::{CRITICAL_PRIORITY, Pressure};
use crate::unsupported;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use skiff_proto::quantity;
use std::collections::BTreeMap;

/// The resources that our nodes offer; of anything else (devices, huge pages) there is none.
const OFFERED: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pods"];

/// Why a pod is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// One word, `OutOfpods`.
    pub(super) reason: String,
    /// A sentence, as the event has it; the status puts "Pod was rejected" before it.
    pub(super) message: String,
}

/// Why a new pod is not taken by a node that has `pods` of at most `pods_max`; `None` if it is.
pub(super) fn refusal(pod: &Pod, pods: usize, pods_max: usize, sysctls: &Allowed) -> Option<Refusal> {
    if is_over(pod) {
        return None;
    }
    if pods >= pods_max {
        return Some(out_of("pods", "1", pods, pods_max));
    }
    if let Some(message) = unsupported::sentence(pod) {
        return Some(Refusal { reason: unsupported::REASON.to_owned(), message });
    }
    let spec = pod.spec.as_ref()?;
    if let Some(message) = sysctls.refusal(spec) {
        return Some(Refusal { reason: sysctls::REASON.to_owned(), message });
    }
    let (name, asked) = missing(spec)?;
    Some(out_of(&name, &asked, 0, 0))
}

/// Whether all of a pod has ended for good.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a pod will have nothing started any more.
pub(crate) fn is_over(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() || has_ended(pod)
}

/// A port of the node that a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostPort {
    /// Empty: every address of the node.
    address: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    fn collides(&self, other: &Self) -> bool {
        let anywhere = self.address.is_empty() || other.address.is_empty();
        (&self.protocol, self.port) == (&other.protocol, other.port) && (anywhere || self.address == other.address)
    }
}

/// The ports of the node that a pod asks for.
pub(super) fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let asked = ports.filter_map(|port| Some((port, port.host_port.filter(|number| *number > 0)?)));
    asked
        .map(|(port, number)| HostPort {
            address: port.host_ip.clone().filter(|address| address != "0.0.0.0").unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: number,
        })
        .collect()
}

/// Why a pod that asks for these ports is not taken by a node whose pods have those; in the words of Kubernetes.
pub(super) fn port_taken<'a>(asked: &[HostPort], mut taken: impl Iterator<Item = &'a HostPort>) -> Option<Refusal> {
    let collides = taken.any(|other| asked.iter().any(|one| one.collides(other)));
    collides.then(|| Refusal {
        reason: "NodePorts".to_owned(),
        message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports".to_owned(),
    })
}

/// Why a new pod is not taken by a node that is short of something, as Kubernetes' eviction manager has it: only the system's own pods
/// are, and with too little memory also those that asked for some.
pub(super) fn under_pressure(pod: &Pod, short: Pressure) -> Option<Refusal> {
    let spec = pod.spec.as_ref()?;
    let conditions = [("MemoryPressure", short.memory), ("DiskPressure", short.disk), ("PIDPressure", short.pids)];
    let conditions: Vec<_> = conditions.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    let only_memory = conditions == ["MemoryPressure"];
    let asked = qos_class(spec) != Qos::BestEffort || tolerates_memory_pressure(spec);
    if is_over(pod)
        || conditions.is_empty()
        || spec.priority.unwrap_or(0) >= CRITICAL_PRIORITY
        || (only_memory && asked)
    {
        return None;
    }
    let message = format!("The node had condition: [{}]. ", conditions.join(" "));
    Some(Refusal { reason: "Evicted".to_owned(), message })
}

fn tolerates_memory_pressure(spec: &PodSpec) -> bool {
    spec.tolerations.iter().flatten().any(|toleration| {
        let effect = toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == "NoSchedule");
        let exists = toleration.operator.as_deref() == Some("Exists");
        let key = toleration.key.as_deref().unwrap_or_default();
        effect && (key == "node.kubernetes.io/memory-pressure" || (key.is_empty() && exists))
    })
}

/// Devices that a plugin did not hand out.
pub(super) fn unexpected(why: &str) -> Refusal {
    let message = format!("Allocate failed due to {why}, which is unexpected");
    Refusal { reason: "UnexpectedAdmissionError".to_owned(), message }
}

/// Too little of the resource `name`, in the words of Kubernetes, which clients look for.
fn out_of(name: &str, requested: &str, used: usize, capacity: usize) -> Refusal {
    let message =
        format!("Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}");
    Refusal { reason: format!("OutOf{name}"), message }
}

/// The first resource, by name, that the pod asks for and no node of ours has, with its largest amount.
fn missing(spec: &PodSpec) -> Option<(String, String)> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let resources = containers.filter_map(|container| container.resources.as_ref());
    let maps = resources.flat_map(|resources| [&resources.requests, &resources.limits]).chain([&spec.overhead]);
    let mut asked: BTreeMap<&str, i64> = BTreeMap::new();
    // An extended resource that a node does not list is nothing that its kubelet could count: the scheduler does. Clusters that
    // let it count such resources say so in the node's status.
    let extended = |name: &str| name.contains('/') && !name.contains("kubernetes.io/");
    let others = maps.flatten().flatten().filter(|(name, _)| !OFFERED.contains(&name.as_str()) && !extended(name));
    for (name, amount) in others {
        let most = asked.entry(name).or_default();
        *most = (*most).max(units(amount));
    }
    let first = asked.into_iter().find(|(_, amount)| *amount > 0)?;
    Some((first.0.to_owned(), first.1.to_string()))
}

/// What is no quantity counts as something: better refused than overlooked.
fn units(amount: &Quantity) -> i64 {
    quantity::Quantity::parse(&amount.0).map_or(1, quantity::Quantity::units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(spec: serde_json::Value) -> Option<Refusal> {
        refusal(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap(), 0, 110, &Allowed::default())
    }

    #[test]
    fn a_port_of_the_node_is_one_pods() {
        let of = |port: serde_json::Value| {
            let spec = json!({"containers": [{"name": "c", "ports": [port, {"containerPort": 1}]}]});
            host_ports(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap())
        };
        let taken = of(json!({"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.1"}));
        let refused = |port: serde_json::Value| port_taken(&of(port), taken.iter()).map(|refusal| refusal.reason);
        assert_eq!(taken.len(), 1);
        assert_eq!(refused(json!({"containerPort": 1, "hostPort": 8080})).as_deref(), Some("NodePorts"));
        assert_eq!(
            refused(json!({"containerPort": 1, "hostPort": 8080, "hostIP": "0.0.0.0"})).as_deref(),
            Some("NodePorts")
        );
        assert_eq!(refused(json!({"containerPort": 1, "hostPort": 8080, "hostIP": "10.0.0.2"})), None);
        assert_eq!(refused(json!({"containerPort": 1, "hostPort": 8080, "protocol": "UDP"})), None);
        assert_eq!(refused(json!({"containerPort": 1, "hostPort": 8081})), None);
    }

    #[test]
    fn what_the_node_does_not_offer_is_refused_by_name() {
        let spec = |resources: serde_json::Value| json!({"containers": [{"name": "a", "resources": resources}]});
        let found = refused(spec(json!({"limits": {"hugepages-2Mi": "4Mi", "cpu": "1"}}))).unwrap();
        assert_eq!(found.reason, "OutOfhugepages-2Mi");
        let expected = "Node didn't have enough resource: hugepages-2Mi, requested: 4194304, used: 0, capacity: 0";
        assert!(found.message.ends_with(expected), "{}", found.message);
        assert_eq!(refused(spec(json!({"limits": {"example.com/gpu": "2"}}))), None, "the scheduler counts those");
    }

    /// Fault N19.
    #[test]
    fn what_the_kubelet_cannot_do_is_refused_by_name() {
        let found = refused(
            json!({"containers": [{"name": "a"}], "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}),
        )
        .unwrap();
        assert_eq!(found.reason, "Unsupported");
        assert_eq!(found.message, "not implemented by this kubelet: spec.volumes[0] (nfs)");
    }

    #[test]
    fn none_of_it_and_what_is_there_pass() {
        let resources = json!({"limits": {"cpu": "1", "memory": "1Gi", "example.com/gpu": "0"},
            "requests": {"ephemeral-storage": "1Gi"}});
        assert_eq!(refused(json!({"containers": [{"name": "a", "resources": resources}]})), None);
    }

    /// Fault N2: what names its node itself comes although the scheduler sends nothing.
    #[test]
    fn a_node_that_is_short_of_something_takes_only_the_system_s_pods() {
        let disk = Pressure { disk: true, ..Pressure::default() };
        let memory = Pressure { memory: true, ..Pressure::default() };
        let refused = |spec: serde_json::Value, short| {
            under_pressure(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap(), short)
        };
        let plain = json!({"containers": [{"name": "a"}]});
        let found = refused(plain.clone(), disk).unwrap();
        assert_eq!(
            (found.reason.as_str(), found.message.as_str()),
            ("Evicted", "The node had condition: [DiskPressure]. ")
        );
        assert_eq!(refused(plain.clone(), Pressure::default()), None);
        assert_eq!(refused(json!({"containers": [], "priority": 2_000_001_000}), disk), None);
        assert!(refused(plain, memory).is_some());
        let asks = json!({"containers": [{"name": "a", "resources": {"requests": {"memory": "1Mi"}}}]});
        assert_eq!(refused(asks.clone(), memory), None);
        assert!(refused(asks, Pressure { memory: true, disk: true, pids: false }).is_some());
    }

    #[test]
    fn a_full_node_takes_no_new_pod_but_keeps_finished_ones() {
        let pod = |phase: &str| serde_json::from_value(json!({"spec": {"containers": []}, "status": {"phase": phase}}));
        let full = refusal(&pod("Pending").unwrap(), 3, 3, &Allowed::default()).unwrap();
        assert_eq!(full.reason, "OutOfpods");
        assert_eq!(full.message, "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3");
        assert_eq!(refusal(&pod("Succeeded").unwrap(), 3, 3, &Allowed::default()), None);
    }
}
