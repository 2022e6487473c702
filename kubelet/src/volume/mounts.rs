//! What a container sees of its pod's volumes: the CRI mounts.

use super::prepare::is_elsewhere;
use super::record::{self, Record};
use super::{PodDir, subpath};
use crate::pod::container::TERMINATION_PATH;
use crate::pod::env::Env;
use crate::pod::memory::Failure;
use crate::pod::mount_status::is_recursive;
use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};
use skiff_proto::cri::v1 as cri;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The mounts of `container`: volumes, `/etc/hosts` and the termination message file, which is made here.
///
/// # Errors
/// A mount names no volume, or its subPath does not lead anywhere safe.
pub(crate) fn mounts(
    dir: &PodDir,
    pod: &Pod,
    container: &Container,
    attempt: u32,
    (env, features): (&Env, &cri::RuntimeHandlerFeatures),
) -> Result<Vec<cri::Mount>, Failure> {
    let mut out = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let recursive = recursive(mount, features.recursive_read_only_mounts)?;
        out.push(cri::Mount {
            recursive_read_only: recursive,
            ..volume_mount(dir, pod, container, index, mount, env)?
        });
    }
    let taken = |path: &str, out: &[cri::Mount]| out.iter().any(|mount| mount.container_path == path);
    if !taken("/etc/hosts", &out) && dir.hosts().exists() {
        out.push(plain(&dir.hosts(), "/etc/hosts"));
    }
    let inside = container.termination_message_path.as_deref().unwrap_or(TERMINATION_PATH);
    if !inside.is_empty() && !taken(inside, &out) {
        let file = dir.termination_file(&container.name, attempt);
        make_termination_file(&file).map_err(|error| {
            Failure::new("CreateContainerConfigError", format!("create {}: {error}", file.display()))
        })?;
        out.push(plain(&file, inside));
    }
    Ok(out)
}

/// Whether what is mounted below becomes read-only too; a runtime that cannot do it would say nothing.
fn recursive(mount: &VolumeMount, can: bool) -> Result<bool, Failure> {
    if !is_recursive(mount) || can {
        return Ok(is_recursive(mount));
    }
    if mount.recursive_read_only.as_deref() == Some("IfPossible") {
        return Ok(false);
    }
    let at = &mount.mount_path;
    let message = format!("mount at {at}: recursiveReadOnly: the container runtime has no recursive read-only mounts");
    Err(Failure::new("CreateContainerConfigError", message))
}

/// Any user of the container may write its termination message.
fn make_termination_file(file: &Path) -> std::io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(file, "")?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o666))
}

fn plain(host: &Path, inside: &str) -> cri::Mount {
    cri::Mount { container_path: inside.to_owned(), host_path: host.display().to_string(), ..Default::default() }
}

