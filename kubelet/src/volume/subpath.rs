//! Finds a folder or file inside a volume without leaving the volume.
//!
//! Whoever can write to a volume can put a symbolic link there, and a path that was checked is not the path that is
//! mounted a moment later (CVE-2017-1002101, CVE-2021-25741). So the path is opened with openat2(2), which refuses links
//! and leaving the root, and what was opened is bound by its descriptor.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

fn how(flags: OFlag) -> OpenHow {
    let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(inside)
}

/// Opens `path` below `volume`, making folders that are missing.
pub(super) fn open(volume: &Path, path: &Path) -> Result<OwnedFd, String> {
    let blame = |errno: Errno| format!("subPath {} in {}: {errno}", path.display(), volume.display());
    if path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("subPath {}: must be relative and must not contain `..`", path.display()));
    }
    let root = nix::fcntl::open(volume, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(blame)?;
    match openat2(&root, path, how(OFlag::O_PATH)) {
        Err(Errno::ENOENT) => {}
        found => return found.map_err(blame),
    }
    let (mut at, mut done) = (
        root.as_fd().try_clone_to_owned().map_err(|error| format!("subPath {}: {error}", path.display()))?,
        PathBuf::new(),
    );
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        match mkdirat(&at, name, Mode::from_bits_truncate(0o777)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(blame(errno)),
        }
        done.push(name);
        at = openat2(&root, &done, how(OFlag::O_PATH | OFlag::O_DIRECTORY)).map_err(blame)?;
    }
    Ok(at)
}

/// Binds what `found` is to `target`, which is made for it.
pub(super) fn bind(found: &OwnedFd, target: &Path) -> Result<(), String> {
    let blame = |operation: &str, error: &dyn std::fmt::Display| format!("{operation} {}: {error}", target.display());
    let stat = nix::sys::stat::fstat(found).map_err(|errno| blame("stat source of", &errno))?;
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(|error| blame("create folder of", &error))?;
    }
    let is_folder = stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
    let made = if is_folder { fs::create_dir_all(target) } else { fs::write(target, "") };
    made.map_err(|error| blame("create", &error))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    mount(Some(&source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|errno| blame("bind subPath to", &errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_not_followed_and_missing_folders_are_made() {
        let volume = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", volume.path().join("out")).unwrap();
        assert!(open(volume.path(), Path::new("out/passwd")).is_err());
        assert!(open(volume.path(), Path::new("out")).is_err());
        assert!(open(volume.path(), Path::new("a/b")).is_ok());
        assert!(volume.path().join("a/b").is_dir());
    }

    #[test]
    fn parents_stop_at_the_volume() {
        let volume = tempfile::tempdir().unwrap();
        assert!(open(volume.path(), Path::new("../../etc/passwd")).is_err());
    }
}
