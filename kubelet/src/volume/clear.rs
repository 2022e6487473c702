//! Removes a pod's folder, never across a mount.
//!
//! Everything mounted below it (tmpfs volumes, subPath binds) is unmounted first; when the mount table still names
//! anything below, or a folder turns out to be on another device, removal stops with an error. A bind mount of the same
//! filesystem has the same st_dev, which is why the table is asked and not only the device.

use super::PodDir;
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Unmounts and removes `dir`; one that is not there is fine.
///
/// # Errors
/// Something is mounted there and stays, or cannot be removed.
pub(crate) fn clear(dir: &PodDir) -> io::Result<()> {
    let root = dir.path();
    let Ok(meta) = fs::symlink_metadata(root) else { return Ok(()) };
    for point in mounts_below(root)?.iter().rev() {
        umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .map_err(|errno| io::Error::other(format!("unmount {}: {errno}", point.display())))?;
    }
    if let Some(left) = mounts_below(root)?.first() {
        return Err(io::Error::other(format!("{} is still mounted", left.display())));
    }
    remove(root, meta.dev())
}

/// Whether something is mounted at `at`; a table that cannot be read says that nothing may be removed.
pub(super) fn is_mounted(at: &Path) -> bool {
    let parent = at.parent().and_then(|parent| fs::canonicalize(parent).ok());
    let (Some(parent), Some(name)) = (parent, at.file_name()) else { return false };
    let at = parent.join(name);
    let table = fs::read_to_string("/proc/self/mountinfo");
    table.map_or(true, |table| points(&table).any(|point| point == at))
}

fn remove(path: &Path, device: u64) -> io::Result<()> {
    let about = |error: io::Error| io::Error::other(format!("remove {}: {error}", path.display()));
    let meta = fs::symlink_metadata(path).map_err(about)?;
    if !meta.is_dir() {
        return fs::remove_file(path).map_err(about);
    }
    if meta.dev() != device {
        return Err(io::Error::other(format!("{} is on another device than its pod's folder", path.display())));
    }
    for entry in fs::read_dir(path).map_err(about)? {
        remove(&entry.map_err(about)?.path(), device)?;
    }
    fs::remove_dir(path).map_err(about)
}

/// Mount points below `root`, outer before inner (proc_pid_mountinfo(5), field 5).
fn mounts_below(root: &Path) -> io::Result<Vec<PathBuf>> {
    let root = fs::canonicalize(root)?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(points(&table).filter(|point| point.starts_with(&root)).collect())
}

fn points(table: &str) -> impl Iterator<Item = PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)))
}

/// Undoes the octal escapes of mountinfo (`\040` is a space).
pub(crate) fn unescape(text: &str) -> String {
    let mut out = text.to_owned();
    for (escape, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        out = out.replace(escape, plain);
    }
    out
}
