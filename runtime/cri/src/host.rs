//! What this machine is and has: rights, cgroup hierarchies, device nodes.

use crate::bundle::{Device, Host};
use crate::error::{CriError, During};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Folders of /dev that a container gets its own of.
const OWN_FOLDERS: [&str; 4] = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd"];

/// Asks the machine once.
pub(crate) fn probe() -> Result<Host, CriError> {
    let status = fs::read_to_string("/proc/self/status").during(|| "read /proc/self/status".to_owned())?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    let score = fs::read_to_string("/proc/self/oom_score_adj").during(|| "read /proc/self/oom_score_adj".to_owned())?;
    let cgroup_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    Ok(Host {
        capabilities: u64::from_str_radix(mask.trim(), 16).unwrap_or(0),
        oom_score_adj: score.trim().parse().unwrap_or(0),
        cgroup_v2,
        limits_swap: if cgroup_v2 {
            Path::new("/proc/swaps").exists()
        } else {
            Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
        },
        selinux: has_selinux(),
        apparmor: fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y")),
    })
}

/// Whether SELinux is on, whose filesystem is registered only then (selinux(8)). Without it labels have no effect, as in
/// other runtimes.
fn has_selinux() -> bool {
    fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("selinuxfs"))
}

/// The device nodes that `host_path` stands for: itself, or all below a folder (CRI v1, Device).
pub(crate) fn devices(host_path: &Path, container_path: &Path, access: &str) -> Result<Vec<Device>, CriError> {
    if let Some(other) = access.chars().find(|c| !"rwm".contains(*c)) {
        return Err(CriError::Invalid(format!(
            "device {}: permission `{other}` is not r, w or m",
            host_path.display()
        )));
    }
    // A link is followed, so that /dev/disk/by-id/… may be named.
    let metadata = fs::metadata(host_path).during(|| format!("device {}", host_path.display()))?;
    if !metadata.is_dir() {
        return match device(&metadata, container_path, access) {
            Some(device) => Ok(vec![device]),
            None => Err(CriError::Invalid(format!("device {}: it is no device", host_path.display()))),
        };
    }
    let mut found = Vec::new();
    walk(host_path, container_path, access, &mut found)?;
    Ok(found)
}

fn walk(folder: &Path, inside: &Path, access: &str, found: &mut Vec<Device>) -> Result<(), CriError> {
    let operation = || format!("list devices in {}", folder.display());
    for entry in fs::read_dir(folder).during(operation)? {
        let entry = entry.during(operation)?;
        let (path, inside) = (entry.path(), inside.join(entry.file_name()));
        // A device may vanish between the listing and here; links would only name a device twice.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() && !OWN_FOLDERS.iter().any(|own| path == Path::new(own)) {
            walk(&path, &inside, access, found)?;
        } else if path != Path::new("/dev/console") {
            found.extend(device(&metadata, &inside, access));
        }
    }
    Ok(())
}

fn device(metadata: &fs::Metadata, path: &Path, access: &str) -> Option<Device> {
    let kind = metadata.file_type();
    let kind = if kind.is_char_device() {
        'c'
    } else if kind.is_block_device() {
        'b'
    } else {
        return None;
    };
    Some(Device {
        path: path.to_string_lossy().into_owned(),
        kind,
        major: nix::sys::stat::major(metadata.rdev()),
        minor: nix::sys::stat::minor(metadata.rdev()),
        mode: metadata.mode() & 0o7777,
        access: access.to_owned(),
    })
}
