//! What the runtime has of one pod.
//!
//! News comes on two ways: answers to our own calls, and the runtime's event stream, whose snapshots may be older than an
//! answer we already have. A container only moves created → running → exited, so [`Observed::absorb`] keeps the further
//! of two reports and the order of arrival does not matter.

use crate::labels;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerUser, LinuxContainerUser};
use skiff_proto::cri::v1 as cri;
use std::collections::{BTreeMap, BTreeSet};

/// The pod's sandboxes and containers, by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed {
    /// Sandboxes, old ones too.
    pub(crate) sandboxes: BTreeMap<String, Sandbox>,
    /// Containers, dead ones too.
    pub(crate) containers: BTreeMap<String, Instance>,
    /// Ids that are gone: a late report of one must not bring it back.
    gone: BTreeSet<String>,
}

/// One sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sandbox {
    /// CRI id.
    pub(crate) id: String,
    /// The how-manieth of its pod, from 0.
    pub(crate) attempt: u32,
    /// Whether its namespaces stand.
    pub(crate) ready: bool,
    /// Creation.
    pub(crate) created_at: Timestamp,
    /// Pod addresses; none with the host's network.
    pub(crate) ips: Vec<String>,
}

/// One container that was made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instance {
    /// CRI id.
    pub(crate) id: String,
    /// Its sandbox.
    pub(crate) sandbox: String,
    /// The container's name in the pod.
    pub(crate) name: String,
    /// Restart count.
    pub(crate) attempt: u32,
    /// See [`labels::hash`].
    pub(crate) hash: String,
    /// Creation.
    pub(crate) created_at: Timestamp,
    /// How far it is.
    pub(crate) life: Life,
    /// The image as resolved, for `imageID`.
    pub(crate) image_ref: String,
    /// The image as named by the runtime.
    pub(crate) image: String,
    /// Its log, an absolute path where the runtime says so.
    pub(crate) log_path: String,
    /// What it left in its termination message file; read once, when it ended.
    pub(crate) last_words: Option<String>,
    /// Where that file is.
    pub(crate) termination_file: Option<String>,
    /// As whom its first process runs, where the runtime says so.
    pub(crate) user: Option<ContainerUser>,
}

/// How far a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Life {
    /// Made, not started.
    Created,
    /// Its process runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// It ended; a container that the runtime lost track of counts as killed.
    Exited {
        /// Start; the epoch when it never started.
        started_at: Timestamp,
        /// End.
        finished_at: Timestamp,
        /// Exit code, 128 + signal for a signal.
        code: i32,
        /// `Completed`, `Error`, `OOMKilled`, …
        reason: String,
        /// The runtime's explanation.
        message: String,
    },
}

impl Life {
    const fn rank(&self) -> u8 {
        match self {
            Self::Created => 0,
            Self::Running { .. } => 1,
            Self::Exited { .. } => 2,
        }
    }
}

/// The exit code of a process that SIGKILL ended, also reported for one we know nothing about.
pub(crate) const KILLED: i32 = 137;

