//! What each pod takes of what the node is short of.

use super::plan::{Candidate, Use};
use super::signals::Signal;
use crate::agent::Agent;
use crate::board::Posted;
use crate::pod::admission::is_over;
use crate::{labels, rotation, volume};
use k8s_openapi::api::core::v1::Pod;
use skiff_proto::cri::v1 as cri;
use skiff_proto::quantity::Quantity;
use std::sync::Arc;

/// Removes logs that were turned and are kept for people only.
pub(super) fn discard_old_logs(agent: &Agent) {
    for Posted { pod, seen, .. } in agent.board.all() {
        for instance in seen.containers.values() {
            let log = agent.log(&pod, instance);
            if let Err(error) = rotation::discard_old(&log) {
                tracing::warn!(log = %log.display(), error = skiff_client::sentence(&error), "old logs not removed");
            }
        }
    }
}

/// The pods that could go, and what they take.
pub(super) async fn candidates(agent: &Arc<Agent>, signal: Signal) -> Vec<Candidate> {
    let stats = agent.cri.container_stats().await.unwrap_or_else(|error| {
        tracing::warn!(error = error.message(), "the runtime does not say what containers take");
        Vec::new()
    });
    let agent = Arc::clone(agent);
    let found = tokio::task::spawn_blocking(move || {
        let staying = agent.board.all().into_iter().filter(|posted| is_staying(&posted.pod));
        staying.map(|posted| candidate(&agent, &posted, &stats, signal)).collect()
    });
    found.await.unwrap_or_default()
}

/// Neither over nor about to be.
fn is_staying(pod: &Pod) -> bool {
    !is_over(pod)
}

fn candidate(agent: &Agent, posted: &Posted, stats: &[cri::ContainerStats], signal: Signal) -> Candidate {
    let Posted { pod, seen, .. } = posted;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let used = |container: &str| {
        let attributes = |stats: &&cri::ContainerStats| {
            let of = stats.attributes.as_ref().map(|of| &of.labels);
            let is = |key, value: &str| of.and_then(|of| labels::get(of, key)) == Some(value);
            is(labels::POD_UID, &uid) && is(labels::CONTAINER_NAME, container)
        };
        let taken: u64 = stats.iter().filter(attributes).map(|stats| taken(stats, signal)).sum();
        let logs = seen.containers.values().filter(|instance| instance.name == container).map(|instance| {
            let folder = agent.log(pod, instance).parent().map(std::path::Path::to_owned);
            folder
                .filter(|_| matches!(signal, Signal::NodeFs))
                .and_then(|folder| volume::usage::bytes(&folder).ok())
                .unwrap_or(0)
        });
        i64::try_from(taken + logs.max().unwrap_or(0)).unwrap_or(i64::MAX)
    };
    let containers = spec.containers.iter().map(|container| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let requested = requests.and_then(|requests| requests.get(signal.resource()));
        let requested = requested.and_then(|amount| Quantity::parse(&amount.0).ok()).map_or(0, Quantity::units);
        Use { container: container.name.clone(), used: used(&container.name), requested }
    });
    let volumes = spec.volumes.iter().flatten().filter(|volume| {
        let source = volume.empty_dir.as_ref();
        source.is_some_and(|source| source.medium.as_deref() != Some("Memory")) && matches!(signal, Signal::NodeFs)
    });
    let dir = agent.dir(pod);
    let volumes: u64 = volumes.map(|volume| volume::usage::bytes(&dir.volume(&volume.name)).unwrap_or(0)).sum();
    Candidate {
        priority: spec.priority.unwrap_or(0),
        containers: containers.collect(),
        volumes: i64::try_from(volumes).unwrap_or(i64::MAX),
        uid,
    }
}

/// What one container takes, as the runtime says.
fn taken(stats: &cri::ContainerStats, signal: Signal) -> u64 {
    let value = |value: &Option<cri::UInt64Value>| value.as_ref().map_or(0, |value| value.value);
    let layer = stats.writable_layer.as_ref();
    match signal {
        Signal::Memory => stats.memory.as_ref().map_or(0, |memory| value(&memory.working_set_bytes)),
        Signal::NodeFs | Signal::ImageFs => layer.map_or(0, |layer| value(&layer.used_bytes)),
        Signal::NodeFsInodes | Signal::ImageFsInodes => layer.map_or(0, |layer| value(&layer.inodes_used)),
        // Which pod has how many is not told.
        Signal::Pids => 0,
    }
}
