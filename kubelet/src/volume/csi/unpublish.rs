//! Has drivers take away what they put in place for a pod.

use super::super::PodDir;
use super::super::record::{self, Published};
use super::driver::call;
use super::node_object;
use crate::agent::Agent;
use crate::pod::act::blocking;
use crate::pod::memory::Failure;
use crate::volume::clear::is_mounted;
use skiff_csi::call::said;
use skiff_csi::csi::v1 as csi;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Takes away all volumes of the pod whose folder is `dir`.
///
/// # Errors
/// The first volume that stays, as a sentence.
pub(crate) async fn unpublish_all(agent: &Arc<Agent>, dir: &PodDir) -> Result<(), String> {
    let read = dir.clone();
    let records = blocking(move || record::all(&read).map_err(|error| failed(&error))).await;
    let records = records.map_err(|failure| failure.message)?;
    let attached = records.iter().any(|(_, record)| record.driver.as_ref().is_some_and(|driver| driver.attached));
    for (name, record) in records {
        if let Some(published) = &record.driver {
            let about = |why: String| format!("UnmountVolume.TearDown failed for volume \"{name}\" : {why}");
            unpublish(agent, published).await.map_err(about)?;
        }
        let (dir, name) = (dir.clone(), name.clone());
        blocking(move || record::forget(&dir, &name).map_err(|error| failed(&error)))
            .await
            .map_err(|failure| failure.message)?;
    }
    if attached { node_object::tell_in_use(agent).await } else { Ok(()) }
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::new("FailedCleanup", error.to_string())
}

async fn unpublish(agent: &Arc<Agent>, of: &Published) -> Result<(), String> {
    let lock = agent.plugins.lock(&of.driver, &of.handle);
    let _held = lock.lock().await;
    let driver = match agent.plugins.driver(&of.driver) {
        Ok(driver) => driver,
        // After the node has started anew nothing stands, whether the driver comes back or not.
        Err(_) if !is_mounted(&of.target) && of.staging.as_deref().is_none_or(|path| !is_mounted(path)) => {
            return Ok(());
        }
        Err(why) => return Err(why),
    };
    let request =
        csi::NodeUnpublishVolumeRequest { volume_id: of.handle.clone(), target_path: of.target.display().to_string() };
    driver.node().node_unpublish_volume(call(request)).await.map_err(|status| said(&status))?;
    remove(&of.target).await?;
    let Some(staging) = &of.staging else { return Ok(()) };
    if used_by_others(agent, of).await? {
        return Ok(());
    }
    let request = csi::NodeUnstageVolumeRequest {
        volume_id: of.handle.clone(),
        staging_target_path: staging.display().to_string(),
    };
    driver.node().node_unstage_volume(call(request)).await.map_err(|status| said(&status))?;
    remove(staging).await
}

/// Whether another pod of this node has the volume, or this one at another place.
async fn used_by_others(agent: &Arc<Agent>, of: &Published) -> Result<bool, String> {
    let (root, target) = (agent.root_dir.clone(), of.target.clone());
    let (driver, handle) = (of.driver.clone(), of.handle.clone());
    let found = blocking(move || {
        let all = record::of_all_pods(&root).map_err(|error| failed(&error))?;
        let same = |one: Published| one.driver == driver && one.handle == handle && one.target != target;
        Ok(all.into_iter().filter_map(|record| record.driver).any(same))
    });
    found.await.map_err(|failure| failure.message)
}

/// Removes a place where nothing is mounted any more: an empty folder or a file, never what is in it.
async fn remove(at: &Path) -> Result<(), String> {
    let at: PathBuf = at.to_owned();
    let removed = blocking(move || {
        if is_mounted(&at) {
            let why = format!("{} is still mounted after the driver said that it is not", at.display());
            return Err(Failure::new("FailedCleanup", why));
        }
        let done = match std::fs::symlink_metadata(&at) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Ok(meta) if meta.is_dir() => std::fs::remove_dir(&at),
            Ok(_) => std::fs::remove_file(&at),
            Err(error) => Err(error),
        };
        done.map_err(|error| Failure::new("FailedCleanup", format!("remove {}: {error}", at.display())))
    });
    removed.await.map_err(|failure| failure.message)
}
