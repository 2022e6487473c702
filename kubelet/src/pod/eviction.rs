//! Watches that a pod's volumes keep to their `sizeLimit`, and says so when one does not.
//!
//! A disk has no limit per folder, so the folder is measured from time to time (Kubernetes, "Local ephemeral storage").
//! A volume in memory has its limit from the kernel, as the size of its tmpfs.

use super::memory::Failure;
use super::worker::{Event, Inbox};
use crate::volume::{self, PodDir};
use k8s_openapi::api::core::v1::PodSpec;
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

/// The volumes of `spec` that have a limit which we have to watch. A limit of 0 is none, as in Kubernetes.
pub(super) fn limits(spec: &PodSpec) -> Vec<Limit> {
    let volumes = spec.volumes.iter().flatten();
    let limited = volumes.filter_map(|volume| {
        let source = volume.empty_dir.as_ref().filter(|source| source.medium.as_deref() != Some("Memory"))?;
        let limit = source.size_limit.as_ref()?;
        let bytes = super::resources::units(limit).and_then(|bytes| u64::try_from(bytes).ok())?;
        Some(Limit { volume: volume.name.clone(), bytes, text: limit.0.clone() })
    });
    limited.filter(|limit| limit.bytes > 0).collect()
}

/// Measures until a volume has grown too large, and then tells the worker.
pub(super) async fn follow(dir: PodDir, limits: Vec<Limit>, inbox: Inbox) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (dir, limits) = (dir.clone(), limits.clone());
        let found = super::act::blocking(move || Ok(limits.iter().find_map(|limit| exceeded(&dir, limit)))).await;
        match found {
            Ok(None) => {}
            Ok(Some(failure)) => {
                // The worker outlives its tasks; when it is gone nobody wants to know.
                let _closed = inbox.send(Event::Evicted(failure));
                return;
            }
            Err(failure) => tracing::warn!(%failure, "volumes not measured"),
        }
    }
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
