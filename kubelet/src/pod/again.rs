//! When a container that ended starts again, and whether that start makes the next one wait longer.
//!
//! What ends by itself waits from its own end. What the kubelet ends because a probe or a new definition says so is looked at by
//! Kubernetes before it has ended: there the end of the instance *before it* counts, so that one which lived for longer than the delay
//! starts at once, and the first of all neither waits nor counts (kuberuntime, `doBackOff`).

use super::backoff::RESTARTS;
use super::memory::{ContainerMemory, Killer};
use super::observed::{Instance, Life, Observed};
use super::wanted::WantedContainer;
use jiff::Timestamp;

/// When `container`, whose latest instance ended at `finished_at`, may start again.
pub(super) fn due(
    container: &WantedContainer,
    memory: Option<&ContainerMemory>,
    seen: &Observed,
    finished_at: Timestamp,
) -> Timestamp {
    let runs = memory.map(|memory| memory.runs).unwrap_or_default();
    let latest = seen.latest(&container.name);
    if !latest.is_some_and(|latest| is_ended_by_us(container, memory, latest)) {
        return runs.due(RESTARTS, finished_at);
    }
    match end_before(container, seen) {
        Some(before) if runs.due(RESTARTS, before) > finished_at => runs.due(RESTARTS, finished_at),
        _ => finished_at,
    }
}

/// Whether a start of `container` after the end of its latest instance makes the next one wait longer.
pub(super) fn counts(container: &WantedContainer, memory: Option<&ContainerMemory>, seen: &Observed) -> bool {
    let latest = seen.latest(&container.name);
    let ended_by_us = latest.is_some_and(|latest| is_ended_by_us(container, memory, latest));
    !ended_by_us || end_before(container, seen).is_some()
}

fn is_ended_by_us(container: &WantedContainer, memory: Option<&ContainerMemory>, instance: &Instance) -> bool {
    let to_kill = memory.and_then(|memory| memory.to_kill.as_ref());
    let by_probe = to_kill.is_some_and(|to_kill| to_kill.id == instance.id && to_kill.by == Killer::Probe);
    by_probe || (instance.hash != container.hash && !instance.hash.is_empty())
}

/// When the instance before the latest ended, if the runtime still has it.
fn end_before(container: &WantedContainer, seen: &Observed) -> Option<Timestamp> {
    match seen.instances(&container.name).nth(1)?.life {
        Life::Exited { finished_at, .. } => Some(finished_at),
        Life::Created | Life::Running { .. } => None,
    }
}
