//! What a pod needs next: from what is wanted, what the runtime has and what we remember, to steps.
//!
//! ```text
//!  staying   folders + sandbox + image (together) → init containers in order → sidecars → the others
//!  terminal  stop what runs → stop the sandbox → clear folders
//!  leaving   apps → sidecars backwards → sandbox → folders → finish deletion
//! ```
//!
//! Pure: no clock, no call. Each step belongs to a lane, and nothing is planned for a lane that is busy, so planning
//! again after every event is always safe.

mod leave; // of those that go

use super::again;
use super::backoff::RETRIES;
use super::memory::{Lane, Memory};
use super::observed::{Instance, KILLED, Life, Observed, Sandbox};
use super::resize;
use super::resources::Needs;
use super::wanted::{Ending, Role, Wanted, WantedContainer};
use jiff::Timestamp;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make folders, cgroup and volumes.
    Prepare,
    /// Make and start a sandbox.
    RunSandbox {
        /// The how-manieth.
        attempt: u32,
    },
    /// See that the image is there.
    EnsureImage {
        /// For this container.
        container: String,
        /// For the start with this restart count.
        attempt: u32,
    },
    /// Create and start a container.
    Start {
        /// Its name.
        container: String,
        /// Its restart count.
        attempt: u32,
        /// Where.
        sandbox: String,
    },
    /// Run its postStart hook.
    PostStart {
        /// Its name.
        container: String,
        /// The instance.
        id: String,
    },
    /// preStop, SIGTERM, wait, SIGKILL.
    Stop {
        /// Its name.
        container: String,
        /// The instance.
        id: String,
        /// How long it may take, seconds.
        grace_seconds: i64,
        /// Why, for the event.
        why: String,
    },
    /// Remove a dead instance.
    Remove {
        /// Its name.
        container: String,
        /// The instance.
        id: String,
    },
    /// Take a sandbox's network and namespaces down.
    StopSandbox {
        /// CRI id.
        id: String,
    },
    /// Stop a sandbox and remove it with its containers.
    RemoveSandbox {
        /// CRI id.
        id: String,
    },
    /// Remove volumes, folders and the cgroup.
    Clear {
        /// Whether the logs go too.
        logs: Logs,
    },
    /// Tell the API server that the pod may go, with its last status.
    FinishDeletion,
    /// Give the pod's cgroup and running containers the CPU and memory that they are to have now.
    Resize {
        /// What the pod's cgroup allows so far.
        before: Needs,
        /// The containers that need a change, by name and instance.
        containers: Vec<(String, String)>,
    },
}

/// What becomes of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logs {
    /// The pod can still be asked for them.
    Keep,
    /// The pod goes.
    Remove,
}

impl Step {
    /// The lane it occupies.
    pub(crate) fn lane(&self) -> Lane {
        match self {
            Self::Prepare | Self::Clear { .. } | Self::Resize { .. } => Lane::Folder,
            Self::RunSandbox { .. } | Self::StopSandbox { .. } | Self::RemoveSandbox { .. } => Lane::Sandbox,
            Self::EnsureImage { container, .. }
            | Self::Start { container, .. }
            | Self::Stop { container, .. }
            | Self::Remove { container, .. } => Lane::Container(container.clone()),
            Self::PostStart { container, .. } => Lane::Hook(container.clone()),
            Self::FinishDeletion => Lane::Deletion,
        }
    }
}

/// What to do now, and when to think again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To be performed at once, together.
    pub(crate) steps: Vec<Step>,
    /// The next moment at which time alone changes the plan.
    pub(crate) wake_at: Option<Timestamp>,
    /// Nothing is left to do for this pod, ever.
    pub(crate) over: bool,
}

struct Planner<'a> {
    wanted: &'a Wanted,
    seen: &'a Observed,
    memory: &'a Memory,
    now: Timestamp,
    plan: Plan,
}

