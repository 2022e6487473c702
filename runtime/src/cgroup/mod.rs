//! The container's cgroup: made, joined, frozen, emptied, removed. Limits are in `limits`.
//!
//! A container has one directory, at the same path, in every hierarchy that has a wanted controller. On version 1 its first
//! process joins by writing `0` to `tasks` itself: it has one thread, and so the kernel skips the lock (and the RCU grace
//! period) that `cgroup.procs` costs. On version 2 it is born there (clone3(2), `CLONE_INTO_CGROUP`).

mod hierarchy;
mod limits;

use hierarchy::{Hierarchy, Version, detect};

use crate::error::{Acts, Error, On, Result};
use crate::steps;
use cgroups_rs::freezer::FreezerController;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often we look whether killed processes are gone, and for how long: 10 s is what a process stuck in the kernel's
/// disk path may take.
const EMPTY_POLL: Duration = Duration::from_millis(2);
const EMPTY_POLLS_MAX: u32 = 5_000;
/// A concurrent removal of a shared parent is followed by another try; more often than this it is no coincidence.
const CREATE_TRIES_MAX: u32 = 16;

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
}

impl Cgroup {
    /// Makes the directory `path` (relative) in every hierarchy.
    ///
    /// # Errors
    /// A directory cannot be made; those made before are removed again.
    pub(crate) fn create(acts: &Acts, path: &Path) -> Result<Self> {
        let mut cgroup = Self::default();
        for hierarchy in detect()? {
            let target = hierarchy.root.join(path);
            match acts.step_io(&steps::CGROUP_CREATE, target.display(), || make(&hierarchy, path)) {
                Ok(made_from) => cgroup.directories.push(Directory {
                    controllers: hierarchy.controllers,
                    unified: hierarchy.version == Version::Two,
                    path: target,
                    made_from,
                }),
                Err(error) => {
                    let _the_first_error_counts = cgroup.remove(acts);
                    return Err(error);
                }
            }
        }
        Ok(cgroup)
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
        Ok(Self { directories: there.filter(|directory| directory.path.is_dir()).collect() })
    }

