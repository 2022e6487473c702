//! Amounts of resources, and what a pod requests. No I/O.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use skiff_proto::quantity;
use std::collections::BTreeMap;
use std::sync::Arc;

type List = BTreeMap<String, Quantity>;

/// What a container without a request is taken to use when nodes are scored, so that such pods spread too.
const CPU_MILLIS_MISSING: i64 = 100;
const MEMORY_BYTES_MISSING: i64 = 200 * 1024 * 1024;

/// So much of each resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) cpu_millis: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) ephemeral_bytes: i64,
    /// Huge pages, extended resources, and others whose names have a prefix.
    pub(crate) scalars: BTreeMap<Arc<str>, i64>,
}

impl Amounts {
    /// What a list of the API says; names that no scheduler counts are left out.
    pub(crate) fn of(list: Option<&List>) -> Self {
        let mut amounts = Self::default();
        for (name, amount) in list.into_iter().flatten() {
            match name.as_str() {
                "cpu" => amounts.cpu_millis = millis(amount),
                "memory" => amounts.memory_bytes = units(amount),
                "ephemeral-storage" => amounts.ephemeral_bytes = units(amount),
                name if is_scalar(name) => drop(amounts.scalars.insert(name.into(), units(amount))),
                _ => {}
            }
        }
        amounts
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.each(other, i64::saturating_add);
    }

    pub(crate) fn remove(&mut self, other: &Self) {
        self.each(other, i64::saturating_sub);
    }

    /// The greater of both, for each resource.
    fn raise(&mut self, other: &Self) {
        self.each(other, i64::max);
    }

    fn each(&mut self, other: &Self, both: fn(i64, i64) -> i64) {
        self.cpu_millis = both(self.cpu_millis, other.cpu_millis);
        self.memory_bytes = both(self.memory_bytes, other.memory_bytes);
        self.ephemeral_bytes = both(self.ephemeral_bytes, other.ephemeral_bytes);
        for (name, amount) in &other.scalars {
            let own = self.scalars.entry(Arc::clone(name)).or_default();
            *own = both(*own, *amount);
        }
    }

    pub(crate) fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu_millis,
            "memory" => self.memory_bytes,
            "ephemeral-storage" => self.ephemeral_bytes,
            name => self.scalars.get(name).copied().unwrap_or(0),
        }
    }

    fn set(&mut self, name: &str, amount: &Quantity) {
        match name {
            "cpu" => self.cpu_millis = millis(amount),
            "memory" => self.memory_bytes = units(amount),
            name => drop(self.scalars.insert(name.into(), units(amount))),
        }
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_nothing(&self) -> bool {
        self.cpu_millis == 0 && self.memory_bytes == 0 && self.ephemeral_bytes == 0 && self.scalars.is_empty()
    }
}

/// What the API server let in parses; anything else counts as nothing.
fn millis(amount: &Quantity) -> i64 {
    let millis = quantity::Quantity::parse(&amount.0).map_or(0, quantity::Quantity::millis);
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// In whole units, rounded up.
pub(crate) fn units(amount: &Quantity) -> i64 {
    quantity::Quantity::parse(&amount.0).map_or(0, quantity::Quantity::units)
}

/// Whether a resource is counted by its name alone: huge pages, extended resources, and what Kubernetes gives a prefix.
pub(crate) fn is_scalar(name: &str) -> bool {
    is_extended(name)
        || name.starts_with("hugepages-")
        || name.contains("kubernetes.io/")
        || name.starts_with("attachable-volumes-")
}

/// Whether a resource is one that Kubernetes itself knows nothing of.
pub(crate) fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// What a pod requests; and its CPU and memory once more with something for containers that ask for nothing.
pub(crate) fn requested_by(pod: &Pod) -> (Amounts, Amounts) {
    let requests = sum(pod, (0, 0));
    let (cpu, memory) = if whole_pod(pod).next().is_some() {
        // A pod with amounts of its own is short only of what neither it nor a container says.
        let missing = |amount: i64, default: i64| if amount == 0 { default } else { 0 };
        (missing(requests.cpu_millis, CPU_MILLIS_MISSING), missing(requests.memory_bytes, MEMORY_BYTES_MISSING))
    } else {
        (CPU_MILLIS_MISSING, MEMORY_BYTES_MISSING)
    };
    let scored = sum(pod, (cpu, memory));
    (requests, scored)
}

/// The containers together or the hungriest moment of the start, whichever is more, then what is asked for the pod as a whole,
/// then its overhead. `missing` stands in for CPU and memory that a container does not ask for.
fn sum(pod: &Pod, missing: (i64, i64)) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::default() };
    let status = pod.status.as_ref();
    let refused = is_resize_infeasible(pod);
    let of = |container: &Container, statuses: Option<&Vec<ContainerStatus>>| {
        let own = statuses.into_iter().flatten().find(|status| status.name == container.name);
        of_container(container, own, refused, missing)
    };
    let mut running = Amounts::default();
    for container in &spec.containers {
        running.add(&of(container, status.and_then(|status| status.container_statuses.as_ref())));
    }
    let (mut sidecars, mut start) = (Amounts::default(), Amounts::default());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container, status.and_then(|status| status.init_container_statuses.as_ref()));
        // A sidecar (KEP-753) keeps what it has; an ordinary init container runs beside the sidecars before it.
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&own);
            sidecars.add(&own);
            start.raise(&sidecars);
        } else {
            let mut moment = sidecars.clone();
            moment.add(&own);
            start.raise(&moment);
        }
    }
    running.raise(&start);
    for (name, amount) in whole_pod(pod) {
        running.set(name, amount);
    }
    running.add(&Amounts::of(spec.overhead.as_ref()));
    running
}