/// Plans.
pub(crate) fn plan(wanted: &Wanted, seen: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    let mut planner = Planner { wanted, seen, memory, now, plan: Plan::default() };
    match wanted.ending {
        Ending::Deleting { grace_seconds } | Ending::Gone { grace_seconds } => planner.leave(grace_seconds),
        Ending::Terminal => planner.settle(wanted.grace_seconds, "Pod has ended"),
        Ending::Staying => planner.stay(),
    }
    planner.plan
}

/// Whether the pod's containers have all ended for good.
pub(crate) fn is_finished(wanted: &Wanted, seen: &Observed) -> bool {
    let init_failed = wanted.with_role(Role::Init).any(|container| ended_for_good(container, seen) == Some(Good::No));
    init_failed
        || wanted.with_role(Role::App).all(|container| ended_for_good(container, seen).is_some())
            && wanted.with_role(Role::App).next().is_some()
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Good {
    /// With exit code 0.
    Yes,
    /// Otherwise.
    No,
}

/// How a container that does not start again ended; `None` while it runs or will run.
pub(crate) fn ended_for_good(container: &WantedContainer, seen: &Observed) -> Option<Good> {
    let code = match seen.latest(&container.name) {
        Some(Instance { life: Life::Exited { code, .. }, .. }) => *code,
        Some(_) => return None,
        // The API knows an instance, the runtime has lost it: it ran, and must not run twice.
        None if !container.restart.after(KILLED) && container.recorded.is_some() => KILLED,
        None => return None,
    };
    match (container.role, code) {
        (Role::Sidecar, _) => None,
        (Role::Init, 0) => Some(Good::Yes),
        _ if container.restart.after(code) => None,
        (_, 0) => Some(Good::Yes),
        _ => Some(Good::No),
    }
}

impl Planner<'_> {
    fn push(&mut self, step: Step) {
        let lane = step.lane();
        if self.memory.is_free(&lane) && !self.plan.steps.iter().any(|planned| planned.lane() == lane) {
            self.plan.steps.push(step);
        }
    }

    /// True when `at` has come; otherwise the plan wakes then.
    fn due(&mut self, at: Timestamp) -> bool {
        if at <= self.now {
            return true;
        }
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |known| known.min(at)));
        false
    }

    fn stay(&mut self) {
        if let Some(deadline) = self.wanted.deadline
            && self.memory.ended_by.is_none()
        {
            self.due(deadline);
        }
        if self.memory.ended_by.is_some() || is_finished(self.wanted, self.seen) {
            let grace_seconds = self.memory.end_grace_seconds.unwrap_or(self.wanted.grace_seconds);
            return self.settle(grace_seconds, "Pod has ended");
        }
        self.remove_old();
        let refresh = self.memory.refresh_at.is_some_and(|at| self.due(at));
        if (!self.memory.prepared || refresh) && self.due(self.memory.folders_due()) {
            self.push(Step::Prepare);
        }
        self.resize();
        match self.seen.standing().cloned() {
            Some(sandbox) => self.run_containers(Some(&sandbox)),
            None => self.replace_sandbox(),
        }
    }

    /// A new sandbox, while images come; first everything of a fallen one has to stop.
    fn replace_sandbox(&mut self) {
        let orphans: Vec<_> = self.seen.containers.values().filter(|instance| instance.is_running()).cloned().collect();
        for instance in &orphans {
            self.stop(instance, 0, "Pod sandbox changed, it will be killed and re-created.");
        }
        if !orphans.is_empty() {
            return;
        }
        if self.due(self.memory.sandboxes.retry_at(RETRIES)) {
            let attempt = self.seen.newest_sandbox().map_or(0, |sandbox| sandbox.attempt + 1);
            self.push(Step::RunSandbox { attempt });
        }
        self.run_containers(None);
    }

    /// Changes in place what can be; see [`resize`].
    fn resize(&mut self) {
        if !self.memory.prepared {
            return;
        }
        let running: Vec<_> = self.seen.containers.values().filter(|instance| instance.is_running()).collect();
        let changed = running.into_iter().filter_map(|instance| {
            let container = self.wanted.container(&instance.name)?;
            let change = resize::change(container, self.memory.get(&instance.name), instance);
            (change == Some(resize::Change::InPlace)).then(|| (instance.name.clone(), instance.id.clone()))
        });
        let containers: Vec<_> = changed.collect();
        let before = self.memory.cgroup.unwrap_or(self.wanted.needs);
        if (before != self.wanted.needs || !containers.is_empty()) && self.due(self.memory.resizes.retry_at(RETRIES)) {
            self.push(Step::Resize { before, containers });
        }
    }

    /// Walks the containers in starting order. Without a sandbox this fetches the images that the first ones need.
    fn run_containers(&mut self, sandbox: Option<&Sandbox>) {
        let begun = self.apps_have_begun(sandbox);
        let wanted = self.wanted;
        for container in wanted.with_role(Role::Ephemeral).filter(|_| sandbox.is_some()) {
            self.tend_ephemeral(container, sandbox);
        }
        let first = |container: &&WantedContainer| matches!(container.role, Role::Init | Role::Sidecar);
        for container in wanted.containers.iter().filter(first) {
            let passed = self.tend(container, sandbox);
            // A sidecar that falls later comes back by itself; an init container is never asked again.
            if !passed && !begun {
                return;
            }
        }
        for container in wanted.with_role(Role::App) {
            self.tend(container, sandbox);
        }
    }

    fn apps_have_begun(&self, sandbox: Option<&Sandbox>) -> bool {
        sandbox.is_some_and(|sandbox| {
            self.wanted.with_role(Role::App).any(|container| {
                self.seen.latest(&container.name).is_some_and(|instance| instance.sandbox == sandbox.id)
            })
        })
    }

    /// Does what `container` needs; true when the ones after it may start.
    fn tend(&mut self, container: &WantedContainer, sandbox: Option<&Sandbox>) -> bool {
        let Some(instance) = self.seen.latest(&container.name).cloned() else {
            if container.role == Role::Init && self.apps_have_begun(sandbox) {
                return true;
            }
            let attempt = container.recorded.map_or(0, |count| count + 1);
            self.start(container, attempt, sandbox);
            return false;
        };
        match &instance.life {
            // We died between create and start: take the half-made one away and make it again.
            Life::Created => {
                self.push(Step::Remove { container: container.name.clone(), id: instance.id.clone() });
                false
            }
            Life::Running { .. } => self.tend_running(container, &instance),
            Life::Exited { finished_at, code, .. } => {
                self.tend_exited(container, &instance, (*finished_at, *code), sandbox)
            }
        }
    }

    fn tend_ephemeral(&mut self, container: &WantedContainer, sandbox: Option<&Sandbox>) {
        match self.seen.latest(&container.name) {
            None if container.recorded.is_none() => self.start(container, 0, sandbox),
            Some(Instance { life: Life::Created, id, .. }) => {
                let id = id.clone();
                self.push(Step::Remove { container: container.name.clone(), id });
            }
            _ => {}
        }
    }

    fn tend_running(&mut self, container: &WantedContainer, instance: &Instance) -> bool {
        let memory = self.memory.get(&container.name);
        let to_kill = memory.and_then(|memory| memory.to_kill.clone()).filter(|to_kill| to_kill.id == instance.id);
        if let Some(to_kill) = to_kill {
            let grace_seconds = to_kill.grace_seconds.unwrap_or(self.wanted.grace_seconds);
            self.stop(instance, grace_seconds, &to_kill.why);
            return false;
        }
        if instance.hash != container.hash && !instance.hash.is_empty() {
            let why = format!("Container {} definition changed, will be restarted", container.name);
            self.stop(instance, self.wanted.grace_seconds, &why);
            return false;
        }
        if resize::change(container, memory, instance) == Some(resize::Change::Restart) {
            let why = format!("Container {} resize requires restart", container.name);
            self.stop(instance, self.wanted.grace_seconds, &why);
            return false;
        }
        let hooked = memory.is_some_and(|memory| memory.hooked.as_deref() == Some(&instance.id));
        if container.post_start && !hooked {
            self.push(Step::PostStart { container: container.name.clone(), id: instance.id.clone() });
            return false;
        }
        let started = !container.startup_probe || memory.is_some_and(|memory| memory.has_started(&instance.id));
        container.role == Role::Sidecar && started
    }

    fn tend_exited(
        &mut self,
        container: &WantedContainer,
        instance: &Instance,
        (finished_at, code): (Timestamp, i32),
        sandbox: Option<&Sandbox>,
    ) -> bool {
        let fallen_sandbox = sandbox.is_some_and(|sandbox| sandbox.id != instance.sandbox);
        if container.role == Role::Init && code == 0 && !fallen_sandbox {
            return true;
        }
        if container.role == Role::Init && self.apps_have_begun(sandbox) {
            return true;
        }
        let memory = self.memory.get(&container.name);
        if memory.is_some_and(|memory| memory.resized.as_deref() == Some(&instance.id)) {
            // It ended because we wanted it to: neither its policy nor a back-off has a say.
            self.start(container, instance.attempt + 1, sandbox);
            return false;
        }
        let init_again = container.role == Role::Init && fallen_sandbox;
        if ended_for_good(container, self.seen).is_some() && !init_again {
            return false;
        }
        if self.due(again::due(container, memory, self.seen, finished_at)) {
            self.start(container, instance.attempt + 1, sandbox);
        }
        false
    }

    /// Fetches the image, then starts once folders and sandbox stand.
    fn start(&mut self, container: &WantedContainer, attempt: u32, sandbox: Option<&Sandbox>) {
        let memory = self.memory.get(&container.name).cloned().unwrap_or_default();
        if memory.image.as_ref().is_none_or(|(for_attempt, _)| *for_attempt != attempt) {
            if self.due(memory.pull_due()) {
                self.push(Step::EnsureImage { container: container.name.clone(), attempt });
            }
            return;
        }
        // With more than its pod's cgroup allows, a container cannot start.
        let ready = self.memory.prepared && self.memory.cgroup == Some(self.wanted.needs);
        let Some(sandbox) = sandbox.filter(|_| ready) else { return };
        if self.due(memory.start_due()) {
            let (container, sandbox) = (container.name.clone(), sandbox.id.clone());
            self.push(Step::Start { container, attempt, sandbox });
        }
    }

    fn stop(&mut self, instance: &Instance, grace_seconds: i64, why: &str) {
        if self.due(self.memory.endings.retry_at(RETRIES)) {
            let (container, id) = (instance.name.clone(), instance.id.clone());
            self.push(Step::Stop { container, id, grace_seconds, why: why.to_owned() });
        }
    }

    /// Removes fallen sandboxes without containers, and all but the newest two instances of a container.
    fn remove_old(&mut self) {
        let newest = self.seen.newest_sandbox().map(|sandbox| sandbox.id.clone());
        for container in &self.wanted.containers {
            let old = self.seen.instances(&container.name).skip(2).find(|instance| !instance.is_running()).cloned();
            if let Some(old) = old {
                self.push(Step::Remove { container: old.name, id: old.id });
            }
        }
        let empty = self.seen.sandboxes.keys().find(|id| {
            Some(*id) != newest.as_ref() && !self.seen.containers.values().any(|instance| instance.sandbox == **id)
        });
        if let Some(id) = empty.cloned()
            && self.due(self.memory.endings.retry_at(RETRIES))
        {
            self.push(Step::RemoveSandbox { id });
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
