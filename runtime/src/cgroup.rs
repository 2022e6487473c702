//! The container's cgroup: made, limited, joined, frozen, emptied, removed.
//!
//! A container has one directory, at the same path, in every hierarchy that has a wanted controller. On version 1 its first
//! process joins by writing `0` to `tasks` itself: it has one thread, and so the kernel skips the lock (and the RCU grace
//! period) that `cgroup.procs` costs. On version 2 it is born there (clone3(2), `CLONE_INTO_CGROUP`).
//!
//! Decisions are in [`plan`] (which value to which file) and [`device`] (which rules as which lines or program); who acts on
//! them is [`write`]. [`stats`] and [`watch`] read.

mod claim; // one container in one cgroup
mod device; // device rules to files or a program
mod freeze; // stand still, end
mod hierarchy; // which controller where
mod plan; // limits to files
mod stats; // what was used
mod systemd; // a unit around it
mod watch; // out of memory
mod widen; // one more hierarchy while it runs
mod write; // performs plan and device

pub(crate) use claim::Claim;
pub(crate) use freeze::Frozen;
pub(crate) use systemd::Unit;
pub(crate) use watch::{Seen, Watch};

use crate::error::{Acts, On, Result};
use crate::kernfs::{get, put};
use crate::spec::Limits;
use crate::steps;
use hierarchy::{Hierarchy, Version, detect, needed};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use systemd::Holder;

/// How long a process that has ended may still be listed.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(1);
/// A concurrent removal of a shared parent is followed by another try; more often than this it is no coincidence.
const CREATE_TRIES_MAX: u32 = 16;

/// Everything that limits become, on paper: for tests with very many of them.
#[cfg(test)]
pub(crate) fn on_paper(limits: &Limits) {
    for group in [plan::Paper::version_1(), plan::Paper::version_2()] {
        let _either_way = plan::plan(limits, &group);
    }
    let rules = device::complete(&limits.devices);
    let _either_way = device::plan(&rules, "a *:* rwm\n");
    device::compile(&rules);
}

/// One directory of the container's cgroup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Directory {
    /// Its controllers.
    pub(crate) controllers: Vec<String>,
    /// Whether it is of version 2.
    pub(crate) unified: bool,
    /// Its path on the host.
    pub(crate) path: PathBuf,
    /// The topmost directory that we made on the way to it; what is empty from there on is removed with it.
    pub(crate) made_from: Option<PathBuf>,
}

/// The cgroup of one container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Cgroup {
    pub(crate) directories: Vec<Directory>,
    /// The unit of systemd that it belongs to.
    #[serde(default)]
    pub(crate) unit: Option<String>,
}

impl Cgroup {
    /// Makes the directory `path` (relative) in every hierarchy that a container with `limits` needs, and claims them.
    ///
    /// # Errors
    /// A directory cannot be made, or is somebody else's; those made before are removed again.
    pub(crate) fn create(acts: &Acts, path: &Path, limits: &Limits) -> Result<(Self, Claim)> {
        Self::create_below(acts, path, needed(detect()?, limits), None)
    }

    fn create_below(
        acts: &Acts,
        path: &Path,
        hierarchies: Vec<Hierarchy>,
        holder: Option<Holder>,
    ) -> Result<(Self, Claim)> {
        let (mut cgroup, mut found) = (Self::default(), Vec::new());
        let made = hierarchies.into_iter().try_for_each(|hierarchy| {
            let target = hierarchy.root.join(path);
            let made = acts.step_io(&steps::CGROUP_CREATE, target.display(), || make(&hierarchy, path))?;
            let directory = Directory {
                controllers: available(hierarchy.version, hierarchy.controllers, &target),
                unified: hierarchy.version == Version::Two,
                path: target,
                made_from: made.from,
            };
            if !made.is_new {
                found.push(directory.clone());
            }
            cgroup.directories.push(directory);
            Ok(())
        });
        let claimed = made.and_then(|()| cgroup.claim(&found, holder));
        if claimed.is_err() {
            cgroup.directories.iter().for_each(remove_made);
        }
        claimed.map(|claim| (cgroup, claim))
    }

