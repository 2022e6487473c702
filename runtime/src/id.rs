//! Container ids and process identity.

use crate::error::{Error, On, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest id: with a suffix it must still be one file name (255 bytes, path_resolution(7)).
const ID_BYTES_MAX: usize = 253;

/// How long a killed process may take to end: what one stuck in the kernel's disk path may take.
pub(crate) const ENDING_TIME_MAX: Duration = Duration::from_secs(10);

/// A checked container id: safe as one component of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ContainerId(String);

impl ContainerId {
    /// Checks `^[A-Za-z0-9][A-Za-z0-9_.+-]*$`, at most 253 bytes.
    ///
    /// # Errors
    /// It does not match.
    pub(crate) fn check(text: &str) -> Result<Self> {
        if text.len() > ID_BYTES_MAX {
            let reason = format!("is {} bytes long, and may have {ID_BYTES_MAX}: it becomes a file's name", text.len());
            return Err(Error::Usage(format!("container id `{}`: {reason}", text.escape_debug())));
        }
        let mut bytes = text.bytes();
        let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let goes_on_well = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte));
        if starts_well && goes_on_well {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::Usage(format!(
                "container id `{}`: not of the form [A-Za-z0-9][A-Za-z0-9_.+-]*",
                text.escape_debug()
            )))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// Its number in the host's pid namespace.
    pub(crate) pid: i32,
    /// Clock ticks after boot at which it began (proc_pid_stat(5), field 22).
    pub(crate) start_ticks: u64,
}

impl ProcessId {
    /// Identifies the running process `pid`.
    ///
    /// # Errors
    /// It does not exist.
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let Stat { start_ticks, .. } = stat(pid).ok_or(Errno::ESRCH).on("identify process", pid)?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether it still runs; a zombie does not.
    pub(crate) fn is_alive(self) -> bool {
        self.stat().is_some_and(|stat| stat.state != 'Z' && stat.state != 'X')
    }

    /// Whether it has ended or is about to: the first process of a pid namespace stays until all others there have gone, whom its end kills.
    pub(crate) fn is_ending(self) -> bool {
        self.stat().is_none_or(|stat| stat.flags & PF_EXITING != 0)
    }

    fn stat(self) -> Option<Stat> {
        stat(self.pid).filter(|stat| stat.start_ticks == self.start_ticks)
    }

    /// Its descriptor, if it still runs: whatever is done through it is done to this process.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub(crate) fn open(self) -> Result<Option<OwnedFd>> {
        match skiff_sys::pidfd::open(self.pid) {
            // Checked after opening: the descriptor holds the process, so the number cannot change hands any more.
            Ok(pidfd) => Ok(self.is_alive().then_some(pidfd)),
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(errno).on("open process", self.pid),
        }
    }

    /// Kills it and waits until it has ended, with all processes of its pid namespace if it is the first of one
    /// (pid_namespaces(7)); whether it was alive.
    ///
    /// # Errors
    /// It survives for longer than `patience`; descriptors have run out.
    pub(crate) fn kill(self, thaw: impl FnOnce() -> Result<()>, patience: Duration) -> Result<bool> {
        let Some(pidfd) = self.open()? else { return Ok(false) };
        match skiff_sys::pidfd::kill(pidfd.as_fd()) {
            Ok(()) | Err(Errno::ESRCH) => (),
            Err(errno) => return Err(errno).on("kill", self.pid),
        }
        thaw()?;
        let begun = Instant::now();
        while self.is_alive() {
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(Error::Said(format!("process {}: still alive after SIGKILL", self.pid)));
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(Errno::EINTR) => (),
                Err(errno) => return Err(errno).on("wait for", self.pid),
            }
        }
        Ok(true)
    }

    /// Sends a signal; whether there was a process to receive it.
    ///
    /// # Errors
    /// The number is no signal.
    pub(crate) fn signal(self, signal: i32) -> Result<bool> {
        let Some(pidfd) = self.open()? else { return Ok(false) };
        match skiff_sys::pidfd::send(pidfd.as_fd(), signal) {
            Ok(()) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(errno) => Err(errno).on("signal", format!("{} with {signal}", self.pid)),
        }
    }
}

/// The kernel's flag of a process that ends (include/linux/sched.h).
const PF_EXITING: u64 = 0x4;

/// What is read of proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    flags: u64,
    start_ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&crate::kernfs::get(Path::new(&format!("/proc/{pid}/stat"))).ok()?)
}

/// The name in parentheses may hold spaces and parentheses itself, so fields count from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let flags = fields.nth(5)?.parse().ok()?;
    Some(Stat { state, flags, start_ticks: fields.nth(12)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_file_names_and_nothing_else() {
        for good in ["a", "web-1", "A_b.c+d", &"x".repeat(253)] {
            assert!(ContainerId::check(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-x", "a/b", "a b", "\u{e9}", "a\0", &"x".repeat(254)] {
            assert!(ContainerId::check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_process_knows_itself_and_no_impostor() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive() && me.open().unwrap().is_some());
        let impostor = ProcessId { start_ticks: me.start_ticks + 1, ..me };
        assert!(!impostor.is_alive() && impostor.open().unwrap().is_none());
        assert!(!impostor.signal(0).unwrap());
    }

    proptest! {
        #[test]
        fn a_hostile_process_name_does_not_move_the_fields(name in "[ ()a-z0-9]{0,15}") {
            let text = format!("7 ({name}) S 1 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 4711 99 0");
            prop_assert_eq!(parse_stat(&text), Some(Stat { state: 'S', flags: 4, start_ticks: 4711 }));
        }
    }
}
