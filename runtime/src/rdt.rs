//! The container's class of cache and memory bandwidth, in a resctrl filesystem: found, made, joined, changed, removed.
//!
//! ```text
//! ROOT/CLASS/schemata              what its members get of each cache and each memory controller
//! ROOT/CLASS/tasks                 its members: a pid written here moves one thread, and its children are born here
//! ROOT/CLASS/mon_groups/ID/tasks   those of its members that are counted apart
//! ROOT/info/last_cmd_status        why the kernel refused the last thing it was told
//! ```
//!
//! A class that has the container's own name ends with the container. One that was named by the engine stays, also when we
//! made it: others may be in it, and removing it would move them. What to do is decided in [`plan`].

mod plan;

use crate::error::{Acts, Error, On, Result};
use crate::kernfs::put;
use crate::spec::{Class, Rdt};
use crate::steps;
use plan::{Places, plan};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How directories come and go, which in a resctrl filesystem also makes and removes the files in them.
pub(crate) trait Directories {
    /// Makes a class or a place to count.
    fn make(&self, path: &Path) -> io::Result<()>;
    /// Removes it; its members go back to where they were taken from.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The kernel's.
pub(crate) struct Kernel;

impl Directories for Kernel {
    fn make(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}

/// Where a container is, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    root: PathBuf,
    class: PathBuf,
    /// Whether the class was made for this container.
    is_made: bool,
    /// Whether it is this container's alone.
    is_own: bool,
    monitor: Option<PathBuf>,
}

/// Where this host has a resctrl filesystem.
///
/// # Errors
/// Nowhere.
pub(crate) fn find() -> Result<PathBuf> {
    let path = "/proc/self/mountinfo";
    let mountinfo = fs::read_to_string(path).on("read", path)?;
    let absent = || Error::refused("linux.intelRdt", "no resctrl filesystem is mounted here");
    parse(&mountinfo).ok_or_else(absent)
}

/// The first mount of a whole resctrl filesystem in `mountinfo` (proc(5)).
fn parse(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, superblock) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        (superblock.split(' ').next() == Some("resctrl") && root == "/").then(|| PathBuf::from(at))
    })
}

impl Membership {
    /// Makes what `rdt` asks for in the filesystem at `root`, for the container `id`. Undoes it all when it fails.
    ///
    /// # Errors
    /// The class is not what was asked for, or the kernel refuses; by field path.
    pub(crate) fn create(acts: &Acts, root: &Path, kernel: &impl Directories, id: &str, rdt: &Rdt) -> Result<Self> {
        let plan = plan(rdt, id, root, |class| fs::read_to_string(class.join("schemata")).ok())?;
        let mut made = Self {
            root: root.to_owned(),
            class: plan.places.class,
            is_made: plan.makes,
            is_own: rdt.class == Class::Own,
            monitor: None,
        };
        if made.is_made {
            acts.step_io(&steps::RDT_CLASS, made.class.display(), || kernel.make(&made.class))
                .map_err(|error| made.explained(error))?;
        }
        let monitored = made.write(acts, &plan.schemata).and_then(|()| match plan.places.monitor {
            None => Ok(()),
            Some(monitor) => {
                acts.step_io(&steps::RDT_MONITOR, monitor.display(), || kernel.make(&monitor))
                    .map_err(|error| made.explained(error))?;
                made.monitor = Some(monitor);
                Ok(())
            }
        });
        if let Err(error) = monitored {
            let _the_first_error_counts = made.undo(acts, kernel);
            return Err(error);
        }
        Ok(made)
    }

    /// What a killed creation of the container `id` may have left, to be removed.
    pub(crate) fn left(root: &Path, id: &str, rdt: &Rdt) -> Self {
        let Places { class, monitor } = Places::of(rdt, id, root);
        Self { root: root.to_owned(), class, is_made: false, is_own: rdt.class == Class::Own, monitor }
    }

    /// Moves the process, which has one thread, into it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn join(&self, acts: &Acts, pid: i32) -> Result<()> {
        // Counted are only members of the class.
        for place in [Some(&self.class), self.monitor.as_ref()].into_iter().flatten() {
            let tasks = place.join("tasks");
            acts.step_io(&steps::RDT_JOIN, tasks.display(), || put(&tasks, &pid.to_string()))
                .map_err(|error| self.explained(error))?;
        }
        Ok(())
    }

    /// Gives the class something else, with all who are in it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn write(&self, acts: &Acts, schemata: &[String]) -> Result<()> {
        if schemata.is_empty() {
            return Ok(());
        }
        let file = self.class.join("schemata");
        let text: String = schemata.iter().map(|line| format!("{line}\n")).collect();
        let operand = format!("{} at {}", schemata.join(", "), file.display());
        acts.step_io(&steps::RDT_SCHEMA, operand, || put(&file, &text)).map_err(|error| self.explained(error))
    }

    /// Removes what is this container's alone.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn remove(&self, acts: &Acts, kernel: &impl Directories) -> Result<()> {
        let class = self.is_own.then_some(&self.class);
        self.monitor.iter().chain(class).try_for_each(|path| {
            acts.step_io(&steps::RDT_REMOVE, path.display(), || match kernel.remove(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            })
        })
    }

    /// Removes what a creation that failed has made. A named class that somebody else has joined since stays.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn undo(&self, acts: &Acts, kernel: &impl Directories) -> Result<()> {
        let is_empty = || fs::read_to_string(self.class.join("tasks")).is_ok_and(|tasks| tasks.trim().is_empty());
        let is_ours = self.is_made && (self.is_own || is_empty());
        Self { is_own: is_ours, ..self.clone() }.remove(acts, kernel)
    }

    /// The error with the kernel's own words about it.
    fn explained(&self, error: Error) -> Error {
        match fs::read_to_string(self.root.join("info/last_cmd_status")) {
            Ok(words) if error.errno().is_some() && !matches!(words.trim(), "" | "ok") => {
                Error::Said(format!("{error} ({})", words.trim()))
            }
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests;
