//! What a worker remembers of its pod between two plans: what is under way, what failed, what the probes said.
//!
//! None of it must survive a restart of the kubelet: what must (restart counts, ids) is in the runtime's annotations.

use super::backoff::{Backoff, RESTARTS, RETRIES};
use super::resources::Needs;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceRequirements;
use std::collections::{BTreeMap, BTreeSet};

/// Things of which one at a time may be under way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    /// Folders, volumes and the cgroup.
    Folder,
    /// Sandboxes.
    Sandbox,
    /// One container, by name.
    Container(String),
    /// Its postStart hook.
    Hook(String),
    /// The last status of a deleted pod, and its removal from the API server.
    Deletion,
}

/// Why something did not work, as the container's waiting state shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One word: `ErrImagePull`, `CreateContainerConfigError`.
    pub(crate) reason: String,
    /// A sentence.
    pub(crate) message: String,
}

impl Failure {
    /// A failure called `reason`, explained by `message`.
    pub(crate) fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }
}

/// An image that is on the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ReadyImage {
    /// What to create the container from.
    pub(crate) reference: String,
    /// The user it names by number.
    pub(crate) uid: Option<i64>,
    /// The user it names by name.
    pub(crate) username: String,
}

/// Who wants an instance to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Killer {
    /// A liveness or startup probe.
    Probe,
    /// Its own postStart hook, which failed.
    Hook,
}

/// An instance that must go although its pod stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToKill {
    /// The instance.
    pub(crate) id: String,
    /// Who wants that.
    pub(crate) by: Killer,
    /// Why, for the event.
    pub(crate) why: String,
    /// How long it may take, seconds; the pod's own time if the probe names none (KEP-2238).
    pub(crate) grace_seconds: Option<i64>,
}

/// The memory of one container.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ContainerMemory {
    /// The image for the start of this restart count.
    pub(crate) image: Option<(u32, ReadyImage)>,
    /// Why the last pull failed, and when to try again.
    pub(crate) image_failure: Option<Failure>,
    /// Delays between pulls.
    pub(crate) pulls: Backoff,
    /// Why the last start failed.
    pub(crate) start_failure: Option<Failure>,
    /// Delays between starts that failed before a process ran.
    pub(crate) starts: Backoff,
    /// Delays between runs.
    pub(crate) runs: Backoff,
    /// The instance that passed its startup probe.
    pub(crate) started: Option<String>,
    /// The instance that passed its readiness probe last.
    pub(crate) ready: Option<String>,
    /// The instance that must go because of a probe or hook.
    pub(crate) to_kill: Option<ToKill>,
    /// The instance whose postStart hook is done.
    pub(crate) hooked: Option<String>,
    /// The instance that has these resources; one that is not here has what the pod has been given.
    pub(crate) applied: Option<(String, ResourceRequirements)>,
    /// The instance that was stopped to get other resources.
    pub(crate) resized: Option<String>,
}

/// The memory of a pod.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Memory {
    /// What is under way.
    pub(crate) busy: BTreeSet<Lane>,
    /// Whether folders, volumes and cgroup stand.
    pub(crate) prepared: bool,
    /// When volumes have to be brought up to date: an object changed, a token ages.
    pub(crate) refresh_at: Option<Timestamp>,
    /// Whether something that volumes show has changed since they were last begun to be written.
    pub(crate) stale: bool,
    /// Whether they are gone again.
    pub(crate) cleared: bool,
    /// Whether the API server has taken the last status of a deleted pod.
    pub(crate) deletion_finished: bool,
    /// Why they do not stand.
    pub(crate) folder_failure: Option<Failure>,
    /// Delays between tries.
    pub(crate) folders: Backoff,
    /// Why there is no sandbox.
    pub(crate) sandbox_failure: Option<Failure>,
    /// Delays between tries.
    pub(crate) sandboxes: Backoff,
    /// What the pod's cgroup allows, once it stands.
    pub(crate) cgroup: Option<Needs>,
    /// Delays between tries to change resources in place.
    pub(crate) resizes: Backoff,
    /// Why the pod has not been given the resources that its spec names now.
    pub(crate) resize_pending: Option<Failure>,
    /// Set while resources that were given are not in force yet; with what went wrong, if something did.
    pub(crate) resizing: Option<Option<Failure>>,
    /// Delays between tries to end or remove something.
    pub(crate) endings: Backoff,
    /// Containers by name.
    pub(crate) containers: BTreeMap<String, ContainerMemory>,
    /// Set when `activeDeadlineSeconds` ran out or we turned the pod away: the pod's last phase is Failed.
    pub(crate) ended_by: Option<Failure>,
    /// How long its processes may take then, seconds, if not as long as the pod says.
    pub(crate) end_grace_seconds: Option<i64>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl From<skiff_step::Injected> for Failure {
    fn from(fault: skiff_step::Injected) -> Self {
        Self::new("InjectedFault", std::io::Error::from(fault).to_string())
    }
}

impl Memory {
    /// The memory of the container `name`.
    pub(crate) fn of(&mut self, name: &str) -> &mut ContainerMemory {
        self.containers.entry(name.to_owned()).or_default()
    }

    /// The memory of the container `name`, if there is any.
    pub(crate) fn get(&self, name: &str) -> Option<&ContainerMemory> {
        self.containers.get(name)
    }

    /// Whether nothing is under way in `lane`.
    pub(crate) fn is_free(&self, lane: &Lane) -> bool {
        !self.busy.contains(lane)
    }

    /// When volumes may be tried again.
    pub(crate) fn folders_due(&self) -> Timestamp {
        self.folders.retry_at(RETRIES)
    }
}

impl ContainerMemory {
    /// When the image may be pulled again.
    pub(crate) fn pull_due(&self) -> Timestamp {
        self.pulls.retry_at(RESTARTS)
    }

    /// When a start may be tried again.
    pub(crate) fn start_due(&self) -> Timestamp {
        self.starts.retry_at(RETRIES)
    }

    /// Whether `instance` has passed its startup probe.
    pub(crate) fn has_started(&self, instance: &str) -> bool {
        self.started.as_deref() == Some(instance)
    }
}