    /// The cgroup at `path` (relative) as far as it exists, for cleaning up.
    ///
    /// # Errors
    /// The host's mounts cannot be read.
    pub(crate) fn find(path: &Path) -> Result<Self> {
        let there = detect()?.into_iter().map(|hierarchy| Directory {
            path: hierarchy.root.join(path),
            unified: hierarchy.version == Version::Two,
            controllers: hierarchy.controllers,
            made_from: None,
        });
        Ok(Self { unit: None, directories: there.filter(|directory| directory.path.is_dir()).collect() })
    }

    /// Whether `other` is at the same path of some hierarchy.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.directories.iter().any(|one| other.directories.iter().any(|other| one.path == other.path))
    }

    /// The directory with `controller`.
    pub(crate) fn directory(&self, controller: &str) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.controllers.iter().any(|name| name == controller))
    }

    /// The directory of version 2.
    pub(crate) fn unified(&self) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.unified)
    }

    /// Version 1: the files to write `0` to. The kernel asks for the opener's rights, not the writer's, so a container in a
    /// user namespace can join through them.
    ///
    /// # Errors
    /// A file cannot be opened.
    pub(crate) fn open_tasks(&self) -> Result<Vec<(PathBuf, File)>> {
        let of_version_1 = self.directories.iter().filter(|directory| !directory.unified);
        let mut files = Vec::new();
        for path in of_version_1.map(|directory| directory.path.join("tasks")) {
            match OpenOptions::new().write(true).open(&path) {
                // An update was killed before it had made this place. One in which the container is cannot be removed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => (),
                result => {
                    let file = result.on("open", path.display())?;
                    files.push((path, file));
                }
            }
        }
        Ok(files)
    }

    /// Version 2: the directory to be born in.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open_unified(&self) -> Result<Option<OwnedFd>> {
        self.unified()
            .map(|directory| Ok(File::open(&directory.path).on("open", directory.path.display())?.into()))
            .transpose()
    }

    /// Removes what of it is empty, for a creation that never had a process in it.
    pub(crate) fn remove_if_empty(&self) {
        let places: Vec<_> = self.directories.iter().map(|directory| directory.path.as_path()).collect();
        if places.iter().all(|place| is_soon_empty(place)) {
            places.into_iter().for_each(|place| remove_empty(std::iter::once(place)));
        }
    }

    /// Removes it with everything below it, and the empty parents that we made.
    ///
    /// # Errors
    /// A directory stays because something still lives in it. All others are removed nevertheless.
    pub(crate) fn remove(&self, acts: &Acts) -> Result<()> {
        let mut first_error = self.unit.as_deref().map_or(Ok(()), |unit| systemd::stop(acts, unit));
        for directory in &self.directories {
            let path = &directory.path;
            let removed = acts.step_io(&steps::CGROUP_REMOVE, path.display(), || {
                // Mostly nothing is below.
                match fs::remove_dir(path) {
                    Ok(()) => return Ok(()),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                    Err(_) => (),
                }
                for below in tree(path) {
                    remove(&below)?;
                }
                remove(path)
            });
            first_error = first_error.and(removed);
            remove_parents(directory);
        }
        first_error
    }
}

/// Version 2 gives a directory what its parents pass on, which may be less than the root has.
fn available(version: Version, of_root: Vec<String>, path: &Path) -> Vec<String> {
    if version == Version::One {
        return of_root;
    }
    match get(&path.join("cgroup.controllers")) {
        Ok(text) => text.split_whitespace().map(str::to_owned).collect(),
        Err(_) => of_root,
    }
}

/// What came of making a path.
#[derive(Debug, Default)]
struct Made {
    /// The topmost directory that was missing.
    from: Option<PathBuf>,
    /// Whether the last one was.
    is_new: bool,
}

