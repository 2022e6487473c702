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
    let counted = |needs: Needs| Needs {
        cpu_request: some(needs.cpu_request),
        cpu_limit: some(needs.cpu_limit),
        memory_request: some(needs.memory_request),
        memory_limit: some(needs.memory_limit),
    };
    let needs: Vec<_> = all(spec).map(|container| counted(Needs::of(container.resources.as_ref()))).collect();
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
    let needs = Needs::of(container.resources.as_ref());
    cri::LinuxContainerResources {
        cpu_period: if needs.cpu_limit.is_some() { PERIOD_US } else { 0 },
        cpu_quota: needs.cpu_limit.map_or(0, quota),
        cpu_shares: shares(needs.cpu_request),
        memory_limit_in_bytes: needs.memory_limit.unwrap_or(0),
        oom_score_adj: oom_score_adj(qos_class(spec), needs.memory_request.unwrap_or(0), memory_bytes),
        ..Default::default()
    }
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

/// The pod's sums: requests always, limits only when each container has one.
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
    // What the sandbox itself takes comes on top, in the limits only where there is one (KEP-688).
    let overhead = |name| of(spec.overhead.as_ref(), name).unwrap_or(0);
    let limited = |read: fn(&Needs) -> Option<i64>| lasting.iter().chain(&finite).all(|needs| read(needs).is_some());
    Needs {
        cpu_request: with(total(|needs| needs.cpu_request), overhead("cpu")),
        memory_request: with(total(|needs| needs.memory_request), overhead("memory")),
        cpu_limit: total(|needs| needs.cpu_limit)
            .filter(|_| limited(|needs| needs.cpu_limit))
            .map(|limit| limit.saturating_add(overhead("cpu"))),
        memory_limit: total(|needs| needs.memory_limit)
            .filter(|_| limited(|needs| needs.memory_limit))
            .map(|limit| limit.saturating_add(overhead("memory"))),
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
