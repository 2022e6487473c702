//! Watches that a pod keeps to its limits of local storage, and says so when it does not: volumes to their `sizeLimit`, containers and
//! the pod to `ephemeral-storage`.
//!
//! A disk has no limit per folder, so the folder is measured from time to time (Kubernetes, "Local ephemeral storage").
//! A volume in memory has its limit from the kernel, as the size of its tmpfs. What a container takes is its writable layer, which the
//! runtime measures, and its logs.

use super::memory::Failure;
use super::worker::{Event, Inbox};
use crate::agent::Agent;
use crate::volume::{self, PodDir};
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Between two measurements: the kubelet's own period for eviction.
const PERIOD: Duration = Duration::from_secs(10);
/// How long the processes of an evicted pod may take.
pub(super) const GRACE_SECONDS: i64 = 1;

/// What one volume may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    volume: String,
    bytes: u64,
    /// As the API has it, for people.
    text: String,
}

/// What a pod may take of local storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Its volumes.
    volumes: Vec<Limit>,
    /// Its containers, by name.
    containers: BTreeMap<String, (u64, String)>,
    /// All of them together with their volumes on disk; there is such a limit if any of them has one.
    total: Option<(u64, String)>,
    /// The volumes that count there.
    on_disk: Vec<String>,
}

impl Limits {
    /// Those of `spec`.
    pub(super) fn of(spec: &PodSpec) -> Self {
        let named = spec.containers.iter().filter_map(|container| {
            let limit = container.resources.as_ref()?.limits.as_ref()?.get("ephemeral-storage")?;
            Some((container.name.clone(), (bytes(limit)?, limit.0.clone())))
        });
        let containers: BTreeMap<_, _> = named.collect();
        let sum: u64 = containers.values().map(|(bytes, _)| *bytes).sum();
        let text = match containers.values().next() {
            Some((_, text)) if containers.len() == 1 => text.clone(),
            _ => sum.to_string(),
        };
        let is_on_disk = |source: &EmptyDirVolumeSource| source.medium.as_deref().unwrap_or_default().is_empty();
        let on_disk = spec.volumes.iter().flatten().filter(|volume| volume.empty_dir.as_ref().is_some_and(is_on_disk));
        Self {
            volumes: limits(spec),
            total: (sum > 0).then_some((sum, text)),
            on_disk: on_disk.map(|volume| volume.name.clone()).collect(),
            containers,
        }
    }

    /// Whether there is nothing to watch.
    pub(super) fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.containers.is_empty()
    }

    /// Which limit is exceeded by containers that take `used`, by name, and volumes on disk that take `volumes` in all.
    fn exceeded_by(&self, used: &BTreeMap<String, u64>, volumes: u64) -> Option<Failure> {
        // The space at the end is Kubernetes' own; tools compare the text.
        let total: u64 = used.values().sum::<u64>().saturating_add(volumes);
        if let Some((_, text)) = self.total.as_ref().filter(|(limit, _)| total > *limit) {
            let message = format!("Pod ephemeral local storage usage exceeds the total limit of containers {text}. ");
            return Some(Failure::new("Evicted", message));
        }
        let (name, (_, text)) =
            self.containers.iter().find(|(name, (limit, _))| used.get(*name).is_some_and(|used| used > limit))?;
        let message = format!("Container {name} exceeded its local ephemeral storage limit \"{text}\". ");
        Some(Failure::new("Evicted", message))
    }
}

/// A limit of 0 is none, as in Kubernetes.
fn bytes(limit: &Quantity) -> Option<u64> {
    super::resources::units(limit).and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0)
}

/// The volumes of `spec` that have a limit which we have to watch.
fn limits(spec: &PodSpec) -> Vec<Limit> {
    let volumes = spec.volumes.iter().flatten();
    let limited = volumes.filter_map(|volume| {
        let source = volume.empty_dir.as_ref().filter(|source| source.medium.as_deref() != Some("Memory"))?;
        let limit = source.size_limit.as_ref()?;
        Some(Limit { volume: volume.name.clone(), bytes: bytes(limit)?, text: limit.0.clone() })
    });
    limited.collect()
}

/// Measures until something has grown too large, and then tells the worker.
pub(super) async fn follow(agent: Arc<Agent>, pod: Arc<Pod>, limits: Limits, inbox: Inbox) {
    let limits = Arc::new(limits);
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let found = measure(&agent, &pod, &limits).await;
        match found {
            Ok(None) => {}
            Ok(Some(failure)) => {
                // The worker outlives its tasks; when it is gone nobody wants to know.
                let _closed = inbox.send(Event::Evicted(failure));
                return;
            }
            Err(failure) => tracing::warn!(%failure, "local storage not measured"),
        }
    }
}

