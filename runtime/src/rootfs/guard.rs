//! What may be mounted on `/proc`.
//!
//! The runtime and the container's programs trust `/proc` to be the kernel's: labels, privileges and limits are written and
//! checked there. A volume in its place could lie about all of them (CVE-2019-16884, CVE-2019-19921).

use crate::error::{Error, Result};
use crate::mutant;
use crate::steps;
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use skiff_sys::inroot::InRoot;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Files of procfs that a host's emulation (lxcfs and the like) may cover.
const COVERABLE: &[&str] = &[
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "slabinfo",
    "stat",
    "swaps",
    "uptime",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
];

/// What stands at the source of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A procfs.
    Procfs,
    /// Anything else.
    Other,
}

/// Checks that `content` may stand at `resolved`, a path inside the container after all links.
///
/// # Errors
/// It would stand for or inside `/proc`.
pub(super) fn check(resolved: &Path, content: impl FnOnce() -> Result<Content>) -> Result<()> {
    let Ok(below) = resolved.strip_prefix("/proc") else { return Ok(()) };
    if mutant::has("CVE-2019-19921") {
        return Ok(());
    }
    let is_fine = match below.to_str() {
        Some("") => content()? == Content::Procfs,
        Some(name) => COVERABLE.contains(&name),
        None => false,
    };
    if is_fine {
        return Ok(());
    }
    Err(Error::Said(format!(
        "mount.target {}: cannot be mounted because it would stand in for procfs",
        resolved.display()
    )))
}

/// Checks that `path`, where a kernel filesystem is to be mounted, is no symbolic link of the image: all later uses of the
/// path trust it to be that filesystem (CVE-2019-19921, CVE-2023-27561).
///
/// # Errors
/// It is one, or anything else that is no directory.
pub(super) fn check_is_no_link(root: &InRoot, path: &Path) -> Result<()> {
    let is_directory = |place: OwnedFd| -> std::result::Result<bool, Errno> {
        Ok(SFlag::from_bits_truncate(fstat(&place)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
    };
    match root.place_nofollow(path).and_then(is_directory) {
        Ok(true) | Err(Errno::ENOENT) => Ok(()),
        _ if mutant::has("CVE-2023-27561") => Ok(()),
        Ok(false) => {
            Err(Error::Said(format!("mount.target {}: must be mounted on ordinary directory", path.display())))
        }
        Err(errno) => Err(super::source::failed(&steps::MOUNT_TARGET, path, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_procfs_stands_for_proc() {
        assert!(check(Path::new("/proc"), || Ok(Content::Procfs)).is_ok());
        assert!(check(Path::new("/proc/meminfo"), || Ok(Content::Other)).is_ok());
        assert!(check(Path::new("/process"), || Ok(Content::Other)).is_ok());
        for path in ["/proc", "/proc/self", "/proc/1/attr", "/proc/sys/kernel"] {
            assert!(check(Path::new(path), || Ok(Content::Other)).is_err(), "{path}");
        }
        assert!(check(Path::new("/proc/sys"), || Ok(Content::Procfs)).is_err());
    }
}
