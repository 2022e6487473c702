//! The pod's namespaces: the supervisor moves into new ones, and keeps them by being there.

use crate::options::{Options, Sharing};
use crate::users::Users;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};
use std::fs::File;
use std::io;
use std::process::{Command, ExitCode, Stdio};

/// The argument that makes `skiff-oci supervise` the first process of a pod's shared pid namespace.
pub(crate) const PAUSE: &str = "--pause";

/// Moves this process into the pod's own namespaces and names the host; the pod's users, if it has its own.
pub(crate) fn enter(options: &Options) -> io::Result<Option<Users>> {
    let own = [
        (options.network, CloneFlags::CLONE_NEWNET),
        (options.ipc, CloneFlags::CLONE_NEWIPC),
        (options.uts, CloneFlags::CLONE_NEWUTS),
    ];
    let flags =
        own.iter().filter(|(sharing, _)| *sharing == Sharing::Pod).fold(CloneFlags::empty(), |all, own| all | own.1);
    let users = match &options.users {
        Some(maps) => Some(Users::enter(maps, flags)?),
        None => {
            unshare(flags)?;
            None
        }
    };
    if let (Some(name), Sharing::Pod) = (&options.hostname, options.uts) {
        sethostname(name)?;
    }
    Ok(users)
}

/// Starts the first process of a new pid namespace, which containers may then join.
///
/// unshare(2) moves only later children, so our own view stays; afterwards we point back at our own namespace, or every
/// run of the OCI runtime would happen inside the pod's.
pub(crate) fn start_pause() -> io::Result<i32> {
    let own = File::open("/proc/self/ns/pid")?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    let child = Command::new("/proc/self/exe")
        .args(["supervise", PAUSE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    setns(own, CloneFlags::CLONE_NEWPID)?;
    Ok(i32::try_from(child?.id()).unwrap_or(i32::MAX))
}

/// The first process of a shared pid namespace: inherits orphans, reaps them, and sleeps.
pub(crate) fn pause() -> ExitCode {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    // A first process ignores what it does not handle (pid_namespaces(7)), so only SIGKILL from outside ends it.
    if children.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        if children.wait().is_err() {
            return ExitCode::FAILURE;
        }
        while matches!(waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
        {
        }
    }
}
