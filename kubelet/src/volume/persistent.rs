//! Sets up the volumes that are not folders of the pod: those of claims, of drivers that the pod names itself, and of images.

use super::claims::{self, Claimed, failed};
use super::csi::{self, Placed, Source, Wanted};
use super::ownership::{self, When};
use super::record::{self, Record};
use super::{PodDir, prepare};
use crate::agent::Agent;
use crate::events::Severity;
use crate::pod::act::blocking;
use crate::pod::memory::Failure;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often a driver is called again that wants it, and a claim looked at whose volume may have grown: a node may not watch claims.
const AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// Sets up what is missing of `pod`, and says when to look again.
///
/// # Errors
/// The first volume that cannot be set up, with its name.
pub(crate) async fn set_up(agent: &Arc<Agent>, pod: &Pod, dir: &PodDir) -> Result<Option<Timestamp>, Failure> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut again = false;
    let stands = |name: &str| matches!(record::read(dir, name), Ok(Some(record)) if record.ready);
    for one in claims::of(agent, pod, stands).await? {
        again |= claimed(agent, pod, dir, &one).await?;
    }
    for volume in volumes {
        if let Some(of) = &volume.csi {
            let source = Source::inline(pod, &volume.name, of);
            let wanted = Wanted { agent, pod, dir: dir.clone(), name: &volume.name, source: &source };
            again |= driven(&wanted).await?.again;
        }
        if let Some(of) = &volume.image {
            super::image::set_up(agent, pod, dir, &volume.name, of).await?;
        }
    }
    Ok(again.then(|| Timestamp::now() + AGAIN))
}

/// Whether the volume has to be looked at again.
async fn claimed(agent: &Arc<Agent>, pod: &Pod, dir: &PodDir, one: &Claimed) -> Result<bool, Failure> {
    if let Some(source) = Source::of_volume(&one.volume, one.read_only) {
        let wanted = Wanted { agent, pod, dir: dir.clone(), name: &one.name, source: &source };
        let placed = driven(&wanted).await?;
        let may_grow = match csi::grow(&wanted, &one.claim).await {
            Ok(may_grow) => may_grow,
            Err(why) => {
                agent.recorder.pod(pod, None, Severity::Warning, "VolumeResizeFailed", why);
                true
            }
        };
        return Ok(placed.again || may_grow);
    }
    let (work, place) = (one.clone(), dir.clone());
    let group = csi::group_of(pod);
    blocking(move || {
        let record = of_host(&work, group).map_err(|why| failed(work.volume.name(), why))?;
        record::write(&place, &work.name, &record).map_err(|error| failed(work.volume.name(), error))
    })
    .await?;
    Ok(false)
}

/// A volume that is on this machine already.
fn of_host(one: &Claimed, group: Option<(u32, When)>) -> Result<Record, String> {
    let spec = &one.volume.fields["spec"];
    let record = |path: PathBuf| Record {
        path,
        read_only: one.read_only,
        block: one.block,
        ready: true,
        image: None,
        driver: None,
    };
    if spec["hostPath"].is_object() {
        let source: HostPathVolumeSource =
            serde_json::from_value(spec["hostPath"].clone()).map_err(|error| format!("hostPath: {error}"))?;
        prepare::host_path(&source)?;
        return Ok(record(PathBuf::from(source.path)));
    }
    if spec["local"].is_object() {
        let path = PathBuf::from(one.volume.text("/spec/local/path"));
        check_local(&path, one.block)?;
        if let Some((group, when)) = group.filter(|_| !one.block) {
            ownership::give(&path, group, one.read_only, when)
                .map_err(|error| format!("applyFSGroup failed for {}: {error}", path.display()))?;
        }
        return Ok(record(path));
    }
    let kinds = spec.as_object().into_iter().flatten().filter(|(_, value)| value.is_object()).map(|(key, _)| key);
    let kind = kinds.filter(|key| !matches!(key.as_str(), "capacity" | "claimRef" | "nodeAffinity")).cloned();
    Err(format!("this kind of persistent volume is not implemented: {}", kind.collect::<Vec<_>>().join(", ")))
}

fn check_local(path: &Path, block: bool) -> Result<(), String> {
    use std::os::unix::fs::FileTypeExt;
    let found =
        std::fs::metadata(path).map_err(|error| format!("path \"{}\" does not exist: {error}", path.display()))?;
    let (kind, fits) = match block {
        true => ("a block device", found.file_type().is_block_device()),
        false => ("a folder; a device as a filesystem is not implemented", found.is_dir()),
    };
    if fits { Ok(()) } else { Err(format!("path \"{}\" is not {kind}", path.display())) }
}

async fn driven(wanted: &Wanted<'_>) -> Result<Placed, Failure> {
    let volume = &wanted.source.name;
    let placed = csi::publish(wanted).await.map_err(|why| match why.starts_with("MountVolume.") {
        true => Failure::new("FailedMount", why),
        false => failed(volume, why),
    })?;
    if let Some(why) = &placed.complaint {
        let Failure { reason, message } = failed(volume, why);
        wanted.agent.recorder.pod(wanted.pod, None, Severity::Warning, reason, message);
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claimed(spec: Value, block: bool) -> Claimed {
        Claimed {
            name: "v".to_owned(),
            volume: serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": spec})).unwrap(),
            claim: Default::default(),
            read_only: true,
            block,
        }
    }

    #[test]
    fn volumes_of_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        let local = of_host(&claimed(json!({"local": {"path": at}}), false), None).unwrap();
        assert_eq!((local.path.to_str(), local.read_only, local.ready), (Some(at), true, true));
        let missing = of_host(&claimed(json!({"local": {"path": format!("{at}/x")}}), false), None);
        assert!(missing.unwrap_err().contains("does not exist"));
        assert!(of_host(&claimed(json!({"local": {"path": at}}), true), None).unwrap_err().contains("block device"));
        let made = json!({"hostPath": {"path": format!("{at}/made"), "type": "DirectoryOrCreate"}});
        assert!(of_host(&claimed(made, false), None).unwrap().path.is_dir());
        let other = of_host(&claimed(json!({"nfs": {"server": "s"}, "capacity": {}, "claimRef": {}}), false), None);
        assert_eq!(other.unwrap_err(), "this kind of persistent volume is not implemented: nfs");
    }
}
