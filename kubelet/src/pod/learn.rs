//! What a worker learns from the ends of its steps.

use super::act::Outcome;
use super::backoff::{RESTARTS, RETRIES};
use super::ephemeral;
use super::memory::{Failure, Killer, ReadyImage, ToKill};
use super::observed::Instance;
use super::worker::{Sighting, Worker};
use crate::events::Severity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceRequirements;

/// Whether a registry was asked in vain; the other reasons are this node's own.
fn is_of_pull(reason: &str) -> bool {
    matches!(reason, "ErrImagePull" | "RegistryUnavailable")
}

impl Worker {
    pub(super) fn learn(&mut self, outcome: Outcome) {
        let now = Timestamp::now();
        match outcome {
            Outcome::Prepared(Ok((refresh_at, cgroup))) => {
                self.memory.prepared = true;
                self.memory.cgroup = Some(cgroup);
                self.memory.folders.clear();
                self.memory.folder_failure = None;
                // What changed while the files were written may not be in them.
                self.memory.refresh_at = if self.memory.stale { Some(now) } else { refresh_at };
            }
            Outcome::Resized(cgroup, Ok(sizes)) => {
                self.memory.cgroup = Some(cgroup);
                self.memory.resizes.clear();
                self.learn_sizes(sizes);
            }
            Outcome::Resized(_, Err(failure)) => {
                self.memory.resizes.note(RETRIES, now);
                self.learn_no_sizes(failure);
            }
            Outcome::Prepared(Err(failure)) | Outcome::Cleared(Err(failure)) => {
                self.complain(&failure);
                self.memory.folders.note(RETRIES, now);
                self.memory.folder_failure = Some(failure);
            }
            Outcome::Sandbox(Ok(sandbox)) => {
                self.memory.sandbox_failure = None;
                self.memory.sandboxes.clear();
                self.sight(Sighting::Some(vec![sandbox], Vec::new()));
            }
            Outcome::Sandbox(Err(failure)) => {
                self.complain(&failure);
                self.memory.sandboxes.note(RETRIES, now);
                self.memory.sandbox_failure = Some(failure);
            }
            Outcome::Image(name, attempt, result) => self.learn_image(&name, attempt, result, now),
            Outcome::Started(name, resources, result) => self.learn_start(&name, resources, result, now),
            Outcome::Hooked(name, id, Ok(())) => self.memory.of(&name).hooked = Some(id),
            Outcome::Hooked(name, id, Err(error)) => {
                let why = format!("FailedPostStartHook: {error}");
                let memory = self.memory.of(&name);
                memory.hooked = Some(id.clone());
                memory.to_kill = Some(ToKill { id, by: Killer::Hook, why, grace_seconds: None });
            }
            ending => self.learn_ending(ending, now),
        }
    }

    fn learn_image(&mut self, name: &str, attempt: u32, result: Result<ReadyImage, Failure>, now: Timestamp) {
        let image = ephemeral::find(&self.pod, name).and_then(|container| container.image.clone()).unwrap_or_default();
        let memory = self.memory.of(name);
        let failure = match result {
            Ok(image) => {
                memory.image = Some((attempt, image));
                memory.image_failure = None;
                memory.pulls.clear();
                return;
            }
            Err(failure) => failure,
        };
        let again = memory.image_failure.is_some() && is_of_pull(&failure.reason);
        memory.pulls.note(RESTARTS, now);
        let backing_off = format!("Back-off pulling image \"{image}\"");
        memory.image_failure = Some(if again {
            Failure::new("ImagePullBackOff", format!("{backing_off}: {}: {}", failure.reason, failure.message))
        } else {
            failure.clone()
        });
        self.event(Some(name), Severity::Warning, "Failed", &format!("Error: {}", failure.reason));
        if is_of_pull(&failure.reason) {
            self.event(Some(name), Severity::Normal, "BackOff", &backing_off);
            self.event(Some(name), Severity::Warning, "Failed", "Error: ImagePullBackOff");
        }
    }

    fn learn_start(
        &mut self,
        name: &str,
        resources: ResourceRequirements,
        result: Result<Instance, Box<(Failure, Option<Instance>)>>,
        now: Timestamp,
    ) {
        match result {
            Ok(instance) => {
                let memory = self.memory.of(name);
                memory.start_failure = None;
                memory.starts.clear();
                memory.image = None;
                memory.resized = None;
                memory.applied = Some((instance.id.clone(), resources));
                self.absorb(instance);
            }
            Err(failed) => {
                let (failure, instance) = *failed;
                let memory = self.memory.of(name);
                memory.starts.note(RETRIES, now);
                memory.start_failure = Some(failure);
                if let Some(instance) = instance {
                    self.absorb(instance);
                }
            }
        }
    }

    fn learn_ending(&mut self, outcome: Outcome, now: Timestamp) {
        match outcome {
            Outcome::Stopped(Ok(instance)) => self.absorb(instance),
            Outcome::SandboxStopped(Ok(id)) => {
                if let Some(sandbox) = self.seen.sandboxes.get_mut(&id) {
                    sandbox.ready = false;
                }
            }
            Outcome::Removed(Ok(id)) => self.seen.forget(&id),
            Outcome::Cleared(Ok(())) => self.memory.cleared = true,
            Outcome::DeletionFinished(Ok(())) => self.memory.deletion_finished = true,
            Outcome::Stopped(Err(failure))
            | Outcome::SandboxStopped(Err(failure))
            | Outcome::Removed(Err(failure))
            | Outcome::DeletionFinished(Err(failure)) => {
                self.memory.endings.note(RETRIES, now);
                self.complain(&failure);
                self.event(None, Severity::Warning, "FailedKillPod", &failure.message);
            }
            // The others are `learn`'s.
            _ => {}
        }
    }

    /// Failures of the pod as a whole have no place in its status: they go to the log (and were events where they arose).
    pub(super) fn complain(&self, failure: &Failure) {
        tracing::warn!(pod = self.pod.metadata.name, uid = self.uid, reason = failure.reason, "{}", failure.message);
    }
}
