//! Quantities, QoS classes, and what they mean for the kernel.
//!
//! Pure. Formulas: Kubernetes, "Resource Management for Pods and Containers" (1 CPU = 1024 shares, quota per 100 ms)
//! and "Node-pressure Eviction" (oom_score_adj per QoS class).

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use skiff_proto::cri::v1 as cri;
use std::collections::BTreeMap;

/// The CFS period that quotas are given for, microseconds.
pub(crate) const PERIOD_US: i64 = 100_000;
/// The least quota the kernel takes, microseconds (sched_bandwidth: 1 ms).
const QUOTA_US_MIN: i64 = 1_000;
/// The least number of cpu.shares the kernel takes.
const SHARES_MIN: i64 = 2;
/// The priority of `system-node-critical`: such a pod is spared like a guaranteed one when memory runs out.
const NODE_CRITICAL: i32 = 2_000_001_000;
/// The most number of cpu.shares the kernel takes.
const SHARES_MAX: i64 = 262_144;

/// A pod's quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Qos {
    /// Requests and limits agree for CPU and memory in each container.
    Guaranteed,
    /// Something in between.
    Burstable,
    /// Asks for nothing.
    BestEffort,
}

impl Qos {
    /// As in `status.qosClass`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The folder below `kubepods`.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Self::Guaranteed => "",
            Self::Burstable => "burstable/",
            Self::BestEffort => "besteffort/",
        }
    }
}

/// A quantity in thousandths, rounded up (`250m` → 250, `2` → 2000); `None` for what is no quantity.
pub(crate) fn milli(quantity: &Quantity) -> Option<i128> {
    skiff_proto::quantity::Quantity::parse(&quantity.0).ok().map(|quantity| quantity.millis())
}

/// Whole units, rounded up: bytes of memory, say.
pub(crate) fn units(quantity: &Quantity) -> Option<i64> {
    skiff_proto::quantity::Quantity::parse(&quantity.0).ok().map(|quantity| quantity.units())
}

fn of(map: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<i64> {
    let quantity = map?.get(name)?;
    let value = if name == "cpu" { i64::try_from(milli(quantity)?).ok() } else { units(quantity) };
    value.filter(|value| *value > 0)
}

/// What one container asks for; CPU in thousandths, memory in bytes. A missing request is the limit's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) cpu_request: Option<i64>,
    pub(crate) cpu_limit: Option<i64>,
    pub(crate) memory_request: Option<i64>,
    pub(crate) memory_limit: Option<i64>,
}

impl Needs {
    /// Reads a container's resources.
    pub(crate) fn of(resources: Option<&ResourceRequirements>) -> Self {
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        let limits = resources.and_then(|resources| resources.limits.as_ref());
        let (cpu_limit, memory_limit) = (of(limits, "cpu"), of(limits, "memory"));
        Self {
            cpu_request: of(requests, "cpu").or(cpu_limit),
            cpu_limit,
            memory_request: of(requests, "memory").or(memory_limit),
            memory_limit,
        }
    }
}

