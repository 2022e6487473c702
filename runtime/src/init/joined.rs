//! A further process in a running container (`exec`).

use super::handshake::{ChildEnd, FromChild, FromParent, ParentEnd, pair};
use super::listener::Handover;
use super::parent::{clone_one, equip, in_pid_namespace, write_pid_file};
use super::payload::Payload;
use super::{child, terminal};
use crate::error::{Acts, Error, On, Result};
use crate::plan::Rights;
use crate::seccomp::{Agent, Filter};
use crate::spec::{KINDS, Process};
use crate::state::Container;
use crate::{rootfs, steps};
use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, setsid};
use skiff_sys::inroot::InRoot;
use skiff_sys::process::{Born, Cloned, Kin, exit_now};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// What `exec` was asked for.
#[derive(Debug)]
pub(crate) struct Joining<'a> {
    pub(crate) acts: &'a Acts,
    pub(crate) container: &'a Container,
    pub(crate) process: &'a Process,
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) console: Option<UnixStream>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) preserve_fds: u32,
}

/// What the child needs and could not reach itself.
struct Luggage<'a> {
    joining: &'a Joining<'a>,
    /// The container's first process, whose namespaces are entered.
    leader: OwnedFd,
    kinds: libc::c_int,
    /// The container's root, which no namespace leads to where the container has no mount namespace.
    root: Option<OwnedFd>,
    tasks: Vec<(PathBuf, File)>,
    handover: Option<Handover>,
}

/// Starts the process; it runs when this returns.
///
/// # Errors
/// The container does not run, or the program cannot be executed.
pub(crate) fn join(joining: &Joining<'_>) -> Result<Born> {
    let record = &joining.container.record;
    let leader = record.process.open()?;
    let leader = leader.ok_or_else(|| Error::Said(format!("cannot exec in a stopped container: {}", record.id)))?;
    let kinds = foreign_kinds(record.process.pid)?;
    let root = if record.shares_mounts { Some(root_of(&leader, record.process.pid)?) } else { None };
    let unified = record.cgroup.open_unified()?;
    let handover = Handover::prepare(agent(joining))?;
    let luggage = Luggage { joining, leader, kinds, root, tasks: record.cgroup.open_tasks()?, handover };
    let (parent_end, child_end) = pair()?;
    let is_relayed = Rights::own() == Rights::Ordinary && kinds & libc::CLONE_NEWUSER != 0;
    let cloned = if is_relayed {
        clone_by_relay(&luggage, &child_end)?
    } else {
        let pid = (kinds & libc::CLONE_NEWPID != 0).then_some(&luggage.leader);
        let clone = || clone_one(joining.acts, 0, unified.as_ref().map(AsFd::as_fd), Kin::Child);
        in_pid_namespace(joining.acts, pid, clone)?
    };
    let born = match cloned {
        Cloned::Child => {
            drop(parent_end);
            let left = if is_relayed { libc::CLONE_NEWNS } else { !libc::CLONE_NEWPID };
            run(&Luggage { kinds: kinds & left, ..luggage }, &child_end)
        }
        Cloned::Parent(born) => born,
    };
    drop(child_end);
    let born = if is_relayed { born_by_relay(&born, &parent_end)? } else { born };
    if let Err(error) = raise(&luggage, &born, &parent_end) {
        let _may_have_ended = skiff_sys::pidfd::kill(born.pidfd.as_fd());
        let _reaped = waitpid(Pid::from_raw(born.pid), None);
        return Err(error);
    }
    Ok(born)
}

/// An ordinary user has rights over the container's namespaces only inside its user namespace: a helper enters all of them
/// and clones the process from there, as its own sibling. Returns in the runtime and in the new process; the helper ends.
fn clone_by_relay(luggage: &Luggage<'_>, end: &ChildEnd) -> Result<Cloned> {
    let acts = luggage.joining.acts;
    let cloned = clone_one(acts, 0, None, Kin::Child)?;
    if matches!(cloned, Cloned::Parent(_)) {
        return Ok(cloned);
    }
    let pass = || {
        prctl::set_dumpable(false).on("hide", "process")?;
        // The mounts come last: our own /proc/self is in the host's.
        enter(luggage, luggage.kinds & !libc::CLONE_NEWNS)?;
        clone_one(acts, 0, None, Kin::Sibling)
    };
    match pass() {
        Ok(Cloned::Child) => Ok(Cloned::Child),
        Ok(Cloned::Parent(born)) => exit_now(i32::from(end.tell(&FromChild::Born(born.pid)).is_err())),
        Err(error) => {
            // If the parent has gone, nobody is left to be told.
            let _nobody_listens = end.tell(&FromChild::Failed(error.to_string()));
            exit_now(1)
        }
    }
}