/// Makes `path` below the hierarchy's root.
fn make(hierarchy: &Hierarchy, path: &Path) -> std::io::Result<Made> {
    let mut made = Made::default();
    for _ in 0..CREATE_TRIES_MAX {
        match make_once(hierarchy, path, &mut made) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (),
            result => return result.map(|()| made),
        }
    }
    Err(Errno::ENOENT.into())
}

fn make_once(hierarchy: &Hierarchy, path: &Path, made: &mut Made) -> std::io::Result<()> {
    let mut here = hierarchy.root.clone();
    for name in path {
        if hierarchy.version == Version::Two {
            enable(&here, &hierarchy.controllers)?;
        }
        here.push(name);
        made.is_new = match fs::create_dir(&here) {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        if made.is_new {
            made.from.get_or_insert_with(|| here.clone());
        }
        if hierarchy.controllers.iter().any(|name| name == "cpuset") && hierarchy.version == Version::One {
            inherit_cpuset(&here, made.is_new)?;
        }
    }
    Ok(())
}

/// Version 2 gives children only the controllers that `cgroup.subtree_control` lists. One that cannot be had (the cpu
/// controller where realtime processes are, say) is missed when a limit needs it, and not before.
fn enable(parent: &Path, controllers: &[String]) -> std::io::Result<()> {
    let file = parent.join("cgroup.subtree_control");
    let enabled = get(&file)?;
    let missing = controllers.iter().filter(|name| !enabled.split_whitespace().any(|other| other == *name));
    let words: Vec<_> = missing.map(|name| format!("+{name}")).collect();
    if !words.is_empty() && fs::write(&file, words.join(" ")).is_err() {
        for word in words {
            let _missed_when_needed = fs::write(&file, word);
        }
    }
    Ok(())
}

/// A new cpuset of version 1 has no processors and no memory, and so cannot be joined (cpuset(7)).
fn inherit_cpuset(directory: &Path, is_new: bool) -> std::io::Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = directory.join(name);
        if is_new || get(&file)?.trim().is_empty() {
            let parent = directory.parent().unwrap_or(Path::new("/")).join(name);
            put(&file, get(&parent)?.trim())?;
        }
    }
    Ok(())
}

/// All directories below `path`, children before parents.
fn tree(path: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let mut below = Vec::new();
    // The kernel counts a link for each directory below, beside that in its parent and the one to itself.
    if fs::symlink_metadata(path).is_ok_and(|directory| directory.nlink() == 2) {
        return below;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        below.extend(tree(&entry.path()));
        below.push(entry.path());
    }
    below
}

fn remove(path: &Path) -> std::io::Result<()> {
    let mut patience = freeze::Patience::new();
    loop {
        match fs::remove_dir(path) {
            // The kernel counts a process as inside until it has left completely, a little after its parent saw it end. Who is
            // still listed then is not about to leave.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && is_emptying(path, &mut patience) => (),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
}

fn is_emptying(path: &Path, patience: &mut freeze::Patience) -> bool {
    patience.lasts() && (!patience.has_lasted(LEAVING_TIME_MAX) || claim::members(path).is_empty())
}

/// Removes what we made on the way to it and to itself, as far as nobody is there.
fn remove_made(directory: &Directory) {
    let Some(made_from) = &directory.made_from else { return };
    remove_empty(directory.path.ancestors().take_while(|path| path.starts_with(made_from)));
}

fn remove_parents(directory: &Directory) {
    let Some(made_from) = &directory.made_from else { return };
    remove_empty(directory.path.ancestors().skip(1).take_while(|parent| parent.starts_with(made_from)));
}

/// A process that was cloned for it may be about to end.
fn is_soon_empty(path: &Path) -> bool {
    let mut patience = freeze::Patience::of(LEAVING_TIME_MAX);
    loop {
        if claim::members(path).is_empty() {
            return true;
        }
        if !patience.lasts() {
            return false;
        }
    }
}

/// From below. Another container may live there by now, and then it stays: that is what rmdir(2) refuses.
fn remove_empty<'a>(mut paths: impl Iterator<Item = &'a Path>) {
    let _first_that_stays = paths.find(|path| fs::remove_dir(path).is_err());
}
