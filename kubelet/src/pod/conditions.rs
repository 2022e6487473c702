//! The conditions of a pod's status.
//!
//! Seven are ours; every other condition is kept as it is. A condition's transition time moves only when its status does.

use super::memory::{Failure, Memory};
use super::status::seconds;
use super::wanted::{Role, Wanted};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What the conditions follow from.
pub(super) struct Facts<'a> {
    pub(super) phase: &'static str,
    pub(super) has_sandbox: bool,
    pub(super) has_ip: bool,
    pub(super) containers: &'a [ContainerStatus],
    pub(super) inits: &'a [ContainerStatus],
    pub(super) wanted: &'a Wanted,
    pub(super) memory: &'a Memory,
    pub(super) generation: Option<i64>,
    pub(super) now: Timestamp,
}

/// The conditions that are ours to write.
pub(super) const OURS: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];

/// One verdict: the status, and if it is no, why.
struct Verdict {
    kind: &'static str,
    reason: Option<(&'static str, String)>,
}

const YES: Option<(&str, String)> = None;

/// The new list of conditions.
pub(super) fn conditions(facts: &Facts<'_>, old: &[PodCondition], gates: &[String]) -> Vec<PodCondition> {
    let containers_ready = containers_ready(facts);
    let ready = ready(containers_ready.clone(), old, gates);
    let ours = [
        Verdict { kind: "PodReadyToStartContainers", reason: network(facts) },
        Verdict { kind: "Initialized", reason: initialized(facts) },
        Verdict { kind: "Ready", reason: ready },
        Verdict { kind: "ContainersReady", reason: containers_ready },
        Verdict { kind: "PodScheduled", reason: YES },
    ];
    let foreign = old.iter().filter(|condition| !OURS.contains(&condition.type_.as_str()));
    let resizing = resizing(facts.memory).into_iter().map(|(kind, why)| render_true(facts, kind, why, old));
    ours.iter().map(|verdict| render(facts, verdict, old)).chain(resizing).chain(foreign.cloned()).collect()
}

/// Conditions that are there only as long as they are true (KEP-1287), each with what there is to say.
fn resizing(memory: &Memory) -> Vec<(&'static str, Option<&Failure>)> {
    let pending = memory.resize_pending.as_ref().map(|failure| ("PodResizePending", Some(failure)));
    let under_way = memory.resizing.as_ref().map(|failure| ("PodResizeInProgress", failure.as_ref()));
    pending.into_iter().chain(under_way).collect()
}

fn render_true(facts: &Facts<'_>, kind: &str, why: Option<&Failure>, old: &[PodCondition]) -> PodCondition {
    let before = old.iter().find(|condition| condition.type_ == kind);
    PodCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: why.map(|failure| failure.reason.clone()),
        message: why.map(|failure| failure.message.clone()),
        last_transition_time: before
            .and_then(|before| before.last_transition_time.clone())
            .or(Some(Time(seconds(facts.now)))),
        last_probe_time: None,
        observed_generation: facts.generation,
    }
}

fn render(facts: &Facts<'_>, verdict: &Verdict, old: &[PodCondition]) -> PodCondition {
    let before = old.iter().find(|condition| condition.type_ == verdict.kind);
    let status = if verdict.reason.is_none() { "True" } else { "False" };
    let unchanged =
        before.filter(|before| before.status == status).and_then(|before| before.last_transition_time.clone());
    PodCondition {
        type_: verdict.kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.as_ref().map(|(reason, _)| (*reason).to_owned()).filter(|reason| !reason.is_empty()),
        message: verdict.reason.as_ref().map(|(_, message)| message.clone()).filter(|message| !message.is_empty()),
        last_transition_time: unchanged.or(Some(Time(seconds(facts.now)))),
        last_probe_time: None,
        observed_generation: facts.generation,
    }
}

fn network(facts: &Facts<'_>) -> Option<(&'static str, String)> {
    if facts.has_sandbox && facts.has_ip { YES } else { Some(("", String::new())) }
}

fn initialized(facts: &Facts<'_>) -> Option<(&'static str, String)> {
    if facts.phase == "Succeeded" {
        return YES;
    }
    let begun = facts.containers.iter().any(|status| status.container_id.is_some());
    let done = |status: &&ContainerStatus| {
        let role = facts.wanted.container(&status.name).map(|container| container.role);
        match role {
            Some(Role::Sidecar) => status.started == Some(true),
            _ => status.ready,
        }
    };
    let open: Vec<_> = facts.inits.iter().filter(|status| !done(status)).map(|status| status.name.clone()).collect();
    if begun || open.is_empty() {
        return YES;
    }
    Some(("ContainersNotInitialized", format!("containers with incomplete status: [{}]", open.join(" "))))
}

fn containers_ready(facts: &Facts<'_>) -> Option<(&'static str, String)> {
    match facts.phase {
        "Succeeded" => return Some(("PodCompleted", String::new())),
        "Failed" => return Some(("PodFailed", String::new())),
        _ => {}
    }
    let sidecars = facts
        .inits
        .iter()
        .filter(|status| facts.wanted.container(&status.name).is_some_and(|container| container.role == Role::Sidecar));
    let lasting = sidecars.chain(facts.containers);
    let unready: Vec<_> = lasting.filter(|status| !status.ready).map(|status| status.name.clone()).collect();
    if unready.is_empty() && !facts.containers.is_empty() {
        return YES;
    }
    Some(("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))))
}

fn ready(
    containers: Option<(&'static str, String)>,
    old: &[PodCondition],
    gates: &[String],
) -> Option<(&'static str, String)> {
    if containers.is_some() {
        return containers;
    }
    let open = |gate: &&String| !old.iter().any(|known| known.type_ == **gate && known.status == "True");
    let closed: Vec<_> = gates
        .iter()
        .filter(open)
        .map(|gate| format!("corresponding condition of pod readiness gate \"{gate}\" is not True"))
        .collect();
    if closed.is_empty() { YES } else { Some(("ReadinessGatesNotReady", closed.join(", "))) }
}