fn born_by_relay(relay: &Born, end: &ParentEnd) -> Result<Born> {
    let pid = end.await_birth(|| Ok(()));
    let _reaped = waitpid(Pid::from_raw(relay.pid), None);
    let pid = pid?;
    Ok(Born { pid, pidfd: skiff_sys::pidfd::open(pid).on("open process", pid)? })
}

/// Enters the container's namespaces, and becomes their root when they have users of their own.
fn enter(luggage: &Luggage<'_>, kinds: libc::c_int) -> Result<()> {
    if kinds != 0 {
        luggage.joining.acts.step(&steps::NS_JOIN, format!("{kinds:#x}"), || {
            skiff_sys::namespace::enter_all(luggage.leader.as_fd(), kinds)
        })?;
    }
    if kinds & libc::CLONE_NEWUSER != 0 {
        child::become_root()?;
        prctl::set_dumpable(false).on("hide", "process")?;
    }
    Ok(())
}

/// The namespaces of `pid` that are not ours: entering one's own user namespace is refused (setns(2)).
fn foreign_kinds(pid: i32) -> Result<libc::c_int> {
    let mut kinds = 0;
    for (kind, name) in KINDS {
        let theirs = PathBuf::from(format!("/proc/{pid}/ns/{name}"));
        let inode = |path: &Path| fs::metadata(path).map(|meta| meta.ino()).on("look at", path.display());
        if inode(&theirs)? != inode(&Path::new("/proc/self/ns").join(name))? {
            kinds |= kind;
        }
    }
    Ok(kinds)
}

/// The root of `pid`, which is the process that `leader` holds.
fn root_of(leader: &OwnedFd, pid: i32) -> Result<OwnedFd> {
    let path = PathBuf::from(format!("/proc/{pid}/root"));
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(&path, flags, Mode::empty()).on("open", path.display())?;
    // It was this process's only if the process is still there: another with its number may have the host's root.
    skiff_sys::pidfd::send(leader.as_fd(), 0).on("look at process", pid)?;
    Ok(root)
}

fn agent<'a>(joining: &Joining<'a>) -> Option<&'a Agent> {
    joining.filter.and_then(|filter| filter.agent.as_ref())
}

fn raise(luggage: &Luggage<'_>, born: &Born, end: &ParentEnd) -> Result<()> {
    let joining = luggage.joining;
    equip(joining.acts, born.pid, joining.process, joining.container)?;
    end.tell(&FromParent::Go(born.pid))?;
    end.await_word(&FromChild::Ready)?;
    if let (Some(handover), Some(agent)) = (&luggage.handover, agent(joining)) {
        handover.take(born, agent, &joining.container.state()?)?;
    }
    // The child's end closes on execve: silence means that it runs.
    match end.await_word(&FromChild::Ready) {
        Err(Error::Said(text)) if text.starts_with("container process ended") => (),
        other => return other,
    }
    joining.pid_file.as_deref().map_or(Ok(()), |path| write_pid_file(path, born.pid))
}

fn run(luggage: &Luggage<'_>, end: &ChildEnd) -> ! {
    let failed = match become_program(luggage, end) {
        Err(error) => error,
        Ok(never) => match never {},
    };
    // If the parent has gone, nobody is left to be told.
    let _nobody_listens = end.tell(&FromChild::Failed(failed.to_string()));
    skiff_sys::process::exit_now(1)
}

fn become_program(luggage: &Luggage<'_>, end: &ChildEnd) -> Result<std::convert::Infallible> {
    let joining = luggage.joining;
    let acts = joining.acts;
    end.await_go()?;
    for (path, file) in &luggage.tasks {
        acts.step_io(&steps::CGROUP_JOIN, path.display(), || (&*file).write_all(b"0"))?;
    }
    // Once inside, the container's processes can see this one; they must not look into it (CVE-2019-5736, CVE-2016-9962).
    prctl::set_dumpable(false).on("hide", "process")?;
    enter(luggage, luggage.kinds)?;
    if let Some(root) = &luggage.root {
        rootfs::confine(acts, root.as_fd(), &joining.container.record.rootfs)?;
    }
    acts.step(&steps::SESSION_NEW, "", setsid)?;
    joining.container.record.keyring.enter(acts)?;
    if let Some(console) = &joining.console {
        let root = InRoot::open_host(Path::new("/")).on("open", "/")?;
        terminal::give_joined(acts, &root, joining.process, console)?;
    }
    let mut payload = Payload::prepare(acts, joining.process, joining.filter, joining.preserve_fds)?;
    end.tell(&FromChild::Ready)?;
    payload.load_with_agent(luggage.handover.as_ref())?;
    payload.execute()
}
