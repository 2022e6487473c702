//! What the API asks of a pod, reduced to what planning needs.
//!
//! Reading happens here once, so that `plan` has no `Option` chains; everything else of the spec is read where the CRI
//! messages are built.

use super::ephemeral;
use super::resources::{self, Needs};
use super::restart::{Restart, RestartPolicy};
use crate::labels;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};

/// The part a container plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next starts.
    Init,
    /// Starts in the order of init containers and keeps running (KEP-753).
    Sidecar,
    /// The pod's purpose.
    App,
    /// Added to a pod that runs; see [`ephemeral`].
    Ephemeral,
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PullPolicy {
    /// Before each start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Not by us.
    Never,
}

/// Whether the pod is to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It stays.
    Staying,
    /// It reached a terminal phase, which the API knows: only remains are cleared.
    Terminal,
    /// The API waits for us to end it.
    Deleting {
        /// How long its processes may take, seconds.
        grace_seconds: i64,
    },
    /// The API no longer has it.
    Gone {
        /// How long its processes may take, seconds.
        grace_seconds: i64,
    },
}

/// With the change of which resources a container has to start again (`resizePolicy`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RestartOn {
    /// CPU.
    pub(crate) cpu: bool,
    /// Memory.
    pub(crate) memory: bool,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedContainer {
    /// Its name.
    pub(crate) name: String,
    /// Its part.
    pub(crate) role: Role,
    /// See [`labels::hash`].
    pub(crate) hash: String,
    /// When its image is fetched.
    pub(crate) pull: PullPolicy,
    /// Whether it starts again after an end.
    pub(crate) restart: Restart,
    /// What it is to have now of CPU and memory.
    pub(crate) needs: Needs,
    /// The resources with whose change it has to start again.
    pub(crate) restart_on: RestartOn,
    /// Whether a startup probe decides when it has started.
    pub(crate) startup_probe: bool,
    /// Whether a readiness probe decides when it is ready.
    pub(crate) readiness_probe: bool,
    /// Whether something runs right after its start.
    pub(crate) post_start: bool,
    /// Restart count of an instance that the API status names; it may be lost to the runtime since.
    pub(crate) recorded: Option<u32>,
}

/// The pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// Init containers and sidecars in their order, then the others, then the ephemeral ones.
    pub(crate) containers: Vec<WantedContainer>,
    /// What the pod's cgroup is to allow.
    pub(crate) needs: Needs,
    /// Whether the pod stays.
    pub(crate) ending: Ending,
    /// When `activeDeadlineSeconds` is over.
    pub(crate) deadline: Option<Timestamp>,
    /// `terminationGracePeriodSeconds`.
    pub(crate) grace_seconds: i64,
}

/// `terminationGracePeriodSeconds` when the API server filled in none (Kubernetes' default).
const GRACE_SECONDS: i64 = 30;

impl Wanted {
    /// Reads `pod`; `removed` says that the API no longer has it.
    pub(crate) fn of(pod: &Pod, removed: Removed) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let status = pod.status.as_ref();
        let grace_seconds = spec.termination_grace_period_seconds.unwrap_or(GRACE_SECONDS);
        let inits = spec.init_containers.iter().flatten().map(|container| {
            let sidecar = container.restart_policy.as_deref() == Some("Always");
            let recorded = status.and_then(|status| status.init_container_statuses.as_deref());
            read(spec, container, if sidecar { Role::Sidecar } else { Role::Init }, recorded)
        });
        let recorded = status.and_then(|status| status.container_statuses.as_deref());
        let apps = spec.containers.iter().map(|container| read(spec, container, Role::App, recorded));
        let recorded = status.and_then(|status| status.ephemeral_container_statuses.as_deref());
        let added = ephemeral::all(pod).map(|own| read(spec, &ephemeral::as_container(own), Role::Ephemeral, recorded));
        let started = status.and_then(|status| status.start_time.as_ref());
        Self {
            containers: inits.chain(apps).chain(added).collect(),
            needs: resources::of_pod(pod),
            ending: ending(pod, removed, grace_seconds),
            deadline: started
                .zip(spec.active_deadline_seconds)
                .and_then(|(start, seconds)| start.0.saturating_add(SignedDuration::from_secs(seconds)).ok()),
            grace_seconds,
        }
    }

    /// The container named `name`.
    pub(crate) fn container(&self, name: &str) -> Option<&WantedContainer> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// Those that play `role`.
    pub(crate) fn with_role(&self, role: Role) -> impl DoubleEndedIterator<Item = &WantedContainer> {
        self.containers.iter().filter(move |container| container.role == role)
    }
}

/// Whether the API server still has the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// It has.
    No,
    /// It was deleted under us.
    Yes,
}

fn ending(pod: &Pod, removed: Removed, grace_seconds: i64) -> Ending {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let asked = pod.metadata.deletion_grace_period_seconds.unwrap_or(grace_seconds);
    match (removed, &pod.metadata.deletion_timestamp, phase) {
        (Removed::Yes, ..) => Ending::Gone { grace_seconds: asked },
        (Removed::No, Some(_), _) => Ending::Deleting { grace_seconds: asked },
        (Removed::No, None, Some("Succeeded" | "Failed")) => Ending::Terminal,
        (Removed::No, None, _) => Ending::Staying,
    }
}

fn read(spec: &PodSpec, container: &Container, role: Role, recorded: Option<&[ContainerStatus]>) -> WantedContainer {
    let image = container.image.as_deref().unwrap_or_default();
    let recorded = recorded
        .and_then(|statuses| statuses.iter().find(|status| status.name == container.name))
        .filter(|status| status.container_id.is_some())
        .map(|status| u32::try_from(status.restart_count).unwrap_or(0));
    WantedContainer {
        name: container.name.clone(),
        role,
        hash: labels::hash(container),
        pull: PullPolicy::of(container.image_pull_policy.as_deref(), image),
        restart: if role == Role::Ephemeral { Restart::by(RestartPolicy::Never) } else { Restart::of(spec, container) },
        needs: Needs::of(container.resources.as_ref()),
        restart_on: RestartOn { cpu: restarts_with(container, "cpu"), memory: restarts_with(container, "memory") },
        startup_probe: container.startup_probe.is_some(),
        readiness_probe: container.readiness_probe.is_some(),
        post_start: container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some()),
        recorded,
    }
}

fn restarts_with(container: &Container, resource: &str) -> bool {
    let mut policies = container.resize_policy.iter().flatten();
    policies.any(|policy| policy.resource_name == resource && policy.restart_policy == "RestartContainer")
}

impl PullPolicy {
    /// What `policy` says of `image`; without one, what Kubernetes' default for its name is.
    pub(crate) fn of(policy: Option<&str>, image: &str) -> Self {
        match policy {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some(_) => Self::IfNotPresent,
            None if is_floating(image) => Self::Always,
            None => Self::IfNotPresent,
        }
    }
}

/// Whether `image` names what may change: `:latest`, or neither tag nor digest (Kubernetes' default pull policy).
fn is_floating(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !image.contains('@') && (name.ends_with(":latest") || !name.contains(':'))
}
