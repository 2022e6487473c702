//! What is mounted where: the usual file systems, the pod's files, and the container's own mounts.

use super::Request;
use crate::error::CriError;
use crate::users::of_mount;
use serde_json::{Value, json};
use skiff_proto::cri::v1::{Mount, MountPropagation};
use std::path::Path;

pub(super) fn mounts(request: &Request<'_>) -> Result<Vec<Value>, CriError> {
    let mut own: Vec<&Mount> = request.config.mounts.iter().collect();
    // A mount below another one must come after it, or it is hidden.
    own.sort_by_key(|mount| Path::new(&mount.container_path).components().count());
    let replaced = |path: &str| own.iter().any(|mount| Path::new(&mount.container_path) == Path::new(path));

    let mut all = base(request);
    all.extend(pod_files(request));
    all.retain(|mount| !mount["destination"].as_str().is_some_and(replaced));
    for mount in own {
        all.push(bind(mount)?);
    }
    Ok(all)
}

fn base(request: &Request<'_>) -> Vec<Value> {
    let access = if request.security().privileged { "rw" } else { "ro" };
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ]
}

fn pod_files(request: &Request<'_>) -> Vec<Value> {
    let files = &request.pod_files;
    let bind = |destination: &str, source: &Path, options: &[&str]| {
        let options: Vec<&str> = ["rbind", "rprivate"].iter().chain(options).copied().collect();
        json!({"destination": destination, "type": "bind", "source": source, "options": options})
    };
    let access = if request.security().readonly_rootfs { "ro" } else { "rw" };
    vec![
        bind("/dev/shm", &files.shm, &["nosuid", "nodev", "noexec", "rw"]),
        bind("/etc/resolv.conf", &files.resolv_conf, &[access]),
        bind("/etc/hostname", &files.hostname, &[access]),
        bind("/etc/hosts", &files.hosts, &[access]),
    ]
}

/// `selinux_relabel` needs nothing here: there are no labels without SELinux, and with it they are refused.
fn bind(mount: &Mount) -> Result<Value, CriError> {
    check(mount)?;
    let propagation = match mount.propagation() {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    };
    let access = match (mount.readonly, mount.recursive_read_only) {
        (true, true) => "rro",
        (true, false) => "ro",
        (false, _) => "rw",
    };
    let mut bind = json!({
        "destination": mount.container_path, "type": "bind", "source": mount.host_path,
        "options": ["rbind", propagation, access],
    });
    if !mount.uid_mappings.is_empty() {
        // The volume itself, not what is mounted below it: that may be of a file system that cannot be mapped.
        bind["options"] = json!(["rbind", propagation, access, "idmap"]);
        bind["uidMappings"] = of_mount(&mount.uid_mappings);
        bind["gidMappings"] = of_mount(&mount.gid_mappings);
    }
    Ok(bind)
}

/// Whether the mount can be made as asked.
pub(crate) fn check(mount: &Mount) -> Result<(), CriError> {
    let at = &mount.container_path;
    if mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty() {
        return Err(CriError::Invalid(format!("mount at {at}: uidMappings and gidMappings come together")));
    }
    if !mount.mount_options.is_empty() {
        return Err(CriError::Unimplemented(format!("mount at {at}: mount_options")));
    }
    crate::admit::known::<MountPropagation>(&format!("mount at {at}: propagation"), mount.propagation)?;
    if mount.recursive_read_only && (!mount.readonly || mount.propagation() != MountPropagation::PropagationPrivate) {
        let why = "recursive_read_only needs readonly and private propagation";
        return Err(CriError::Invalid(format!("mount at {at}: {why}")));
    }
    if !Path::new(at).is_absolute() {
        return Err(CriError::Invalid(format!("mount at `{at}`: the container path is not absolute")));
    }
    if let Some(image) = &mount.image {
        return if image.image.is_empty() {
            Err(CriError::Invalid(format!("mount at {at}: image names none")))
        } else if !mount.host_path.is_empty() {
            Err(CriError::Invalid(format!("mount at {at}: it is of an image or of host_path, not both")))
        } else if !mount.readonly {
            Err(CriError::Invalid(format!("mount at {at}: an image is shown read-only: readonly must be true")))
        } else {
            Ok(())
        };
    }
    if !mount.image_sub_path.is_empty() {
        return Err(CriError::Invalid(format!("mount at {at}: image_sub_path without image")));
    }
    if !Path::new(&mount.host_path).is_absolute() {
        return Err(CriError::Invalid(format!("mount at {at}: the host path `{}` is not absolute", mount.host_path)));
    }
    Ok(())
}