fn all(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// The class of a pod (Kubernetes, "Pod Quality of Service Classes"): who asks for none of something asks for nothing.
pub(crate) fn qos_class(spec: &PodSpec) -> Qos {
    let some = |amount: Option<i64>| amount.filter(|amount| *amount > 0);
    let of_pod = Needs::of(spec.resources.as_ref());
    let counted = |needs: Needs| Needs {
        cpu_request: some(needs.cpu_request),
        cpu_limit: some(needs.cpu_limit),
        memory_request: some(needs.memory_request),
        memory_limit: some(needs.memory_limit),
    };
    // What is said of the pod as a whole decides alone (KEP-2837).
    let needs: Vec<_> = match counted(of_pod) {
        of_pod if of_pod != Needs::default() => vec![of_pod],
        _ => all(spec).map(|container| counted(Needs::of(container.resources.as_ref()))).collect(),
    };
    if needs.iter().all(|needs| *needs == Needs::default()) {
        return Qos::BestEffort;
    }
    let guaranteed = needs.iter().all(|needs| {
        let full = needs.cpu_limit.is_some() && needs.memory_limit.is_some();
        full && needs.cpu_limit == needs.cpu_request && needs.memory_limit == needs.memory_request
    });
    if guaranteed { Qos::Guaranteed } else { Qos::Burstable }
}

/// cpu.shares for thousandths of a CPU.
pub(crate) fn shares(milli_cpu: Option<i64>) -> i64 {
    milli_cpu.map_or(SHARES_MIN, |milli| (milli * 1024 / 1000).clamp(SHARES_MIN, SHARES_MAX))
}

/// The CFS quota for thousandths of a CPU, microseconds in each [`PERIOD_US`].
pub(crate) fn quota(milli_cpu: i64) -> i64 {
    (milli_cpu * PERIOD_US / 1000).max(QUOTA_US_MIN)
}

/// The CRI resources of a container; `memory_bytes` is the node's memory.
pub(crate) fn of_container(spec: &PodSpec, container: &Container, memory_bytes: i64) -> cri::LinuxContainerResources {
    let (needs, of_pod) = (Needs::of(container.resources.as_ref()), Needs::of(spec.resources.as_ref()));
    // A container without a limit may have what its pod may.
    let (cpu_limit, memory_limit) = (needs.cpu_limit.or(of_pod.cpu_limit), needs.memory_limit.or(of_pod.memory_limit));
    let request = needs.memory_request.unwrap_or(0).saturating_add(shared_request(spec, of_pod));
    let class = if spec.priority == Some(NODE_CRITICAL) { Qos::Guaranteed } else { qos_class(spec) };
    cri::LinuxContainerResources {
        cpu_period: if cpu_limit.is_some() { PERIOD_US } else { 0 },
        cpu_quota: cpu_limit.map_or(0, quota),
        cpu_shares: shares(needs.cpu_request),
        memory_limit_in_bytes: memory_limit.unwrap_or(0),
        oom_score_adj: oom_score_adj(class, request, memory_bytes),
        ..Default::default()
    }
}

/// Of the memory that a pod asks for as a whole, a container's share of what its containers do not ask for themselves.
fn shared_request(spec: &PodSpec, of_pod: Needs) -> i64 {
    let Some(whole) = of_pod.memory_request else { return 0 };
    let asked = all(spec).filter_map(|container| Needs::of(container.resources.as_ref()).memory_request);
    let containers = i64::try_from(all(spec).count()).unwrap_or(i64::MAX).max(1);
    whole.saturating_sub(asked.sum()).max(0) / containers
}

fn oom_score_adj(class: Qos, request: i64, memory_bytes: i64) -> i64 {
    match class {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let share = i128::from(request) * 1000 / i128::from(memory_bytes.max(1));
            i64::try_from(1000 - share).unwrap_or(1000).clamp(3, 999)
        }
    }
}

fn with(sum: Option<i64>, overhead: i64) -> Option<i64> {
    Some(sum.unwrap_or(0).saturating_add(overhead)).filter(|total| *total > 0)
}