    /// The directory with `controller`.
    pub(crate) fn directory(&self, controller: &str) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.controllers.iter().any(|name| name == controller))
    }

    /// Version 1: the files to write `0` to. The kernel asks for the opener's rights, not the writer's, so a container in a
    /// user namespace can join through them.
    ///
    /// # Errors
    /// A file cannot be opened.
    pub(crate) fn open_tasks(&self) -> Result<Vec<(PathBuf, File)>> {
        let of_version_1 = self.directories.iter().filter(|directory| !directory.unified);
        let files = of_version_1.map(|directory| directory.path.join("tasks"));
        files
            .map(|path| Ok((path.clone(), OpenOptions::new().write(true).open(&path).on("open", path.display())?)))
            .collect()
    }

    /// Version 2: the directory to be born in.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open_unified(&self) -> Result<Option<OwnedFd>> {
        let unified = self.directories.iter().find(|directory| directory.unified);
        unified
            .map(|directory| Ok(File::open(&directory.path).on("open", directory.path.display())?.into()))
            .transpose()
    }

    /// Every process in it and below it.
    ///
    /// # Errors
    /// A `cgroup.procs` cannot be read.
    pub(crate) fn processes(&self) -> Result<Vec<Pid>> {
        let Some(directory) = self.directory("freezer").or_else(|| self.directories.first()) else {
            return Ok(Vec::new());
        };
        let mut pids = Vec::new();
        for path in tree(&directory.path).into_iter().chain([directory.path.clone()]) {
            let path = path.join("cgroup.procs");
            match fs::read_to_string(&path) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => (),
                // A cgroup that was removed while its file was open answers ENODEV.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => (),
                Err(error) => return Err(error).on("read", path.display()),
            }
        }
        Ok(pids)
    }

    /// Sends `signal` to every process in it.
    ///
    /// # Errors
    /// The processes cannot be listed, or one cannot be signalled.
    pub(crate) fn signal(&self, acts: &Acts, signal: Signal) -> Result<()> {
        for pid in self.processes()? {
            acts.step(&steps::CGROUP_KILL, pid, || match kill(pid, signal) {
                Err(Errno::ESRCH) => Ok(()),
                result => result,
            })?;
        }
        Ok(())
    }

    /// Kills every process in it and waits until it is empty.
    ///
    /// # Errors
    /// Something survives.
    pub(crate) fn kill_all(&self, acts: &Acts) -> Result<()> {
        // Version 1 delivers not even SIGKILL to a frozen process.
        if self.is_frozen()? {
            self.set_frozen(acts, Frozen::No)?;
        }
        for _ in 0..EMPTY_POLLS_MAX {
            if self.processes()?.is_empty() {
                return Ok(());
            }
            self.signal(acts, Signal::SIGKILL)?;
            std::thread::sleep(EMPTY_POLL);
        }
        let left = self.processes()?;
        Err(Error::Said(format!("{} {left:?}: still alive after SIGKILL", steps::CGROUP_KILL.id)))
    }

    /// Whether its processes are stopped by the freezer.
    ///
    /// # Errors
    /// The freezer's file cannot be read.
    pub(crate) fn is_frozen(&self) -> Result<bool> {
        let Some(freezer) = self.freezer() else { return Ok(false) };
        let file = freezer.path.join(if freezer.unified { "cgroup.freeze" } else { "freezer.state" });
        match fs::read_to_string(&file) {
            Ok(text) => Ok(text.trim() != "0" && text.trim() != "THAWED"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).on("read", file.display()),
        }
    }

    /// Freezes or thaws its processes.
    ///
    /// # Errors
    /// There is no freezer, or it does not get there.
    pub(crate) fn set_frozen(&self, acts: &Acts, frozen: Frozen) -> Result<()> {
        let freezer = self.freezer().ok_or_else(|| Error::Said("cgroup.freeze: the host has no freezer".to_owned()))?;
        let control = FreezerController::new(freezer.path.clone(), freezer.unified);
        for _ in 0..EMPTY_POLLS_MAX {
            acts.step(&steps::CGROUP_FREEZE, freezer.path.display(), || {
                let result = if frozen == Frozen::Yes { control.freeze() } else { control.thaw() };
                result.map_err(|error| limits::errno(&error))
            })?;
            // Version 1 may stay FREEZING while a process is busy; writing again makes it try again.
            if freezer.unified || !is_freezing(&freezer.path)? {
                return Ok(());
            }
            std::thread::sleep(EMPTY_POLL);
        }
        Err(Error::Said(format!("cgroup.freeze {}: still FREEZING", freezer.path.display())))
    }

    fn freezer(&self) -> Option<&Directory> {
        self.directory("freezer").or_else(|| self.directories.iter().find(|directory| directory.unified))
    }

    /// Removes it with everything below it, and the empty parents that we made.
    ///
    /// # Errors
    /// A directory stays because something still lives in it. All others are removed nevertheless.
    pub(crate) fn remove(&self, acts: &Acts) -> Result<()> {
        let mut first_error = Ok(());
        for directory in &self.directories {
            let path = &directory.path;
            let removed = acts.step_io(&steps::CGROUP_REMOVE, path.display(), || {
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

/// Whether processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frozen {
    /// They stand still.
    Yes,
    /// They run.
    No,
}

fn is_freezing(path: &Path) -> Result<bool> {
    let file = path.join("freezer.state");
    Ok(fs::read_to_string(&file).on("read", file.display())?.trim() == "FREEZING")
}

/// Makes `path` below the hierarchy's root and returns the topmost directory that was missing.
fn make(hierarchy: &Hierarchy, path: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut made_from = None;
    for _ in 0..CREATE_TRIES_MAX {
        match make_once(hierarchy, path, &mut made_from) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (),
            result => return result.map(|()| made_from),
        }
    }
    Err(Errno::ENOENT.into())
}

fn make_once(hierarchy: &Hierarchy, path: &Path, made_from: &mut Option<PathBuf>) -> std::io::Result<()> {
    let mut here = hierarchy.root.clone();
    for name in path {
        if hierarchy.version == Version::Two {
            enable(&here, &hierarchy.controllers)?;
        }
        here.push(name);
        match fs::create_dir(&here) {
            Ok(()) => {
                made_from.get_or_insert_with(|| here.clone());
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error),
        }
        if hierarchy.controllers.iter().any(|name| name == "cpuset") && hierarchy.version == Version::One {
            inherit_cpuset(&here)?;
        }
    }
    Ok(())
}

/// Version 2 gives children only the controllers that `cgroup.subtree_control` lists.
fn enable(parent: &Path, controllers: &[String]) -> std::io::Result<()> {
    let file = parent.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file)?;
    let missing = controllers.iter().filter(|name| !enabled.split_whitespace().any(|other| other == *name));
    let words: Vec<_> = missing.map(|name| format!("+{name}")).collect();
    if words.is_empty() { Ok(()) } else { fs::write(&file, words.join(" ")) }
}

/// A new cpuset of version 1 has no processors and no memory, and so cannot be joined (cpuset(7)).
fn inherit_cpuset(directory: &Path) -> std::io::Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = directory.join(name);
        if fs::read_to_string(&file)?.trim().is_empty() {
            let parent = directory.parent().unwrap_or(Path::new("/")).join(name);
            fs::write(&file, fs::read_to_string(parent)?.trim())?;
        }
    }
    Ok(())
}

/// All directories below `path`, children before parents.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut below = Vec::new();
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        below.extend(tree(&entry.path()));
        below.push(entry.path());
    }
    below
}

fn remove(path: &Path) -> std::io::Result<()> {
    for _ in 0..EMPTY_POLLS_MAX {
        match fs::remove_dir(path) {
            // The kernel counts a process as inside until it has left completely, a little after its parent saw it end.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(EMPTY_POLL),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
    Err(Errno::EBUSY.into())
}

fn remove_parents(directory: &Directory) {
    let Some(made_from) = &directory.made_from else { return };
    for parent in directory.path.ancestors().skip(1).take_while(|parent| parent.starts_with(made_from)) {
        // Another container may live there by now, and then it stays: that is what rmdir(2) refuses.
        if fs::remove_dir(parent).is_err() {
            break;
        }
    }
}
