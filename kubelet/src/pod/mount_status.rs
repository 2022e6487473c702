//! The mounts of a container as its status tells them (KEP-3857). Pure.

use k8s_openapi::api::core::v1::{Container, VolumeMount, VolumeMountStatus};

/// Whether a read-only mount makes what is mounted below it read-only too. Where the volume names no choice it does not.
pub(crate) fn is_recursive(mount: &VolumeMount) -> bool {
    let asked = matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"));
    asked && mount.read_only == Some(true)
}

/// The mounts of `container`; nothing if it has none.
pub(super) fn of(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let status = |mount: &VolumeMount| {
        let read_only = mount.read_only == Some(true);
        let recursive = if is_recursive(mount) { "Enabled" } else { "Disabled" };
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only.filter(|read_only| *read_only),
            recursive_read_only: read_only.then(|| recursive.to_owned()),
            ..Default::default()
        }
    };
    let mounts = container.volume_mounts.as_ref()?;
    Some(mounts.iter().map(status).collect()).filter(|list: &Vec<_>| !list.is_empty())
}
