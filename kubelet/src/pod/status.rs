//! What to report about a pod: a pure function from spec, observation and memory to `status`.
//!
//! What other writers put there (conditions of readiness gates, the scheduler's `PodScheduled`) is kept.

use super::again;
use super::backoff::RESTARTS;
use super::conditions::{self, Facts};
use super::ephemeral;
use super::memory::{ContainerMemory, Memory};
use super::observed::{Instance, KILLED, Life, Observed, one_of_each_family};
use super::plan::{Good, ended_for_good, is_finished};
use super::resources::qos_class;
use super::wanted::{Ending, Role, Wanted, WantedContainer};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodIP, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What the status says about the node.
#[derive(Debug, Clone)]
pub(crate) struct NodeFacts {
    /// `hostIP`.
    pub(crate) host_ip: String,
    /// The scheme of container ids: the runtime's name from CRI Version.
    pub(crate) runtime_name: String,
}

/// What a status is computed from.
pub(crate) struct Inputs<'a> {
    /// The API object, whose status is the last one reported.
    pub(crate) pod: &'a Pod,
    /// The same, read.
    pub(crate) wanted: &'a Wanted,
    /// What the runtime has.
    pub(crate) seen: &'a Observed,
    /// What we remember.
    pub(crate) memory: &'a Memory,
    /// The node.
    pub(crate) node: &'a NodeFacts,
    /// When we first saw the pod.
    pub(crate) first_seen: Timestamp,
    /// The time.
    pub(crate) now: Timestamp,
}

/// Computes the status.
pub(crate) fn status(inputs: &Inputs<'_>) -> PodStatus {
    let old = inputs.pod.status.clone().unwrap_or_default();
    let phase = phase(inputs);
    let of = |roles: &[Role], old: Option<&Vec<ContainerStatus>>| -> Vec<ContainerStatus> {
        let chosen = inputs.wanted.containers.iter().filter(|container| roles.contains(&container.role));
        chosen.map(|container| container_status(inputs, container, find(old, &container.name))).collect()
    };
    let apps = of(&[Role::App], old.container_statuses.as_ref());
    let inits = of(&[Role::Init, Role::Sidecar], old.init_container_statuses.as_ref());
    let added = of(&[Role::Ephemeral], old.ephemeral_container_statuses.as_ref());
    let facts = Facts {
        phase,
        has_sandbox: inputs.seen.standing().is_some(),
        has_ip: has_network(inputs),
        containers: &apps,
        inits: &inits,
        wanted: inputs.wanted,
        memory: inputs.memory,
        generation: inputs.pod.metadata.generation,
        now: inputs.now,
    };
    let gates = inputs.pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let gates: Vec<_> = gates.map(|gate| gate.condition_type.clone()).collect();
    let conditions = conditions::conditions(&facts, &old.conditions.clone().unwrap_or_default(), &gates);
    let ips = pod_ips(inputs, &old);
    let (reason, message) = explanation(inputs, &old);
    let of_pod = inputs.pod.spec.as_ref().and_then(|spec| spec.resources.clone());
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        container_statuses: Some(apps).filter(|list| !list.is_empty()),
        ephemeral_container_statuses: Some(added).filter(|list| !list.is_empty()),
        init_container_statuses: Some(inits).filter(|list| !list.is_empty()),
        host_ip: Some(inputs.node.host_ip.clone()),
        host_ips: Some(vec![HostIP { ip: inputs.node.host_ip.clone() }]),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>()).filter(|list| !list.is_empty()),
        start_time: old.start_time.clone().or(Some(Time(seconds(inputs.first_seen)))),
        qos_class: inputs.pod.spec.as_ref().map(|spec| qos_class(spec).name().to_owned()),
        observed_generation: inputs.pod.metadata.generation,
        resources: of_pod.clone(),
        allocated_resources: of_pod.and_then(|resources| resources.requests),
        reason,
        message,
        ..old
    }
}