async fn measure(agent: &Arc<Agent>, pod: &Arc<Pod>, limits: &Arc<Limits>) -> Result<Option<Failure>, Failure> {
    let (dir, of_volumes) = (agent.dir(pod), Arc::clone(limits));
    let found = super::act::blocking(move || Ok(of_volumes.volumes.iter().find_map(|limit| exceeded(&dir, limit))));
    if let Some(failure) = found.await? {
        return Ok(Some(failure));
    }
    if limits.total.is_none() {
        return Ok(None);
    }
    let stats = agent.cri.container_stats_of(pod.metadata.uid.as_deref().unwrap_or_default()).await;
    let stats = stats.map_err(|status| super::act::failed("Unmeasured", "ListContainerStats", &status))?;
    let layers = stats.into_iter().filter_map(|stats| {
        let name = stats.attributes?.metadata?.name;
        Some((name, stats.writable_layer?.used_bytes?.value))
    });
    let mut used: BTreeMap<String, u64> = layers.collect();
    let (dir, logs, limits) = (agent.dir(pod), agent.logs(pod), Arc::clone(limits));
    super::act::blocking(move || {
        for (name, used) in &mut used {
            *used = used.saturating_add(room(&logs.join(name)));
        }
        let volumes = limits.on_disk.iter().map(|name| room(&dir.volume(name))).sum();
        Ok(limits.exceeded_by(&used, volumes))
    })
    .await
}

/// What cannot be measured now takes nothing for now.
fn room(path: &Path) -> u64 {
    volume::usage::bytes(path).unwrap_or(0)
}

fn exceeded(dir: &PodDir, limit: &Limit) -> Option<Failure> {
    let path = dir.volume(&limit.volume);
    match volume::usage::bytes(&path) {
        // The space at the end is Kubernetes' own; tools compare the text.
        Ok(bytes) if bytes > limit.bytes => Some(Failure::new(
            "Evicted",
            format!("Usage of EmptyDir volume \"{}\" exceeds the limit \"{}\". ", limit.volume, limit.text),
        )),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(volume = %path.display(), error = skiff_client::sentence(&error), "volume not measured");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_of_disks_are_ours_to_watch() {
        let volumes = json!([
            {"name": "a", "emptyDir": {"sizeLimit": "1Mi"}},
            {"name": "b", "emptyDir": {"sizeLimit": "1Mi", "medium": "Memory"}},
            {"name": "c", "emptyDir": {}},
            {"name": "d", "emptyDir": {"sizeLimit": "0"}},
        ]);
        let spec = serde_json::from_value(json!({"containers": [], "volumes": volumes})).unwrap();
        let expected = Limit { volume: "a".into(), bytes: 1 << 20, text: "1Mi".into() };
        assert_eq!(limits(&spec), [expected]);
    }

    #[test]
    fn containers_and_the_pod_have_limits_of_storage() {
        let container =
            |name: &str, limit: &str| json!({"name": name, "resources": {"limits": {"ephemeral-storage": limit}}});
        let volumes = json!([{"name": "d", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}]);
        let spec = |containers: serde_json::Value| {
            serde_json::from_value(json!({"containers": containers, "volumes": volumes})).unwrap()
        };
        let limits = Limits::of(&spec(json!([container("a", "10"), container("b", "20"), {"name": "c"}])));
        assert_eq!(limits.on_disk, ["d"]);
        let said = |used: &[(&str, u64)], volumes| {
            let used = used.iter().map(|(name, used)| ((*name).to_owned(), *used)).collect();
            limits.exceeded_by(&used, volumes).map(|failure| failure.message)
        };
        assert_eq!(said(&[("a", 10), ("b", 10)], 10), None);
        let total = "Pod ephemeral local storage usage exceeds the total limit of containers 30. ";
        assert_eq!(said(&[("a", 10), ("b", 10)], 11).as_deref(), Some(total));
        let one = "Container a exceeded its local ephemeral storage limit \"10\". ";
        assert_eq!(said(&[("a", 11), ("c", 5)], 0).as_deref(), Some(one));
        assert!(Limits::of(&spec(json!([{"name": "c"}, container("z", "0")]))).is_empty());
    }

    #[test]
    fn a_volume_that_is_too_large_is_named_with_its_limit() {
        let root = tempfile::tempdir().unwrap();
        let dir = PodDir::of(root.path(), "u");
        let limit = Limit { volume: "cache".into(), bytes: 1 << 20, text: "1Mi".into() };
        std::fs::create_dir_all(dir.volume("cache")).unwrap();
        assert_eq!(exceeded(&dir, &limit), None);
        std::fs::write(dir.volume("cache").join("f"), vec![1; 2 << 20]).unwrap();
        let failure = exceeded(&dir, &limit).unwrap();
        assert_eq!(failure.message, "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". ");
    }
}