/// The pod's sums: requests always, limits only when each container has one. What the pod says as a whole wins.
pub(crate) fn of_pod(pod: &Pod) -> Needs {
    let Some(spec) = &pod.spec else { return Needs::default() };
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let lasting: Vec<_> = spec.init_containers.iter().flatten().filter(sidecar).chain(&spec.containers).collect();
    let finite: Vec<_> = spec.init_containers.iter().flatten().filter(|container| !sidecar(container)).collect();
    let needs = |list: &[&Container]| list.iter().map(|c| Needs::of(c.resources.as_ref())).collect::<Vec<_>>();
    let (lasting, finite) = (needs(&lasting), needs(&finite));
    let total = |read: fn(&Needs) -> Option<i64>| {
        let sum: i64 = lasting.iter().filter_map(read).sum();
        let most = finite.iter().filter_map(read).max().unwrap_or(0);
        Some(sum.max(most)).filter(|total| *total > 0)
    };
    let whole = Needs::of(spec.resources.as_ref());
    // What the sandbox itself takes comes on top, in the limits only where there is one (KEP-688).
    let overhead = |name: &str| of(spec.overhead.as_ref(), name).unwrap_or(0);
    let limited = |read: fn(&Needs) -> Option<i64>| lasting.iter().chain(&finite).all(|needs| read(needs).is_some());
    let limit = |read: fn(&Needs) -> Option<i64>, name: &'static str| {
        let sum = total(read).filter(|_| limited(read));
        read(&whole).or(sum).map(|limit| limit.saturating_add(overhead(name)))
    };
    Needs {
        cpu_request: with(whole.cpu_request.or(total(|needs| needs.cpu_request)), overhead("cpu")),
        memory_request: with(whole.memory_request.or(total(|needs| needs.memory_request)), overhead("memory")),
        cpu_limit: limit(|needs| needs.cpu_limit, "cpu"),
        memory_limit: limit(|needs| needs.memory_limit, "memory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn overhead_is_added_to_requests_and_to_limits_that_are_there() {
        let pod = |resources: serde_json::Value| -> Pod {
            let overhead = serde_json::json!({"cpu": "100m", "memory": "1Ki"});
            let container = serde_json::json!({"name": "a", "resources": resources});
            let spec = serde_json::json!({"containers": [container], "overhead": overhead});
            serde_json::from_value(serde_json::json!({ "spec": spec })).unwrap()
        };
        let needs = of_pod(&pod(serde_json::json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}})));
        assert_eq!((needs.cpu_request, needs.cpu_limit), (Some(600), Some(1100)));
        assert_eq!((needs.memory_request, needs.memory_limit), (Some(1024), None));
    }

    /// KEP-2837.
    #[test]
    fn a_pod_as_a_whole_wins_over_its_containers() {
        let container = serde_json::json!({"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}});
        let whole = serde_json::json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "8Mi"}});
        let spec = serde_json::json!({"containers": [container, {"name": "b"}], "resources": whole});
        let pod: Pod = serde_json::from_value(serde_json::json!({ "spec": spec })).unwrap();
        let needs = of_pod(&pod);
        assert_eq!((needs.cpu_request, needs.cpu_limit), (Some(1000), Some(2000)));
        assert_eq!((needs.memory_request, needs.memory_limit), (Some(8 << 20), Some(8 << 20)));
        let spec = pod.spec.unwrap();
        assert_eq!(qos_class(&spec), Qos::Burstable);
        let of_b = of_container(&spec, &spec.containers[1], 1 << 30);
        assert_eq!((of_b.cpu_quota, of_b.memory_limit_in_bytes, of_b.cpu_shares), (200_000, 8 << 20, SHARES_MIN));
        // 3.5 MiB of a gibibyte: three thousandths.
        assert_eq!(of_b.oom_score_adj, 997);
    }

    #[test]
    fn classes() {
        let spec = |resources: serde_json::Value| -> PodSpec {
            serde_json::from_value(serde_json::json!({"containers": [{"name": "a", "resources": resources}]})).unwrap()
        };
        use serde_json::json;
        assert_eq!(qos_class(&spec(json!({}))), Qos::BestEffort);
        assert_eq!(qos_class(&spec(json!({"requests": {"cpu": "0"}}))), Qos::BestEffort);
        assert_eq!(qos_class(&spec(json!({"requests": {"cpu": "1"}}))), Qos::Burstable);
        assert_eq!(qos_class(&spec(json!({"limits": {"cpu": "1", "memory": "1Gi"}}))), Qos::Guaranteed);
        assert_eq!(qos_class(&spec(json!({"limits": {"cpu": "1"}}))), Qos::Burstable);
    }

    proptest! {
        #[test]
        fn shares_and_quota_stay_in_the_kernels_bounds(milli in 0i64..10_000_000) {
            prop_assert!((SHARES_MIN..=SHARES_MAX).contains(&shares(Some(milli))));
            prop_assert!(quota(milli) >= QUOTA_US_MIN);
        }
    }
}
