//! CPU and memory that change while a pod runs (KEP-1287).
//!
//! ```text
//!  desired    what the API object's spec names now
//!  allocated  what the node has given the pod: desired, as soon as there is room for it
//!  applied    what cgroups allow
//! ```
//!
//! Everything that acts on the pod sees it with its allocated resources. Pure but for [`Sizes::load`] and [`Kept::save`]:
//! what was given has to survive a restart of the kubelet.

use super::memory::{ContainerMemory, Failure, Memory};
use super::observed::{Instance, Observed};
use super::resources::Needs;
use super::wanted::{Wanted, WantedContainer};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The resources of a pod's containers by name, and of the pod as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sizes {
    containers: BTreeMap<String, ResourceRequirements>,
    pod: Option<ResourceRequirements>,
}

impl Sizes {
    /// Those in `pod`'s spec.
    pub(crate) fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        let named = all.map(|one| (one.name.clone(), one.resources.clone().unwrap_or_default()));
        Self { containers: named.collect(), pod: spec.resources.clone() }
    }

    /// Puts them into `pod`'s spec.
    pub(crate) fn put(&self, pod: &mut Pod) {
        let Some(spec) = &mut pod.spec else { return };
        for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
            if let Some(resources) = self.containers.get(&container.name) {
                container.resources = Some(resources.clone());
            }
        }
        spec.resources.clone_from(&self.pod);
    }

    /// Those of one container.
    pub(crate) fn container(&self, name: &str) -> Option<&ResourceRequirements> {
        self.containers.get(name)
    }
}

/// What is kept in the pod's folder once something has changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// What the node has given.
    pub(crate) allocated: Sizes,
    /// What instances have, by their CRI ids.
    pub(crate) applied: BTreeMap<String, ResourceRequirements>,
}

impl Kept {
    /// Reads `file`; nothing if it is not there or cannot be read, as for a pod that never changed.
    pub(crate) fn load(file: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    }

    /// Replaces `file`.
    pub(crate) fn save(&self, file: &Path) -> io::Result<()> {
        let next = file.with_extension("next");
        std::fs::write(&next, serde_json::to_vec(self)?)?;
        std::fs::rename(next, file)
    }
}

/// How an instance gets other resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its cgroup is changed.
    InPlace,
    /// It starts again.
    Restart,
}

/// What `instance` needs to have what `container` is to have; nothing if it has that.
pub(crate) fn change(
    container: &WantedContainer,
    memory: Option<&ContainerMemory>,
    instance: &Instance,
) -> Option<Change> {
    let (_, applied) = memory?.applied.as_ref().filter(|(id, _)| *id == instance.id)?;
    let (has, wants) = (Needs::of(Some(applied)), container.needs);
    let cpu = (has.cpu_request, has.cpu_limit) != (wants.cpu_request, wants.cpu_limit);
    let memory = (has.memory_request, has.memory_limit) != (wants.memory_request, wants.memory_limit);
    match (cpu, memory) {
        (false, false) => None,
        _ if cpu && container.restart_on.cpu || memory && container.restart_on.memory => Some(Change::Restart),
        _ => Some(Change::InPlace),
    }
}

/// Whether everything that runs has what it is to have.
pub(crate) fn is_done(wanted: &Wanted, seen: &Observed, memory: &Memory) -> bool {
    let has_it = |instance: &Instance| {
        let container = wanted.container(&instance.name);
        container.is_none_or(|container| change(container, memory.get(&instance.name), instance).is_none())
    };
    let restarting = memory.containers.values().any(|container| container.resized.is_some());
    memory.cgroup == Some(wanted.needs)
        && !restarting
        && seen.containers.values().filter(|instance| instance.is_running()).all(has_it)
}

/// CPU in thousandths and memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) milli_cpu: i64,
    pub(crate) memory_bytes: i64,
}

/// Why a pod that asks for `asked` gets it not now, or never, on a node that has `all` and gave `others` to its other pods. The words are
/// Kubernetes'.
pub(crate) fn refusal(asked: Needs, others: Room, all: Room) -> Option<Failure> {
    let rows = [
        ("memory", asked.memory_request.unwrap_or(0), others.memory_bytes, all.memory_bytes),
        ("cpu", asked.cpu_request.unwrap_or(0), others.milli_cpu, all.milli_cpu),
    ];
    let too_much: Vec<_> = rows.iter().filter(|(_, asked, _, all)| asked > all).collect();
    if !too_much.is_empty() {
        let part =
            |(name, asked, _, all): &&(&str, i64, i64, i64)| format!("{name}, requested: {asked}, capacity: {all}");
        let parts: Vec<_> = too_much.iter().map(part).collect();
        return Some(Failure::new("Infeasible", format!("Node didn't have enough capacity: {}", parts.join("; "))));
    }
    let (name, asked, used, all) = rows.into_iter().find(|(_, asked, used, all)| asked.saturating_add(*used) > *all)?;
    let message =
        format!("Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {all}");
    Some(Failure::new("Deferred", message))
}

/// The larger of two allowances; without a limit there is none.
pub(crate) fn larger(one: Needs, other: Needs) -> Needs {
    let limit = |one: Option<i64>, other: Option<i64>| one.zip(other).map(|(one, other)| one.max(other));
    Needs {
        cpu_request: one.cpu_request.max(other.cpu_request),
        cpu_limit: limit(one.cpu_limit, other.cpu_limit),
        memory_request: one.memory_request.max(other.memory_request),
        memory_limit: limit(one.memory_limit, other.memory_limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str) -> Pod {
        let container = json!({"name": "a", "resources": {"requests": {"cpu": cpu}}});
        serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [container, {"name": "b"}]}})).unwrap()
    }

    #[test]
    fn what_is_allocated_replaces_what_is_desired() {
        let allocated = Sizes::of(&pod("1"));
        let mut desired = pod("2");
        allocated.put(&mut desired);
        assert_eq!(Sizes::of(&desired), allocated);
        assert!(allocated.container("a").unwrap().requests.is_some());
    }

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resources.json");
        assert_eq!(Kept::load(&file), None);
        let kept =
            Kept { allocated: Sizes::of(&pod("1")), applied: BTreeMap::from([("id".into(), Default::default())]) };
        kept.save(&file).unwrap();
        assert_eq!(Kept::load(&file), Some(kept));
    }

    #[test]
    fn room_is_asked_for_in_kubernetes_words() {
        let all = Room { milli_cpu: 2000, memory_bytes: 100 };
        let asks = |cpu: i64| Needs { cpu_request: Some(cpu), ..Needs::default() };
        let others = Room { milli_cpu: 1500, memory_bytes: 0 };
        assert_eq!(refusal(asks(500), others, all), None);
        let later = refusal(asks(600), others, all).unwrap();
        assert_eq!(later.reason, "Deferred");
        assert_eq!(later.message, "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000");
        let never = refusal(asks(3000), others, all).unwrap();
        assert_eq!(never.reason, "Infeasible");
        assert_eq!(never.message, "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000");
    }

    #[test]
    fn no_limit_is_the_largest() {
        let limited = Needs { cpu_limit: Some(5), memory_limit: Some(7), ..Needs::default() };
        let other = Needs { cpu_limit: None, memory_limit: Some(9), ..Needs::default() };
        assert_eq!(larger(limited, other), Needs { cpu_limit: None, memory_limit: Some(9), ..Needs::default() });
    }
}