fn volume_mount(
    dir: &PodDir,
    pod: &Pod,
    container: &Container,
    index: usize,
    mount: &VolumeMount,
    env: &Env,
) -> Result<cri::Mount, Failure> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let wrong = |message: String| Failure::new("CreateContainerConfigError", message);
    let volume = volumes.into_iter().find(|volume| volume.name == mount.name);
    let volume = volume.ok_or_else(|| wrong(format!("volumeMounts[{index}]: there is no volume {}", mount.name)))?;
    let inner = match (&mount.sub_path_expr, &mount.sub_path) {
        (Some(expression), _) if !expression.is_empty() => env.expand_all(expression).map_err(wrong)?,
        (_, path) => path.clone().unwrap_or_default(),
    };
    let record = record_of(dir, volume)?;
    if let Some(image) = record.as_ref().and_then(|record| record.image.clone()) {
        return Ok(of_image(mount, image, inner));
    }
    let read_only = record.as_ref().is_some_and(|record| record.read_only);
    let source = source(dir, volume, record)?;
    let host = if inner.is_empty() {
        source
    } else {
        let target = dir.subpath(&container.name, index);
        let bound = subpath::open(&source, Path::new(&inner)).and_then(|found| subpath::bind(&found, &target));
        bound.map_err(|why| {
            let (volume, container) = (&mount.name, &container.name);
            wrong(format!("failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\": {why}"))
        })?;
        target
    };
    Ok(cri::Mount {
        readonly: mount.read_only.unwrap_or(false) || is_read_only(volume) || read_only,
        propagation: propagation(mount).into(),
        ..plain(&host, &absolute(&mount.mount_path))
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The files of an image, or those below one of its folders.
fn of_image(mount: &VolumeMount, image: String, inner: String) -> cri::Mount {
    cri::Mount {
        container_path: absolute(&mount.mount_path),
        readonly: true,
        image: Some(cri::ImageSpec { image, ..Default::default() }),
        image_sub_path: inner,
        ..Default::default()
    }
}

/// What was set up for a volume that is not in the pod's folder; `None`: it is there, or on the host.
fn record_of(dir: &PodDir, volume: &Volume) -> Result<Option<Record>, Failure> {
    let wrong = |why: String| Failure::new("CreateContainerConfigError", format!("volume {}: {why}", volume.name));
    if !is_elsewhere(volume) {
        return Ok(None);
    }
    let found = record::read(dir, &volume.name).map_err(|error| wrong(error.to_string()))?;
    found.map(Some).ok_or_else(|| wrong("it has not been set up".to_owned()))
}

/// The devices of `container`: its volumes that are devices.
///
/// # Errors
/// A device names no volume, or one that is none.
pub(crate) fn devices(dir: &PodDir, pod: &Pod, container: &Container) -> Result<Vec<cri::Device>, Failure> {
    let mut out = Vec::new();
    for device in container.volume_devices.iter().flatten() {
        let wrong =
            |why: &str| Failure::new("CreateContainerConfigError", format!("volumeDevices: {}: {why}", device.name));
        let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let volume =
            volumes.find(|volume| volume.name == device.name).ok_or_else(|| wrong("there is no such volume"))?;
        let record = record_of(dir, volume)?.filter(|record| record.block).ok_or_else(|| wrong("it is no device"))?;
        out.push(cri::Device {
            container_path: device.device_path.clone(),
            host_path: record.path.display().to_string(),
            permissions: if record.read_only { "r" } else { "mrw" }.to_owned(),
        });
    }
    Ok(out)
}

/// The text of the file `path` in the volume `name` of `pod`.
///
/// # Errors
/// Why it cannot be read, without a path of the node.
pub(crate) fn text_of_file(dir: &PodDir, pod: &Pod, name: &str, path: &str) -> Result<String, String> {
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let volume = volumes.find(|volume| volume.name == name).ok_or("the pod has no such volume")?;
    let found = record_of(dir, volume).and_then(|record| source(dir, volume, record));
    subpath::read(&found.map_err(|failure| failure.message)?, Path::new(path))
}

/// Volumes whose files we replace are read-only to containers.
fn is_read_only(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

fn source(dir: &PodDir, volume: &Volume, record: Option<Record>) -> Result<PathBuf, Failure> {
    let untyped = |kind: &Option<String>| kind.as_deref().unwrap_or_default().is_empty();
    let (path, make) = match (record, &volume.host_path) {
        (Some(record), _) => (record.path, record.driver.is_none()),
        (None, Some(host)) => (PathBuf::from(&host.path), untyped(&host.type_)),
        (None, None) => return Ok(dir.volume(&volume.name)),
    };
    // Containers get what is there now; a missing folder is made as a bind mount's source has to exist.
    if make && !path.exists() {
        fs::create_dir_all(&path).map_err(|error| {
            Failure::new("CreateContainerConfigError", format!("create {}: {error}", path.display()))
        })?;
    }
    Ok(path)
}

fn propagation(mount: &VolumeMount) -> cri::MountPropagation {
    match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
        _ => cri::MountPropagation::PropagationPrivate,
    }
}
