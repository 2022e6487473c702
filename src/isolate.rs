//! A node in a box: network and mount namespaces of its own, so that nothing is added to the host's.
//!
//! ```text
//!  skiff up --isolated ──spawns──► skiff hold        lives in the new namespaces and does nothing else:
//!        │                            │              they last as long as it does, also when `up` is killed
//!        └────────── setns ───────────┘
//! ```
//!
//! The API's socket is opened before the box is entered: a socket belongs to the network namespace it was made in, so the
//! host's loopback leads to the API server inside. Nothing is mounted for the box on the host; ending the holder (and the
//! pods) is all there is to clean up.
//!
//! All this happens while the process has one thread: setns(2) refuses a mount namespace to a process that shares its
//! root and working folder between threads.

use crate::exit::sentence;
use crate::folders::Folders;
use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which process holds a box open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pid: i32,
    /// From /proc/PID/stat, field 22: tells this process from a later one with the same number.
    start_ticks: u64,
}

impl Holder {
    /// The holder of this node's box, if it is alive.
    pub(crate) fn find(folders: &Folders) -> Option<Self> {
        let text = std::fs::read(record(&folders.run)).ok()?;
        let holder: Self = serde_json::from_slice(&text).ok()?;
        (start_ticks(holder.pid) == Some(holder.start_ticks)).then_some(holder)
    }

    fn spawn(folders: &Folders) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program's file")?;
        let mut child = Command::new(program)
            .arg("hold")
            .arg(&folders.run)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start the process that holds the box")?;
        let mut word = String::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_string(&mut word).context("wait for the box")?;
        }
        if word != READY {
            let mut why = String::new();
            if let Some(mut pipe) = child.stderr.take() {
                pipe.read_to_string(&mut why).context("wait for the box")?;
            }
            bail!("make network and mount namespaces: {}", why.trim());
        }
        Self::find(folders).context("the box ended at once")
    }

    /// This process, written down for [`Holder::find`].
    fn record_self(run: &Path) -> anyhow::Result<()> {
        let pid = nix::unistd::getpid().as_raw();
        let holder = Self { pid, start_ticks: start_ticks(pid).context("read /proc/self/stat")? };
        let text = serde_json::to_vec(&holder).context("describe the box")?;
        std::fs::write(record(run), text).with_context(|| format!("write {}", record(run).display()))
    }

    /// Makes this process, which must have one thread, a member of the box.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        if self.is_entered() {
            return Ok(());
        }
        // Both are opened before either is entered: /proc/PID might look different from inside.
        let namespace = |name: &str| {
            let path = PathBuf::from(format!("/proc/{}/ns/{name}", self.pid));
            File::open(&path).with_context(|| format!("open {}", path.display()))
        };
        let (net, mnt) = (namespace("net")?, namespace("mnt")?);
        let here = std::env::current_dir();
        setns(net, CloneFlags::CLONE_NEWNET).context("enter the box's network namespace")?;
        setns(mnt, CloneFlags::CLONE_NEWNS).context("enter the box's mount namespace")?;
        // setns(2) puts us at the root of the new mount namespace; relative paths should go on meaning the same.
        if let Ok(here) = here {
            std::env::set_current_dir(here).context("return to the working folder")?;
        }
        Ok(())
    }

    /// The box's network namespace.
    pub(crate) fn network(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid))
    }

    /// Whether this process lives in the box already.
    fn is_entered(&self) -> bool {
        let namespace = |whose: &str, name: &str| std::fs::read_link(format!("/proc/{whose}/ns/{name}")).ok();
        let holder = self.pid.to_string();
        ["net", "mnt"].iter().all(|name| namespace("self", name) == namespace(&holder, name))
    }

    /// Ends the box. Its namespaces go when the last process in them does.
    pub(crate) fn end(&self, folders: &Folders) -> anyhow::Result<()> {
        if start_ticks(self.pid) == Some(self.start_ticks) {
            let pid = nix::unistd::Pid::from_raw(self.pid);
            nix::sys::signal::kill(pid, Signal::SIGKILL).context("end the box")?;
        }
        match std::fs::remove_file(record(&folders.run)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("forget the box"),
            _ => Ok(()),
        }
    }
}

const READY: &str = "ready\n";

fn record(run: &Path) -> PathBuf {
    run.join("box.json")
}

/// Enters this node's box, making it first if there is none; returns what ends a new box again if the start fails.
pub(crate) fn enter(folders: &Folders) -> anyhow::Result<NewBox> {
    if let Some(holder) = Holder::find(folders) {
        holder.enter()?;
        return Ok(NewBox { made: None, folders: folders.clone() });
    }
    let new = NewBox { made: Some(Holder::spawn(folders)?), folders: folders.clone() };
    if let Some(holder) = &new.made {
        holder.enter()?;
    }
    Ok(new)
}

/// A box that was just made, or nothing if it was found. Dropped without being kept: the box ends.
#[must_use]
pub(crate) struct NewBox {
    made: Option<Holder>,
    folders: Folders,
}

impl NewBox {
    /// The node is up: the box stays.
    pub(crate) fn keep(mut self) {
        self.made = None;
    }
}

impl Drop for NewBox {
    fn drop(&mut self) {
        if let Some(holder) = &self.made
            && let Err(error) = holder.end(&self.folders)
        {
            tracing::warn!(error = sentence(&error), "the box stays");
        }
    }
}

/// The program `skiff hold`: makes the namespaces, says so, and lives until it is killed.
pub(crate) fn hold(run: &Path) -> anyhow::Result<()> {
    // A Ctrl-C at the terminal must reach `up` alone: pods are stopped before their network goes.
    nix::unistd::setsid().context("leave the terminal's session")?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("unshare(2)")?;
    // Mounts made in the box must not appear on the host.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|errno| match errno {
            // mount(2): the target is no mount point.
            Errno::EINVAL => anyhow::anyhow!(
                "/ is not a mount point here, as in a chroot, so that mounts cannot be made private; start the node outside, or \
                 enter the folder with pivot_root"
            ),
            other => anyhow::Error::new(other).context("make mounts private"),
        })?;
    // Written before the word: if `up` is killed before it has read that, the next `up` or `down` finds this box. If it
    // is dead already, the word finds no reader, and the box ends here.
    Holder::record_self(run)?;
    let mut out = std::io::stdout();
    out.write_all(READY.as_bytes()).and_then(|()| out.flush()).context("report to the node")?;
    release_standard_streams()?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("block SIGTERM")?;
    signals.wait().context("wait for SIGTERM")?;
    Ok(())
}

/// Whoever reads our output waits for its end.
fn release_standard_streams() -> anyhow::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    nix::unistd::dup2_stdout(&null).context("close stdout")?;
    nix::unistd::dup2_stderr(&null).context("close stderr")
}

/// When the process started, in clock ticks since boot (proc_pid_stat(5), field 22).
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let state = rest.split_whitespace().next()?;
    (state != "Z").then(|| rest.split_whitespace().nth(19)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_start_time_and_a_dead_one_has_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_ticks(own).is_some());
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert_eq!(start_ticks(pid), None);
    }
}
