//! A worker's part in changing its pod's resources: what it gives, and when that is in force.

use super::admission::has_ended;
use super::memory::Failure;
use super::observed::{Instance, Life};
use super::plan::Plan;
use super::resize::{self, Change, Kept, Room, Sizes};
use super::resources::of_pod;
use super::wanted::Wanted;
use super::worker::Worker;
use crate::events::Severity;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use skiff_client::sentence;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How long a pod that wants more than there is waits before it asks again.
const AGAIN: SignedDuration = SignedDuration::from_secs(3);

/// What a worker knows of its pod's resources besides what its memory says.
#[derive(Default)]
pub(super) struct Resizing {
    /// What the spec names now.
    desired: Sizes,
    /// What the node has given.
    allocated: Sizes,
}

impl Worker {
    /// Takes over what a former kubelet gave: the pod's spec may name more by now.
    pub(super) fn adopt_sizes(&mut self, running: &[Instance]) {
        let kept = Kept::load(&self.sizes_file());
        self.sizes.allocated = kept.as_ref().map_or_else(|| Sizes::of(&self.pod), |kept| kept.allocated.clone());
        for instance in running {
            let applied = kept.as_ref().and_then(|kept| kept.applied.get(&instance.id));
            let applied = applied.or_else(|| self.sizes.allocated.container(&instance.name)).cloned();
            self.memory.of(&instance.name).applied = Some((instance.id.clone(), applied.unwrap_or_default()));
        }
        let mut pod = Arc::clone(&self.pod);
        self.size(&mut pod);
        self.pod = pod;
        self.wanted = Wanted::of(&self.pod, super::wanted::Removed::No);
        // What was given and not put in force yet is put in force now.
        let behind = running.iter().any(|instance| {
            let container = self.wanted.container(&instance.name);
            container.is_some_and(|one| resize::change(one, self.memory.get(&one.name), instance).is_some())
        });
        if behind {
            self.memory.resizing = Some(None);
        }
    }

    fn sizes_file(&self) -> PathBuf {
        self.agent.dir(&self.pod).path().join("resources.json")
    }

    /// Gives a new version of the pod the resources that it has been given, and looks whether it can have those it names.
    pub(super) fn size(&mut self, pod: &mut Arc<Pod>) {
        let desired = Sizes::of(pod);
        let is_new = desired != self.sizes.desired;
        self.sizes.desired = desired;
        if is_new {
            self.allocate(pod);
        }
        if self.sizes.allocated != self.sizes.desired {
            self.sizes.allocated.put(Arc::make_mut(pod));
        }
    }

    /// Gives `pod`, which names its desired resources, those if there is room.
    fn allocate(&mut self, pod: &Pod) -> bool {
        if self.sizes.allocated == self.sizes.desired || !self.is_staying() {
            self.memory.resize_pending = None;
            return false;
        }
        let machine = &self.agent.machine;
        let all = Room { milli_cpu: machine.cpus.saturating_mul(1000), memory_bytes: machine.memory_bytes };
        if let Some(failure) = resize::refusal(of_pod(pod), self.room_of_others(), all) {
            if self.memory.resize_pending.as_ref() != Some(&failure) {
                let event = if failure.reason == "Infeasible" { "ResizeInfeasible" } else { "ResizeDeferred" };
                let message = format!("Pod resize {}: {}", failure.reason, failure.message);
                self.event(None, Severity::Warning, event, &message);
            }
            self.memory.resize_pending = Some(failure);
            return false;
        }
        self.memory.resize_pending = None;
        self.memory.resizing = Some(None);
        self.sizes.allocated = self.sizes.desired.clone();
        self.keep_sizes();
        self.event(None, Severity::Normal, "ResizeStarted", "Pod resize started");
        true
    }

    fn room_of_others(&self) -> Room {
        let others = self
            .agent
            .board
            .all()
            .into_iter()
            .filter(|posted| posted.pod.metadata.uid.as_deref() != Some(&self.uid) && !has_ended(&posted.pod));
        others.map(|posted| of_pod(&posted.pod)).fold(Room::default(), |sum, needs| Room {
            milli_cpu: sum.milli_cpu.saturating_add(needs.cpu_request.unwrap_or(0)),
            memory_bytes: sum.memory_bytes.saturating_add(needs.memory_request.unwrap_or(0)),
        })
    }

    /// Asks again for what there was no room for.
    pub(super) fn reconsider_sizes(&mut self) {
        if self.memory.resize_pending.as_ref().is_none_or(|failure| failure.reason != "Deferred") {
            return;
        }
        let mut pod = Pod::clone(&self.pod);
        self.sizes.desired.put(&mut pod);
        if self.allocate(&pod) {
            self.pod = Arc::new(pod);
            self.rethink();
        }
    }

    /// Wakes the plan while something waits for room, and tells when what was given is in force.
    pub(super) fn follow_sizes(&mut self, plan: &mut Plan, now: Timestamp) {
        if self.memory.resize_pending.as_ref().is_some_and(|failure| failure.reason == "Deferred") {
            let again = now + AGAIN;
            plan.wake_at = Some(plan.wake_at.map_or(again, |at| at.min(again)));
        }
        if self.memory.resizing.is_some() && resize::is_done(&self.wanted, &self.seen, &self.memory) {
            self.memory.resizing = None;
            self.keep_sizes();
            self.event(None, Severity::Normal, "ResizeCompleted", "Pod resize completed");
        }
    }

    /// Notes that a container is stopped because it is to have other resources.
    pub(super) fn note_stop(&mut self, name: &str, id: &str) {
        let Some(instance) = self.seen.containers.get(id) else { return };
        let change = self.wanted.container(name).and_then(|one| resize::change(one, self.memory.get(name), instance));
        if change == Some(Change::Restart) {
            self.memory.of(name).resized = Some(id.to_owned());
        }
    }

    /// Takes in what instances have now.
    pub(super) fn learn_sizes(&mut self, sizes: Vec<(String, String, ResourceRequirements)>) {
        for (name, id, resources) in sizes {
            self.memory.of(&name).applied = Some((id, resources));
        }
    }

    /// Takes in that resources could not be changed.
    pub(super) fn learn_no_sizes(&mut self, failure: Failure) {
        self.complain(&failure);
        if self.memory.resizing.as_ref().is_none_or(|known| known.as_ref() != Some(&failure)) {
            self.event(None, Severity::Warning, "ResizeError", &format!("Pod resize error: {}", failure.message));
        }
        self.memory.resizing = Some(Some(failure));
    }

    fn keep_sizes(&self) {
        let alive = |id: &str| self.seen.containers.get(id).is_some_and(|one| !matches!(one.life, Life::Exited { .. }));
        let applied: BTreeMap<_, _> = self
            .memory
            .containers
            .values()
            .filter_map(|container| container.applied.clone())
            .filter(|(id, _)| alive(id))
            .collect();
        let kept = Kept { allocated: self.sizes.allocated.clone(), applied };
        if self.memory.prepared
            && let Err(error) = kept.save(&self.sizes_file())
        {
            let pod = self.pod.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(
                pod,
                error = sentence(&error),
                "allocated resources are not kept for a restart of the kubelet"
            );
        }
    }
}
