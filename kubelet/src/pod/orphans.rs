//! Takes away what the runtime and the disk still have of pods that the API no longer knows.

use super::act::blocking;
use super::cgroup::PodCgroup;
use super::memory::Failure;
use super::observed::Observed;
use super::resources::Qos;
use crate::agent::Agent;
use crate::volume::{self, PodDir};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How long processes of a pod nobody wants may take to end, seconds.
const GRACE_SECONDS: i64 = 2;
/// How often and how long we try before we leave it to the next start.
const TRIES: u32 = 5;

/// Stops and removes what is left of the pod `uid`, then its folders and cgroup.
pub(super) async fn clean_up(agent: Arc<Agent>, uid: String, left: Observed) {
    for attempt in 1..=TRIES {
        match try_clean_up(&agent, &uid, &left).await {
            Ok(()) => return tracing::info!(uid, "removed the remains of a pod that is gone"),
            Err(error) => tracing::warn!(uid, attempt, error, "remains of a pod that is gone"),
        }
        tokio::time::sleep(Duration::from_secs(1) * attempt).await;
    }
}

async fn try_clean_up(agent: &Arc<Agent>, uid: &str, left: &Observed) -> Result<(), String> {
    let blame =
        |operation: &str, id: &str, status: tonic::Status| format!("{operation} {id}: {}", crate::cri::said(&status));
    let running = left.containers.values().filter(|instance| instance.is_running());
    let stops = running.map(|instance| async {
        let stopped = agent.cri.stop_container(&instance.id, GRACE_SECONDS).await;
        stopped.map_err(|status| blame("StopContainer", &instance.id, status))
    });
    futures::future::try_join_all(stops).await?;
    for id in left.sandboxes.keys() {
        agent.cri.stop_sandbox(id).await.map_err(|status| blame("StopPodSandbox", id, status))?;
        agent.cri.remove_sandbox(id).await.map_err(|status| blame("RemovePodSandbox", id, status))?;
    }
    for instance in left.containers.values().filter(|instance| !left.sandboxes.contains_key(&instance.sandbox)) {
        let removed = agent.cri.remove_container(&instance.id).await;
        removed.map_err(|status| blame("RemoveContainer", &instance.id, status))?;
    }
    agent.counted.release(uid);
    volume::csi::unpublish_all(agent, &PodDir::of(&agent.root_dir, uid)).await?;
    let (agent, uid) = (Arc::clone(agent), uid.to_owned());
    let cleared = blocking(move || {
        let failed = |message: String| Failure::new("FailedCleanup", message);
        volume::clear(&PodDir::of(&agent.root_dir, &uid)).map_err(|error| failed(error.to_string()))?;
        for class in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            PodCgroup::named(&agent.cgroup_root, class, &uid).remove().map_err(failed)?;
        }
        remove_logs(&agent, &uid).map_err(|error| failed(error.to_string()))
    });
    cleared.await.map_err(|failure| failure.message)
}

fn remove_logs(agent: &Agent, uid: &str) -> std::io::Result<()> {
    let Ok(entries) = std::fs::read_dir(&agent.log_root) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&format!("_{uid}"))) {
            std::fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// The uids of folders below the pods' root and of log folders.
pub(super) fn folders(agent: &Agent) -> HashSet<String> {
    let names = |root: &std::path::Path| {
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let of_logs =
        names(&agent.log_root).into_iter().filter_map(|name| name.rsplit_once('_').map(|(_, uid)| uid.to_owned()));
    names(&agent.root_dir).into_iter().chain(of_logs).filter(|uid| is_uid(uid)).collect()
}

/// Only folders that are named like a uid are ours to remove.
fn is_uid(name: &str) -> bool {
    name.len() == 36 && uuid::Uuid::parse_str(name).is_ok()
}
