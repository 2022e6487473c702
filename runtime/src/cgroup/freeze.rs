//! Stopping all processes of a container where they are, and ending them.
//!
//! Version 1 has `freezer.state`, which may stay at FREEZING while processes appear, and frozen processes there do not even
//! notice SIGKILL. Version 2 has `cgroup.freeze`, which gets there by itself and tells when, and `cgroup.kill`.

use super::{Cgroup, Directory, tree};
use crate::error::{Acts, Error, On, Result};
use crate::kernfs::get;
use crate::steps;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long processes may take to stop or to end: what one stuck in the kernel's disk path may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long we sleep between looks: from what an exit takes to what nobody notices.
const POLL_MIN: Duration = Duration::from_micros(100);
const POLL_MAX: Duration = Duration::from_millis(2);
/// So often processes are killed while they run; after that something in there forks faster than we look, and the rest is
/// frozen first.
const KILL_ROUNDS_RUNNING: u32 = 20;
/// Processes that appear while version 1 freezes can keep it from getting there; letting all go for a moment helps.
const FREEZE_TRIES_UNTIL_THAW: u32 = 50;

/// Whether processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frozen {
    /// They stand still.
    Yes,
    /// They run.
    No,
}

/// Waits in growing steps, until a time is over.
pub(super) struct Patience {
    begun: Instant,
    next: Duration,
    whole: Duration,
}

impl Patience {
    /// For [`PATIENCE`].
    pub(super) fn new() -> Self {
        Self::of(PATIENCE)
    }

    /// For `whole`.
    pub(super) fn of(whole: Duration) -> Self {
        Self { begun: Instant::now(), next: POLL_MIN, whole }
    }

    /// Whether there was still time, which has been slept.
    pub(super) fn lasts(&mut self) -> bool {
        std::thread::sleep(self.next);
        self.next = (self.next * 2).min(POLL_MAX);
        self.begun.elapsed() < self.whole
    }

    /// Whether `time` has passed.
    pub(super) fn has_lasted(&self, time: Duration) -> bool {
        self.begun.elapsed() >= time
    }
}

