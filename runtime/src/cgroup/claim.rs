//! That a container has its cgroup for itself: whoever is in it when the container ends is killed, so nobody else may be.
//!
//! A creation locks the group (flock(2)) until its first process is inside, and refuses one in which somebody is already, as
//! runc does. Whoever comes later sees the lock or the process. A group that is there and empty is fine: engines make them
//! beforehand, with limits of their own.

use super::systemd::Holder;
use super::{Cgroup, Directory, tree};
use crate::error::{Error, On, Result};
use crate::kernfs::get;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

const FIELD: &str = "linux.cgroupsPath";

/// A creation's hold on its cgroup: let go when another process of the container is in it, or nothing is to be.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: Option<Flock<File>>,
    /// Keeps the unit of systemd alive meanwhile.
    _holder: Option<Holder>,
}

impl Cgroup {
    /// Claims this group, which has just been made or found; `found` are those of its directories that were there before.
    ///
    /// # Errors
    /// Somebody else is in it, or about to be; it is frozen, and nobody would ever get further in it than in.
    pub(super) fn claim(&self, found: &[Directory], holder: Option<Holder>) -> Result<Claim> {
        let lock = self.freezer().or_else(|| self.directories.first()).map(lock).transpose()?;
        let own = holder.as_ref().map(Holder::pid);
        found.iter().try_for_each(|directory| refuse_others(directory, own))?;
        if self.is_frozen()? {
            let place = self.freezer().map(|freezer| freezer.path.display().to_string()).unwrap_or_default();
            let reason = format!("the container's cgroup is frozen: {place}, or a group above it");
            return Err(Error::refused(FIELD, reason));
        }
        Ok(Claim { _lock: lock, _holder: holder })
    }
}

fn lock(directory: &Directory) -> Result<Flock<File>> {
    let path = &directory.path;
    let file = File::open(path).on("open", path.display())?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => {
            Error::refused(FIELD, format!("another container is being created in {}", path.display()))
        }
        errno => Error::Failed { operation: "lock", operand: path.display().to_string(), errno },
    })
}

/// Groups below it are somebody's too: who made them expects them to stay.
fn refuse_others(directory: &Directory, own: Option<Pid>) -> Result<()> {
    let path = &directory.path;
    let count = members(path).into_iter().filter(|pid| Some(*pid) != own).count();
    if count > 0 {
        let reason = format!("the container's cgroup is not empty: {count} process(es) found in {}", path.display());
        return Err(Error::refused(FIELD, reason));
    }
    match tree(path).pop() {
        Some(below) => {
            let reason = format!("the container's cgroup is not empty: it has a group below it, {}", below.display());
            Err(Error::refused(FIELD, reason))
        }
        None => Ok(()),
    }
}

/// Who is there or below; nobody where nothing is.
pub(super) fn members(place: &Path) -> BTreeSet<Pid> {
    let places = tree(place).into_iter().chain([place.to_owned()]);
    let texts: Vec<_> = places.filter_map(|place| get(&place.join("cgroup.procs")).ok()).collect();
    texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.parse().ok()).map(Pid::from_raw).collect()
}