/// API times have whole seconds; anything finer would differ from what comes back and be written for ever.
pub(crate) fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn find<'a>(statuses: Option<&'a Vec<ContainerStatus>>, name: &str) -> Option<&'a ContainerStatus> {
    statuses?.iter().find(|status| status.name == name)
}

fn uses_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

fn has_network(inputs: &Inputs<'_>) -> bool {
    let ip = inputs.seen.standing().is_some_and(|sandbox| !sandbox.ips.is_empty());
    ip || uses_host_network(inputs.pod)
}

fn pod_ips(inputs: &Inputs<'_>, old: &PodStatus) -> Vec<String> {
    let Some(sandbox) = inputs.seen.newest_sandbox() else {
        let others = old.pod_ips.iter().flatten().map(|ip| ip.ip.clone());
        return one_of_each_family(old.pod_ip.clone().into_iter().chain(others));
    };
    if uses_host_network(inputs.pod) {
        return vec![inputs.node.host_ip.clone()];
    }
    sandbox.ips.clone()
}

/// The pod's phase (Kubernetes, Pod Lifecycle, "Pod phase").
fn phase(inputs: &Inputs<'_>) -> &'static str {
    let (wanted, seen) = (inputs.wanted, inputs.seen);
    match inputs.pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    let still = !seen.containers.values().any(Instance::is_running);
    if inputs.memory.ended_by.is_some() {
        return if still { "Failed" } else { "Running" };
    }
    let leaving = !matches!(wanted.ending, Ending::Staying);
    if still && is_finished(wanted, seen) {
        return finished_phase(wanted, seen);
    }
    let began = wanted.with_role(Role::App).all(|container| {
        seen.latest(&container.name).is_some_and(|instance| instance.life != Life::Created)
            || (container.recorded.is_some() && container.restart.after(KILLED))
    });
    match (began, leaving && still) {
        (true, true) => left_phase(wanted, seen),
        (true, false) => "Running",
        (false, _) => "Pending",
    }
}

fn finished_phase(wanted: &Wanted, seen: &Observed) -> &'static str {
    let finite = wanted.with_role(Role::Init).chain(wanted.with_role(Role::App));
    let bad = finite.filter_map(|container| ended_for_good(container, seen)).any(|end| end == Good::No);
    if bad { "Failed" } else { "Succeeded" }
}

/// A pod that was told to go ends as its processes did, whatever its restart policy.
fn left_phase(wanted: &Wanted, seen: &Observed) -> &'static str {
    let ended_well = wanted.with_role(Role::App).all(|container| {
        matches!(seen.latest(&container.name), Some(Instance { life: Life::Exited { code: 0, .. }, .. }))
    });
    if ended_well { "Succeeded" } else { "Failed" }
}

fn explanation(inputs: &Inputs<'_>, old: &PodStatus) -> (Option<String>, Option<String>) {
    match &inputs.memory.ended_by {
        Some(doom) => (Some(doom.reason.clone()), Some(doom.message.clone())),
        None => (old.reason.clone(), old.message.clone()),
    }
}

