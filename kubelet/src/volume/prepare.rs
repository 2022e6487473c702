//! Makes a pod's volumes, and brings them up to date when called again.
//!
//! Blocking: the caller has fetched the objects and runs this off the async threads.

use super::PodDir;
use super::atomic;
use super::content::{Given, payload};
use crate::pod::env::Downward;
use crate::pod::memory::Failure;
use crate::pod::resources::units;
use crate::pod::sources::Sources;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume};
use nix::mount::{MsFlags, mount};
use nix::unistd::{Gid, chown};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// What is needed to make the volumes of a pod.
pub(crate) struct Preparation<'a> {
    pub(crate) dir: &'a PodDir,
    pub(crate) pod: &'a Pod,
    pub(crate) sources: &'a Sources,
    pub(crate) tokens: &'a BTreeMap<(String, i64), String>,
    pub(crate) down: Downward<'a>,
}

/// Makes every volume of the pod.
///
/// # Errors
/// The first volume that cannot be made, with its name.
pub(crate) fn prepare(preparation: &Preparation<'_>) -> Result<(), Failure> {
    let root = preparation.dir.path();
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o750)
        .create(root)
        .map_err(|error| failed(&format!("create {}", root.display()), &error))?;
    let spec = preparation.pod.spec.as_ref();
    let group =
        spec.and_then(|spec| spec.security_context.as_ref()?.fs_group).and_then(|group| u32::try_from(group).ok());
    for volume in spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        one(preparation, volume, group)?;
    }
    Ok(())
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new("FailedMount", format!("{what}: {error}"))
}

fn one(preparation: &Preparation<'_>, volume: &Volume, group: Option<u32>) -> Result<(), Failure> {
    let at = preparation.dir.volume(&volume.name);
    let name = || format!("MountVolume.SetUp failed for volume \"{}\" ", volume.name);
    if let Some(source) = &volume.host_path {
        return host_path(source).map_err(|error| failed(&name(), &error));
    }
    if let Some(source) = &volume.empty_dir {
        return empty_dir(&at, source, group).map_err(|error| failed(&name(), &error));
    }
    if is_elsewhere(volume) {
        return Ok(());
    }
    let given = Given { sources: preparation.sources, down: &preparation.down, tokens: preparation.tokens };
    let about = |failure: Failure| Failure::new("FailedMount", format!("{}: {}", name(), failure.message));
    let Some(files) = payload(volume, &given).map_err(about)? else {
        return Err(failed(&name(), &"this kind of volume is not implemented"));
    };
    let secret = volume.secret.is_some() || volume.projected.is_some();
    let made = if secret { tmpfs(&at, "mode=0755,size=64m") } else { fs::create_dir_all(&at) };
    made.and_then(|()| fs::set_permissions(&at, Permissions::from_mode(0o755)))
        .and_then(|()| atomic::write(&at, &files, group))
        .map(drop)
        .map_err(|error| failed(&name(), &error))
}

/// Volumes that take more than the node's own folders are set up after these: see `persistent`.
pub(super) fn is_elsewhere(volume: &Volume) -> bool {
    volume.persistent_volume_claim.is_some()
        || volume.ephemeral.is_some()
        || volume.csi.is_some()
        || volume.image.is_some()
}

/// Mounts a tmpfs at `at`, unless one is there (secrets must not reach a disk).
fn tmpfs(at: &Path, options: &str) -> io::Result<()> {
    fs::create_dir_all(at)?;
    let parent = at.parent().unwrap_or(at);
    if fs::metadata(at)?.dev() != fs::metadata(parent)?.dev() {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options))
        .map_err(|errno| io::Error::other(format!("mount tmpfs at {}: {errno}", at.display())))
}

fn empty_dir(at: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> io::Result<()> {
    let fresh = fs::symlink_metadata(at).is_err();
    if source.medium.as_deref() == Some("Memory") {
        let size = source.size_limit.as_ref().and_then(units).map_or(String::new(), |bytes| format!(",size={bytes}"));
        tmpfs(at, &format!("mode=0777{size}"))?;
    } else {
        fs::create_dir_all(at)?;
    }
    if !fresh {
        return Ok(());
    }
    // Any user may write to an emptyDir; a group that is to own it also gets what is made in it (setgid).
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    chown(at, None, group.map(Gid::from_raw)).map_err(io::Error::from)?;
    fs::set_permissions(at, Permissions::from_mode(mode))
}

/// Checks, and for the `OrCreate` types makes, what a host path names (Kubernetes, hostPath volume types).
pub(super) fn host_path(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let text = |error: io::Error| format!("create {}: {error}", path.display());
    match kind {
        "" => return Ok(()),
        "DirectoryOrCreate" if !path.exists() => {
            return fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(text);
        }
        "FileOrCreate" if !path.exists() => return fs::write(path, "").map_err(text),
        _ => {}
    }
    let found = fs::metadata(path).map_err(|error| format!("hostPath {}: {error}", path.display()))?.file_type();
    let fits = match kind {
        "Directory" | "DirectoryOrCreate" => found.is_dir(),
        "File" | "FileOrCreate" => found.is_file(),
        "Socket" => found.is_socket(),
        "CharDevice" => found.is_char_device(),
        "BlockDevice" => found.is_block_device(),
        other => return Err(format!("hostPath type `{other}` is not known")),
    };
    if fits { Ok(()) } else { Err(format!("hostPath type check failed: {} is not a {kind}", path.display())) }
}