/// What is asked for the pod as a whole (KEP-2837).
fn whole_pod(pod: &Pod) -> impl Iterator<Item = (&String, &Quantity)> {
    let requests = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    requests
        .into_iter()
        .flatten()
        .filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-"))
}

/// A container that is being resized counts with the most of what it asks for, has been promised and uses (KEP-1287).
fn of_container(
    container: &Container,
    status: Option<&ContainerStatus>,
    refused: bool,
    missing: (i64, i64),
) -> Amounts {
    let asked = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let mut amounts = Amounts::of(asked);
    if let Some(status) = status {
        let used = status.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        if used.is_some() {
            if refused {
                amounts = Amounts::default();
            }
            amounts.raise(&Amounts::of(used));
            amounts.raise(&Amounts::of(status.allocated_resources.as_ref()));
        }
    }
    let has = |name: &str| asked.is_some_and(|asked| asked.contains_key(name));
    if !has("cpu") {
        amounts.cpu_millis = amounts.cpu_millis.max(missing.0);
    }
    if !has("memory") {
        amounts.memory_bytes = amounts.memory_bytes.max(missing.1);
    }
    amounts
}

fn is_resize_infeasible(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|one| one.type_ == "PodResizePending" && one.reason.as_deref() == Some("Infeasible"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(spec: Value) -> (Amounts, Amounts) {
        requested_by(&serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap())
    }

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_stay() {
        let mut side = container("side", "50m");
        side["restartPolicy"] = json!("Always");
        let spec = json!({"containers": [container("c", "100m")], "initContainers": [side, container("init", "300m")]});
        assert_eq!(of(spec).0.cpu_millis, 350);
    }

    #[test]
    fn what_the_pod_asks_for_as_a_whole_comes_first_and_overhead_last() {
        let spec = json!({"containers": [container("c", "100m"), container("d", "1")],
            "resources": {"requests": {"cpu": "500m", "hugepages-2Mi": "4Mi"}}, "overhead": {"cpu": "10m", "memory": "1Mi"}});
        let (requests, scored) = of(spec);
        assert_eq!(
            (requests.cpu_millis, requests.memory_bytes, requests.get("hugepages-2Mi")),
            (510, 1 << 20, 4 << 20)
        );
        assert_eq!((scored.cpu_millis, scored.memory_bytes), (510, 1 << 20));
    }

    #[test]
    fn containers_without_requests_count_when_nodes_are_scored() {
        let (requests, scored) = of(json!({"containers": [{"name": "a"}, container("b", "1")]}));
        assert_eq!((requests.cpu_millis, requests.memory_bytes), (1000, 0));
        assert_eq!((scored.cpu_millis, scored.memory_bytes), (1100, 2 * MEMORY_BYTES_MISSING));
    }

    #[test]
    fn a_resize_counts_with_the_most() {
        let with = |reason: Option<&str>| {
            let conditions: Vec<Value> = reason
                .into_iter()
                .map(|reason| json!({"type": "PodResizePending", "status": "True", "reason": reason}))
                .collect();
            let status = json!({"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "resources": {"requests": {"cpu": "200m"}}, "allocatedResources": {"cpu": "300m"}});
            let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container("c", "1")]},
                "status": {"conditions": conditions, "containerStatuses": [status]}});
            requested_by(&serde_json::from_value(pod).unwrap()).0.cpu_millis
        };
        assert_eq!((with(None), with(Some("Infeasible"))), (1000, 300));
    }

    #[test]
    fn only_counted_names_are_kept() {
        let list =
            [("pods", "3"), ("cpu", "1"), ("example.com/gpu", "2"), ("requests.x/y", "1"), ("hugepages-1Gi", "1Gi")];
        let list: List = list.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into();
        let names: Vec<_> = Amounts::of(Some(&list)).scalars.into_keys().collect();
        assert_eq!(names, ["example.com/gpu".into(), Arc::from("hugepages-1Gi")]);
    }
}