fn container_status(inputs: &Inputs<'_>, wanted: &WantedContainer, old: Option<&ContainerStatus>) -> ContainerStatus {
    let latest = inputs.seen.latest(&wanted.name);
    let memory = inputs.memory.get(&wanted.name);
    let state = state(inputs, wanted, latest, memory, old);
    let running = latest.filter(|instance| instance.is_running());
    let started = running.is_some_and(|instance| has_started(wanted, memory, &instance.id));
    let ready = match wanted.role {
        Role::Init => state.terminated.as_ref().is_some_and(|end| end.exit_code == 0),
        Role::Ephemeral => false,
        Role::Sidecar | Role::App => running.is_some_and(|instance| is_ready(wanted, memory, &instance.id)),
    };
    let spec = ephemeral::find(inputs.pod, &wanted.name);
    let spec = spec.as_deref();
    let spec_image = spec.and_then(|container| container.image.clone()).unwrap_or_default();
    let shared = wanted.role != Role::Ephemeral;
    let scheme = &inputs.node.runtime_name;
    let known = |read: fn(&ContainerStatus) -> Option<String>| old.and_then(read);
    ContainerStatus {
        name: wanted.name.clone(),
        container_id: latest
            .map(|instance| format!("{scheme}://{}", instance.id))
            .or_else(|| known(|old| old.container_id.clone())),
        image: latest.map(|instance| instance.image.clone()).filter(|image| !image.is_empty()).unwrap_or(spec_image),
        image_id: latest
            .map(|instance| instance.image_ref.clone())
            .or_else(|| known(|old| Some(old.image_id.clone())))
            .unwrap_or_default(),
        last_state: Some(last_state(inputs, wanted, latest, &state, old)),
        ready,
        restart_count: latest.map_or_else(
            || wanted.recorded.map_or(0, |count| i32::try_from(count).unwrap_or(i32::MAX)),
            |instance| i32::try_from(instance.attempt).unwrap_or(i32::MAX),
        ),
        started: shared.then_some(started),
        state: Some(state),
        allocated_resources: spec.filter(|_| shared).and_then(|spec| spec.resources.as_ref()?.requests.clone()),
        resources: spec.filter(|_| shared).map(|spec| resources(spec, memory, running)),
        volume_mounts: spec.and_then(super::mount_status::of),
        user: running.and_then(|instance| instance.user.clone()),
        ..Default::default()
    }
}

/// Whether `instance` counts as started: hook run, startup probe passed.
pub(crate) fn has_started(wanted: &WantedContainer, memory: Option<&ContainerMemory>, instance: &str) -> bool {
    let hooked = !wanted.post_start || memory.is_some_and(|memory| memory.hooked.as_deref() == Some(instance));
    hooked && (!wanted.startup_probe || memory.is_some_and(|memory| memory.has_started(instance)))
}

fn is_ready(wanted: &WantedContainer, memory: Option<&ContainerMemory>, instance: &str) -> bool {
    let probed = !wanted.readiness_probe || memory.is_some_and(|memory| memory.ready.as_deref() == Some(instance));
    has_started(wanted, memory, instance) && probed
}

/// What a running container has, and what another one is to have.
fn resources(spec: &Container, memory: Option<&ContainerMemory>, running: Option<&Instance>) -> ResourceRequirements {
    let applied = memory.and_then(|memory| memory.applied.as_ref());
    let now = applied.filter(|(id, _)| running.is_some_and(|running| running.id == *id));
    now.map_or_else(|| spec.resources.clone().unwrap_or_default(), |(_, resources)| resources.clone())
}

fn state(
    inputs: &Inputs<'_>,
    wanted: &WantedContainer,
    latest: Option<&Instance>,
    memory: Option<&ContainerMemory>,
    old: Option<&ContainerStatus>,
) -> ContainerState {
    match latest.map(|instance| (&instance.life, instance)) {
        Some((Life::Running { started_at }, _)) => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(seconds(*started_at))) }),
            ..Default::default()
        },
        Some((Life::Exited { .. }, instance)) if stays_ended(inputs, wanted) => terminated(inputs, instance),
        Some((Life::Exited { finished_at, .. }, _)) => after_exit(inputs, wanted, memory, *finished_at),
        Some((Life::Created, _)) => waiting(inputs, memory),
        None if lost(inputs, wanted, old) => lost_state(old),
        None => waiting(inputs, memory),
    }
}

fn stays_ended(inputs: &Inputs<'_>, wanted: &WantedContainer) -> bool {
    let good_init = wanted.role == Role::Init
        && matches!(
            inputs.seen.latest(&wanted.name).map(|instance| &instance.life),
            Some(Life::Exited { code: 0, .. })
        );
    good_init
        || inputs.wanted.ending != Ending::Staying
        || inputs.memory.ended_by.is_some()
        || is_finished(inputs.wanted, inputs.seen)
        || ended_for_good(wanted, inputs.seen).is_some()
}

