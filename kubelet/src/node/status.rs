//! What the Node object says: a pure function.

use super::machine::Machine;
use crate::pod::status::seconds;
use crate::pressure::Pressure;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use skiff_devices::Figure;
use skiff_proto::cri::v1 as cri;
use std::collections::BTreeMap;

/// The Kubernetes version whose node API we speak.
const KUBELET_VERSION: &str = concat!("v1.36.0+skiff.", env!("CARGO_PKG_VERSION"));

/// What never changes while we run.
#[derive(Debug, Clone)]
pub(crate) struct NodeInputs {
    pub(crate) name: String,
    pub(crate) ip: String,
    /// The range of its pods, where nobody else gives one.
    pub(crate) pod_cidr: Option<String>,
    pub(crate) max_pods: u32,
    pub(crate) port: u16,
    pub(crate) runtime: String,
    pub(crate) machine: Machine,
}

/// The names of Go's architectures, which Kubernetes uses.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The labels every node has.
pub(super) fn labels(inputs: &NodeInputs) -> BTreeMap<String, String> {
    let pairs = [
        ("kubernetes.io/hostname", inputs.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch()),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The object as first registered.
pub(super) fn node(inputs: &NodeInputs, status: NodeStatus) -> Node {
    let cidr = inputs.pod_cidr.clone();
    Node {
        metadata: ObjectMeta { name: Some(inputs.name.clone()), labels: Some(labels(inputs)), ..Default::default() },
        spec: Some(NodeSpec { pod_cidrs: cidr.clone().map(|cidr| vec![cidr]), pod_cidr: cidr, ..Default::default() }),
        status: Some(status),
    }
}

/// The status at `now`; conditions keep their transition times from `old`.
pub(super) fn status(
    inputs: &NodeInputs,
    runtime: &Result<cri::RuntimeStatus, String>,
    (pressure, devices): (Pressure, &[Figure]),
    old: &[NodeCondition],
    now: Timestamp,
) -> NodeStatus {
    let address = |kind: &str, address: &str| NodeAddress { type_: kind.to_owned(), address: address.to_owned() };
    NodeStatus {
        capacity: Some(resources(inputs, devices, |figure| figure.capacity)),
        allocatable: Some(resources(inputs, devices, |figure| figure.allocatable)),
        addresses: Some(vec![address("InternalIP", &inputs.ip), address("Hostname", &inputs.name)]),
        conditions: Some(conditions(runtime, pressure, old, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(inputs.port) }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: arch().to_owned(),
            boot_id: inputs.machine.boot_id.clone(),
            container_runtime_version: inputs.runtime.clone(),
            kernel_version: inputs.machine.kernel.clone(),
            kubelet_version: KUBELET_VERSION.to_owned(),
            machine_id: inputs.machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: inputs.machine.os_image.clone(),
            system_uuid: inputs.machine.system_uuid.clone(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn resources(inputs: &NodeInputs, devices: &[Figure], count: fn(&Figure) -> usize) -> BTreeMap<String, Quantity> {
    let pairs = [
        ("cpu", inputs.machine.cpus.to_string()),
        ("memory", format!("{}Ki", inputs.machine.memory_bytes / 1024)),
        ("ephemeral-storage", format!("{}Ki", inputs.machine.disk_bytes / 1024)),
        ("pods", inputs.max_pods.to_string()),
    ];
    let own = pairs.map(|(key, value)| (key.to_owned(), Quantity(value)));
    let counted = devices.iter().map(|figure| (figure.resource.clone(), Quantity(count(figure).to_string())));
    own.into_iter().chain(counted).collect()
}

/// What the runtime says, as Ready's status and message.
fn readiness(runtime: &Result<cri::RuntimeStatus, String>) -> (bool, String) {
    let status = match runtime {
        Ok(status) => status,
        Err(error) => return (false, format!("container runtime is down: {error}")),
    };
    let mut wrong = Vec::new();
    for kind in ["RuntimeReady", "NetworkReady"] {
        match status.conditions.iter().find(|condition| condition.r#type == kind) {
            Some(condition) if condition.status => {}
            Some(condition) => wrong.push(format!("{kind}=false: {} {}", condition.reason, condition.message)),
            None => wrong.push(format!("the container runtime does not report {kind}")),
        }
    }
    if wrong.is_empty() { (true, "kubelet is posting ready status".to_owned()) } else { (false, wrong.join("; ")) }
}

fn conditions(
    runtime: &Result<cri::RuntimeStatus, String>,
    pressure: Pressure,
    old: &[NodeCondition],
    now: Timestamp,
) -> Vec<NodeCondition> {
    let (ready, message) = readiness(runtime);
    let short = |is: bool, yes: (&'static str, &'static str), no: (&'static str, &'static str)| {
        let (reason, message) = if is { yes } else { no };
        (is, reason, message.to_owned())
    };
    let of = [
        (
            "MemoryPressure",
            short(
                pressure.memory,
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ),
        ),
        (
            "DiskPressure",
            short(
                pressure.disk,
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ),
        ),
        (
            "PIDPressure",
            short(
                pressure.pids,
                ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
                ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ),
        ),
        ("Ready", (ready, if ready { "KubeletReady" } else { "KubeletNotReady" }, message)),
    ];
    of.map(|(kind, (status, reason, message))| {
        let status = if status { "True" } else { "False" };
        let before = old.iter().find(|condition| condition.type_ == kind && condition.status == status);
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(Time(seconds(now))),
            last_transition_time: before
                .and_then(|before| before.last_transition_time.clone())
                .or(Some(Time(seconds(now)))),
        }
    })
    .into()
}

/// Whether `new` says anything but the time that `old` does not.
pub(super) fn differs(old: &NodeStatus, new: &NodeStatus) -> bool {
    let timeless = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    timeless(old) != timeless(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(network: bool) -> Result<cri::RuntimeStatus, String> {
        let condition =
            |kind: &str, status| cri::RuntimeCondition { r#type: kind.into(), status, ..Default::default() };
        Ok(cri::RuntimeStatus { conditions: vec![condition("RuntimeReady", true), condition("NetworkReady", network)] })
    }

    #[test]
    fn ready_needs_runtime_and_network() {
        assert!(readiness(&runtime(true)).0);
        assert!(!readiness(&runtime(false)).0);
        assert!(!readiness(&Ok(cri::RuntimeStatus::default())).0);
        assert!(!readiness(&Err("gone".into())).0);
    }

    #[test]
    fn a_transition_time_moves_with_the_status_only() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = conditions(&runtime(true), Pressure::default(), &[], at(1));
        let same = conditions(&runtime(true), Pressure::default(), &first, at(2));
        let other = conditions(&runtime(false), Pressure::default(), &first, at(3));
        let moved = |list: &[NodeCondition]| list[3].last_transition_time.clone().unwrap().0;
        assert_eq!((moved(&same), moved(&other)), (at(1), at(3)));
    }
}