/// A CRI time (nanoseconds since the epoch) as a moment.
pub(crate) fn moment(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Instance {
    /// Reads a CRI container status; `sandbox` helps where our annotation is missing.
    pub(crate) fn of(status: &cri::ContainerStatus, sandbox: &str) -> Option<Self> {
        let meta = status.metadata.clone().unwrap_or_default();
        let name = labels::get(&status.labels, labels::CONTAINER_NAME)?.to_owned();
        let restarts = labels::get(&status.annotations, labels::RESTART_COUNT).and_then(|text| text.parse().ok());
        Some(Self {
            id: status.id.clone(),
            sandbox: labels::get(&status.annotations, labels::SANDBOX).unwrap_or(sandbox).to_owned(),
            name,
            attempt: restarts.unwrap_or(meta.attempt),
            hash: labels::get(&status.annotations, labels::HASH).unwrap_or_default().to_owned(),
            created_at: moment(status.created_at),
            life: life(status),
            image_ref: status.image_ref.clone(),
            image: status.image.clone().unwrap_or_default().image,
            log_path: status.log_path.clone(),
            last_words: None,
            termination_file: labels::get(&status.annotations, labels::TERMINATION_FILE).map(str::to_owned),
            user: status.user.as_ref().and_then(user),
        })
    }

    /// Whether its process runs.
    pub(crate) const fn is_running(&self) -> bool {
        matches!(self.life, Life::Running { .. })
    }
}

fn user(user: &cri::ContainerUser) -> Option<ContainerUser> {
    let linux = user.linux.as_ref()?;
    let groups = Some(linux.supplemental_groups.clone()).filter(|groups| !groups.is_empty());
    let linux = LinuxContainerUser { uid: linux.uid, gid: linux.gid, supplemental_groups: groups };
    Some(ContainerUser { linux: Some(linux) })
}

fn life(status: &cri::ContainerStatus) -> Life {
    let exited = |code, reason: String| Life::Exited {
        started_at: moment(status.started_at),
        finished_at: moment(status.finished_at),
        code,
        reason,
        message: status.message.clone(),
    };
    match status.state() {
        cri::ContainerState::ContainerCreated => Life::Created,
        cri::ContainerState::ContainerRunning => Life::Running { started_at: moment(status.started_at) },
        cri::ContainerState::ContainerExited => {
            let said = Some(status.reason.clone()).filter(|reason| !reason.is_empty());
            let by_code = if status.exit_code == 0 { "Completed" } else { "Error" };
            exited(status.exit_code, said.unwrap_or_else(|| by_code.to_owned()))
        }
        cri::ContainerState::ContainerUnknown => exited(KILLED, "ContainerStatusUnknown".to_owned()),
    }
}

impl Sandbox {
    /// Reads a CRI sandbox status.
    pub(crate) fn of(status: &cri::PodSandboxStatus) -> Self {
        let network = status.network.clone().unwrap_or_default();
        let more = network.additional_ips.into_iter().map(|ip| ip.ip);
        Self {
            id: status.id.clone(),
            attempt: status.metadata.as_ref().map_or(0, |meta| meta.attempt),
            ready: status.state() == cri::PodSandboxState::SandboxReady,
            created_at: moment(status.created_at),
            ips: one_of_each_family(std::iter::once(network.ip).chain(more)),
        }
    }
}

/// The first address of each family: a pod has at most one of each, and its first one is its own (Kubernetes, podIPs).
pub(crate) fn one_of_each_family(all: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for ip in all.into_iter().filter(|ip| !ip.is_empty()) {
        if !kept.iter().any(|known| known.contains(':') == ip.contains(':')) {
            kept.push(ip);
        }
    }
    kept
}

impl Observed {
    /// Takes in one container; an older report than the one we have changes nothing.
    pub(crate) fn absorb(&mut self, instance: Instance) {
        if self.gone.contains(&instance.id) || self.gone.contains(&instance.sandbox) {
            return;
        }
        match self.containers.get_mut(&instance.id) {
            Some(known) if instance.life.rank() < known.life.rank() => {}
            Some(known) => {
                let last_words = known.last_words.take().or(instance.last_words.clone());
                *known = Instance { last_words, ..instance };
            }
            None => drop(self.containers.insert(instance.id.clone(), instance)),
        }
    }

    /// Takes in one sandbox; one that fell never stands again.
    pub(crate) fn absorb_sandbox(&mut self, sandbox: Sandbox) {
        if self.gone.contains(&sandbox.id) {
            return;
        }
        match self.sandboxes.get_mut(&sandbox.id) {
            Some(known) => {
                let ips = if sandbox.ips.is_empty() { std::mem::take(&mut known.ips) } else { sandbox.ips.clone() };
                *known = Sandbox { ready: known.ready && sandbox.ready, ips, ..sandbox };
            }
            None => drop(self.sandboxes.insert(sandbox.id.clone(), sandbox)),
        }
    }

    /// Forgets what the runtime no longer has.
    pub(crate) fn forget(&mut self, id: &str) {
        self.gone.insert(id.to_owned());
        self.containers.remove(id);
        if self.sandboxes.remove(id).is_some() {
            self.containers.retain(|_, instance| instance.sandbox != id);
        }
    }

    /// The newest sandbox, standing or not.
    pub(crate) fn newest_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.values().max_by_key(|sandbox| (sandbox.attempt, sandbox.created_at))
    }

    /// The sandbox that containers run in now.
    pub(crate) fn standing(&self) -> Option<&Sandbox> {
        self.newest_sandbox().filter(|sandbox| sandbox.ready)
    }

    /// The newest instance of the container `name`.
    pub(crate) fn latest(&self, name: &str) -> Option<&Instance> {
        self.instances(name).next()
    }

    /// All instances of the container `name`, newest first.
    pub(crate) fn instances(&self, name: &str) -> impl Iterator<Item = &Instance> {
        let mut found: Vec<_> = self.containers.values().filter(|instance| instance.name == name).collect();
        found.sort_by_key(|instance| std::cmp::Reverse((instance.attempt, instance.created_at)));
        found.into_iter()
    }
}