/// An instance the API knows and the runtime has lost, in a pod that does not start it again.
fn lost(inputs: &Inputs<'_>, wanted: &WantedContainer, old: Option<&ContainerStatus>) -> bool {
    old.is_some()
        && wanted.recorded.is_some()
        && (!wanted.restart.after(KILLED) || inputs.wanted.ending != Ending::Staying)
}

fn lost_state(old: Option<&ContainerStatus>) -> ContainerState {
    let known = old.and_then(|old| old.state.clone()).filter(|state| state.terminated.is_some());
    known.unwrap_or_else(|| ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: KILLED,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            container_id: old.and_then(|old| old.container_id.clone()),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn terminated(inputs: &Inputs<'_>, instance: &Instance) -> ContainerState {
    let Life::Exited { started_at, finished_at, code, reason, message } = &instance.life else {
        return ContainerState::default();
    };
    let said = instance.last_words.clone().filter(|words| !words.is_empty());
    let end = ContainerStateTerminated {
        container_id: Some(format!("{}://{}", inputs.node.runtime_name, instance.id)),
        exit_code: *code,
        reason: Some(reason.clone()),
        message: said.or_else(|| Some(message.clone()).filter(|message| !message.is_empty())),
        started_at: Some(Time(seconds(*started_at))),
        finished_at: Some(Time(seconds(*finished_at))),
        signal: None,
    };
    ContainerState { terminated: Some(end), ..Default::default() }
}

fn last_state(
    inputs: &Inputs<'_>,
    wanted: &WantedContainer,
    latest: Option<&Instance>,
    state: &ContainerState,
    old: Option<&ContainerStatus>,
) -> ContainerState {
    let skip = usize::from(state.terminated.is_some() || latest.is_some_and(|latest| latest.is_running()));
    let before = inputs.seen.instances(&wanted.name).skip(skip);
    let mut dead = before.filter(|instance| matches!(instance.life, Life::Exited { .. }));
    match dead.next() {
        Some(instance) => terminated(inputs, instance),
        // Instances that were removed long ago are known from the last report only.
        None => old.and_then(|old| old.last_state.clone()).unwrap_or_default(),
    }
}

fn waiting_for(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..Default::default() }
}

fn waiting(inputs: &Inputs<'_>, memory: Option<&ContainerMemory>) -> ContainerState {
    let failure = memory.and_then(|memory| memory.image_failure.as_ref().or(memory.start_failure.as_ref()));
    if let Some(failure) = failure {
        return waiting_for(&failure.reason, Some(failure.message.clone()));
    }
    let is_init = |container: &WantedContainer| matches!(container.role, Role::Init | Role::Sidecar);
    let has_init = inputs.wanted.containers.iter().any(is_init);
    waiting_for(if has_init { "PodInitializing" } else { "ContainerCreating" }, None)
}

fn after_exit(
    inputs: &Inputs<'_>,
    wanted: &WantedContainer,
    memory: Option<&ContainerMemory>,
    finished_at: Timestamp,
) -> ContainerState {
    let runs = memory.map(|memory| memory.runs).unwrap_or_default();
    let delay = runs.delay_seconds(RESTARTS, finished_at);
    let failed = memory.is_some_and(|memory| memory.image_failure.is_some() || memory.start_failure.is_some());
    if failed {
        return waiting(inputs, memory);
    }
    if inputs.now < again::due(wanted, memory, inputs.seen, finished_at) {
        let pod = &inputs.pod.metadata;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let message = format!(
            "back-off {} restarting failed container={} pod={}_{}({})",
            minutes(delay),
            wanted.name,
            text(&pod.name),
            text(&pod.namespace),
            text(&pod.uid)
        );
        return waiting_for("CrashLoopBackOff", Some(message));
    }
    match inputs.seen.latest(&wanted.name) {
        Some(instance) => terminated(inputs, instance),
        None => waiting(inputs, memory),
    }
}

/// Seconds as Go prints a duration, which people grep for: `40s`, `1m20s`, `5m0s`.
fn minutes(seconds: i64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, rest) => format!("{rest}s"),
        (minutes, rest) => format!("{minutes}m{rest}s"),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
