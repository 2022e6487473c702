//! Notices that a container ran out of memory.
//!
//! Version 1 signals an eventfd that `cgroup.event_control` was told of (kernel admin-guide/cgroup-v1/memory, "OOM
//! Control"). On version 2 a change of `memory.events` wakes who polls it, and the file counts.

use super::{Cgroup, Directory, stats};
use crate::error::{Acts, On, Result};
use crate::steps;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

/// What a look at a [`Watch`] showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It ran out of memory since the last look.
    OutOfMemory,
    /// Something else changed.
    Nothing,
    /// The group is gone.
    Gone,
}

/// A place to wait for it.
#[derive(Debug)]
pub(crate) enum Watch {
    /// The eventfd, and a file whose absence shows that the group is gone.
    One(EventFd, PathBuf),
    /// `memory.events` and the kills it counted so far.
    Two(File, u64),
}

impl Cgroup {
    /// Everything it has used.
    pub(crate) fn stats(&self) -> serde_json::Value {
        stats::stats(self)
    }

    /// Starts to watch; `None` when nothing counts its memory.
    ///
    /// # Errors
    /// The kernel's files cannot be opened.
    pub(crate) fn watch(&self, acts: &Acts) -> Result<Option<Watch>> {
        let Some(memory) = self.directory("memory") else { return Ok(None) };
        let watch = if memory.unified { events(memory) } else { register(acts, memory) };
        watch.map(Some)
    }
}

fn events(memory: &Directory) -> Result<Watch> {
    let path = memory.path.join("memory.events");
    let mut file = File::open(&path).on("open", path.display())?;
    let count = kills(&mut file).on("read", path.display())?;
    Ok(Watch::Two(file, count))
}

fn register(acts: &Acts, memory: &Directory) -> Result<Watch> {
    let path = memory.path.join("memory.oom_control");
    let control = File::open(&path).on("open", path.display())?;
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let eventfd = EventFd::from_value_and_flags(0, flags).on("open", "eventfd")?;
    let line = format!("{} {}", eventfd.as_fd().as_raw_fd(), control.as_raw_fd());
    let registry = memory.path.join("cgroup.event_control");
    acts.step_io(&steps::CGROUP_WATCH, registry.display(), || std::fs::write(&registry, line))?;
    Ok(Watch::One(eventfd, path))
}

fn kills(file: &mut File) -> std::io::Result<u64> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(stats::keyed(&text, "oom_kill"))
}

impl Watch {
    /// What to poll, and for what.
    pub(crate) fn polled(&self) -> (BorrowedFd<'_>, PollFlags) {
        match self {
            Self::One(eventfd, _) => (eventfd.as_fd(), PollFlags::POLLIN),
            Self::Two(events, _) => (events.as_fd(), PollFlags::POLLPRI),
        }
    }

    /// Looks at what woke us.
    ///
    /// # Errors
    /// The kernel's answer cannot be read.
    pub(crate) fn look(&mut self) -> Result<Seen> {
        match self {
            Self::One(eventfd, path) => match eventfd.read() {
                // The kernel signals the removal of a group as well.
                Ok(_) => Ok(if path.exists() { Seen::OutOfMemory } else { Seen::Gone }),
                Err(Errno::EAGAIN) => Ok(if path.exists() { Seen::Nothing } else { Seen::Gone }),
                Err(errno) => Err(errno).on("read", "eventfd"),
            },
            Self::Two(events, before) => match kills(events) {
                Ok(count) if count > *before => {
                    *before = count;
                    Ok(Seen::OutOfMemory)
                }
                Ok(_) => Ok(Seen::Nothing),
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Seen::Gone),
                Err(error) => Err(error).on("read", "memory.events"),
            },
        }
    }
}