impl Cgroup {
    /// Every process in it and below it.
    ///
    /// # Errors
    /// A `cgroup.procs` cannot be read.
    pub(crate) fn processes(&self) -> Result<Vec<Pid>> {
        let Some(directory) = self.freezer().or_else(|| self.directories.first()) else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        for path in tree(&directory.path).into_iter().chain([directory.path.clone()]) {
            let path = path.join("cgroup.procs");
            match get(&path) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw)),
                // A cgroup that was removed while its file was open answers ENODEV, and a threaded one EOPNOTSUPP: its
                // processes are in the one above.
                Err(error) if is_gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => (),
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
        let mut patience = Patience::new();
        for round in 0.. {
            if self.processes()?.is_empty() {
                return Ok(());
            }
            self.kill_round(acts, round)?;
            if !patience.lasts() {
                break;
            }
        }
        let left = self.processes()?;
        Err(Error::Said(format!("{} {left:?}: still alive after SIGKILL", steps::CGROUP_KILL.id)))
    }

    fn kill_round(&self, acts: &Acts, round: u32) -> Result<()> {
        if let Some(freezer) = self.freezer().filter(|freezer| freezer.unified) {
            let path = freezer.path.join("cgroup.kill");
            match acts.step_io(&steps::CGROUP_KILL, path.display(), || fs::write(&path, "1")) {
                // Before Linux 5.14; SIGKILL reaches frozen processes of version 2.
                Err(error) if error.errno() == Some(Errno::ENOENT) => (),
                result => return result,
            }
        } else if round >= KILL_ROUNDS_RUNNING && self.freezer().is_some() {
            self.set_frozen(acts, Frozen::Yes)?;
        }
        let signalled = self.signal(acts, Signal::SIGKILL);
        if self.is_frozen()? {
            self.set_frozen(acts, Frozen::No)?;
        }
        signalled
    }

    /// Whether its processes are stopped by the freezer: its own, or that of a group above it.
    ///
    /// # Errors
    /// The freezer's file cannot be read.
    pub(crate) fn is_frozen(&self) -> Result<bool> {
        let Some(freezer) = self.freezer() else { return Ok(false) };
        let shows = |file: &str, is_frozen: fn(&str) -> bool| {
            let file = freezer.path.join(file);
            match get(&file) {
                Ok(text) => Ok(is_frozen(text.trim())),
                Err(error) if is_gone(&error) => Ok(false),
                Err(error) => Err(error).on("read", file.display()),
            }
        };
        // Version 1 shows at once what holds; version 2 apart what was asked of this group and what has come true.
        match freezer.unified {
            false => shows("freezer.state", |text| text != "THAWED"),
            true => Ok(shows("cgroup.freeze", |text| text != "0")?
                || shows("cgroup.events", |text| text.lines().any(|line| line == "frozen 1"))?),
        }
    }

    /// Freezes or thaws its processes; those that were to freeze and cannot run on as before.
    ///
    /// # Errors
    /// There is no freezer, or it does not get there.
    pub(crate) fn set_frozen(&self, acts: &Acts, frozen: Frozen) -> Result<()> {
        let freezer = self.freezer().ok_or_else(|| Error::Said("cgroup.freeze: the host has no freezer".to_owned()))?;
        if !freezer.path.is_dir() {
            let text = format!("cgroup.freeze: the container's cgroup {} is gone", freezer.path.display());
            return Err(Error::Said(text));
        }
        let done = match (freezer.unified, frozen) {
            (false, Frozen::No) => set_state(acts, freezer, "THAWED"),
            (false, Frozen::Yes) => freeze_1(acts, freezer),
            (true, Frozen::No) => set_freeze(acts, freezer, "0"),
            (true, Frozen::Yes) => set_freeze(acts, freezer, "1").and_then(|()| await_frozen(&freezer.path)),
        };
        if done.is_err() && frozen == Frozen::Yes {
            let _the_first_error_counts = self.set_frozen(acts, Frozen::No);
        }
        done
    }

    /// Version 2 freezes without a controller.
    pub(super) fn freezer(&self) -> Option<&Directory> {
        self.directory("freezer").or_else(|| self.unified())
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn set_state(acts: &Acts, freezer: &Directory, state: &str) -> Result<()> {
    let path = freezer.path.join("freezer.state");
    acts.step_io(&steps::CGROUP_FREEZE, format!("{state} to {}", path.display()), || fs::write(&path, state))
}

fn set_freeze(acts: &Acts, freezer: &Directory, value: &str) -> Result<()> {
    let path = freezer.path.join("cgroup.freeze");
    acts.step_io(&steps::CGROUP_FREEZE, format!("{value} to {}", path.display()), || fs::write(&path, value))
}

/// Version 1 does not tell when it gets there, and may need to be asked again.
fn freeze_1(acts: &Acts, freezer: &Directory) -> Result<()> {
    let file = freezer.path.join("freezer.state");
    let mut patience = Patience::new();
    for round in 1.. {
        set_state(acts, freezer, "FROZEN")?;
        if get(&file).on("read", file.display())?.trim() != "FREEZING" {
            return Ok(());
        }
        if round % FREEZE_TRIES_UNTIL_THAW == 0 {
            set_state(acts, freezer, "THAWED")?;
        }
        if !patience.lasts() {
            break;
        }
    }
    Err(Error::Said(format!("cgroup.freeze {}: still FREEZING", freezer.path.display())))
}

/// `cgroup.events` wakes who polls it for priority data (kernel admin-guide/cgroup-v2).
fn await_frozen(path: &Path) -> Result<()> {
    let path = path.join("cgroup.events");
    let mut events = File::open(&path).on("open", path.display())?;
    let begun = Instant::now();
    loop {
        let mut text = String::new();
        events.rewind().on("read", path.display())?;
        events.read_to_string(&mut text).on("read", path.display())?;
        if text.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(Error::Said(format!("cgroup.freeze {}: still not frozen", path.display())));
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(Errno::EINTR) => (),
            Err(errno) => return Err(errno).on("wait for", path.display()),
        }
    }
}
