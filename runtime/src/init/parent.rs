//! The runtime's side of a container's birth: opens what the child needs, clones it, answers it, remembers it.

use super::child::{self, Luggage};
use super::handshake::{ChildEnd, FromChild, FromParent, ParentEnd, pair};
use super::{relay, terminal};
use crate::cgroup::Cgroup;
use crate::error::{Acts, Error, On, Result};
use crate::id::{ContainerId, ProcessId};
use crate::plan::{Plan, Way};
use crate::spec::config::Hooks;
use crate::spec::{IdMap, Process, Spec};
use crate::state::{Container, Folder, Record};
use crate::{hooks, rootfs, steps, time};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use skiff_sys::mount::{Change, Depth, change};
use skiff_sys::process::{Born, Cloned, Kin};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// What `create` and `run` were asked for.
#[derive(Debug)]
pub(crate) struct Creation<'a> {
    pub(crate) acts: &'a Acts,
    pub(crate) id: &'a ContainerId,
    /// Absolute.
    pub(crate) bundle: &'a Path,
    pub(crate) spec: &'a Spec,
    pub(crate) folder: &'a Folder,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) preserve_fds: u32,
}

/// Creates the container: afterwards its first process waits for [`start`]. Undoes everything when it fails.
///
/// # Errors
/// The first step that could not be done.
pub(crate) fn create(creation: &Creation<'_>) -> Result<Container> {
    let spec = creation.spec;
    terminal::check(&spec.process, creation.console_socket.as_deref())?;
    creation.folder.create()?;
    let result = create_in_folder(creation);
    if result.is_err() {
        // The first error is the one to report; what cannot be undone is found by `delete --force`.
        let _the_first_error_counts = creation.folder.remove(creation.acts);
    }
    result
}

fn create_in_folder(creation: &Creation<'_>) -> Result<Container> {
    let (acts, spec) = (creation.acts, creation.spec);
    let config = creation.bundle.join("config.json");
    std::fs::copy(&config, creation.folder.config()).on("copy", config.display())?;
    let cgroup = Cgroup::create(acts, &spec.cgroup)?;
    let result = cgroup.limit(acts, &spec.limits).and_then(|()| create_in_cgroup(creation, &cgroup));
    if result.is_err() {
        let _the_first_error_counts = cgroup.kill_all(acts).and_then(|()| cgroup.remove(acts));
    }
    result
}

fn create_in_cgroup(creation: &Creation<'_>, cgroup: &Cgroup) -> Result<Container> {
    let plan = Plan::of(creation.spec)?;
    let container = Container { folder: creation.folder.clone(), record: record(creation, cgroup) };
    let luggage = pack(creation, &plan, cgroup, container.state_as("creating"))?;
    let unified = cgroup.open_unified()?;
    let (parent_end, child_end) = pair()?;
    let born = match clone_first(&luggage, &plan, unified.as_ref().map(AsFd::as_fd), &child_end)? {
        Cloned::Child => {
            drop(parent_end);
            child::run(luggage, child_end)
        }
        Cloned::Parent(born) => born,
    };
    drop(child_end);
    let result = raise(creation, &plan, born, &parent_end, container);
    drop(luggage);
    result
}

/// The record before there is a process.
fn record(creation: &Creation<'_>, cgroup: &Cgroup) -> Record {
    Record {
        oci_version: "1.2.1".to_owned(),
        id: creation.id.to_string(),
        process: ProcessId { pid: 0, start_ticks: 0 },
        bundle: creation.bundle.to_owned(),
        rootfs: creation.spec.rootfs.clone(),
        created: time::now(),
        annotations: creation.spec.annotations.clone(),
        cgroup: cgroup.clone(),
        own_pid_namespace: creation.spec.namespaces.makes(libc::CLONE_NEWPID),
    }
}

fn pack<'a>(creation: &Creation<'a>, plan: &'a Plan, cgroup: &Cgroup, state: serde_json::Value) -> Result<Luggage<'a>> {
    let (acts, spec) = (creation.acts, creation.spec);
    let root = rootfs::copy_host(acts, &steps::ROOTFS_COPY, &spec.rootfs, Depth::Tree)?;
    let propagation = Some(skiff_sys::mount::Propagation::Slave);
    change(root.as_fd(), Change { propagation, ..Change::default() }, Depth::Tree)
        .on("isolate", spec.rootfs.display())?;
    let bound: Vec<_> = if plan.binds_devices { plan.devices.iter().collect() } else { Vec::new() };
    Ok(Luggage {
        acts: acts.clone(),
        spec,
        plan,
        state,
        rootfs: root,
        sources: spec.mounts.iter().map(|mount| rootfs::prepare(acts, mount, cgroup)).collect::<Result<_>>()?,
        devices: bound.into_iter().map(|node| node.bound(acts)).collect::<Result<_>>()?,
        tasks: cgroup.open_tasks()?,
        joins: relay::open_all(&plan.enter)?,
        console: creation.console_socket.as_deref().map(terminal::connect).transpose()?,
        start: listen(acts, creation.folder)?,
        preserve_fds: creation.preserve_fds,
    })
}

/// The start socket's path may be longer than an address allows (108 bytes, unix(7)), so it is named through its folder.
fn listen(acts: &Acts, folder: &Folder) -> Result<UnixListener> {
    let directory = std::fs::File::open(folder.path()).on("open", folder.path().display())?;
    acts.step_io(&steps::START_LISTEN, folder.start_socket().display(), || {
        UnixListener::bind(skiff_sys::fd::path_of(directory.as_fd()).join("start.sock"))
    })
}

/// Clones this process; see [`skiff_sys::process::clone`].
pub(super) fn clone_one(
    acts: &Acts,
    namespaces: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
    kin: Kin,
) -> Result<Cloned> {
    let operand = || format!("flags {namespaces:#x}");
    acts.step(&steps::NS_CLONE, operand(), || skiff_sys::process::clone(namespaces, cgroup, kin))
}

fn clone_first(luggage: &Luggage<'_>, plan: &Plan, cgroup: Option<BorrowedFd<'_>>, end: &ChildEnd) -> Result<Cloned> {
    let acts = &luggage.acts;
    if plan.way == Way::Relay {
        let cloned = clone_one(acts, 0, None, Kin::Child)?;
        if matches!(cloned, Cloned::Child) {
            relay::pass_through(acts, &luggage.joins, plan.clone, end);
        }
        return Ok(cloned);
    }
    let pid = plan.enter_pid.as_deref().map(open_ns).transpose()?;
    in_pid_namespace(acts, pid.as_ref(), || clone_one(acts, plan.clone, cgroup, Kin::Child))
}

fn open_ns(path: &Path) -> Result<OwnedFd> {
    Ok(std::fs::File::open(path).on(steps::NS_JOIN.id, path.display())?.into())
}

/// Entering a pid namespace counts for children only, and one's own may always be entered again: so hooks that run later
/// are the host's again.
pub(super) fn in_pid_namespace(
    acts: &Acts,
    pid: Option<&OwnedFd>,
    clone: impl FnOnce() -> Result<Cloned>,
) -> Result<Cloned> {
    let Some(pid) = pid else { return clone() };
    let own = open_ns(Path::new("/proc/self/ns/pid"))?;
    acts.step(&steps::NS_JOIN, "pid", || skiff_sys::namespace::enter(pid.as_fd(), libc::CLONE_NEWPID))?;
    let cloned = clone();
    if !matches!(cloned, Ok(Cloned::Child)) {
        skiff_sys::namespace::enter(own.as_fd(), libc::CLONE_NEWPID).on("return to", "own pid namespace")?;
    }
    cloned
}

/// Answers the first process until it is ready; kills it if it cannot be.
fn raise(
    creation: &Creation<'_>,
    plan: &Plan,
    born: Born,
    end: &ParentEnd,
    mut container: Container,
) -> Result<Container> {
    let is_relayed = plan.way == Way::Relay;
    let born = if is_relayed { relayed(&born, end)? } else { born };
    let placed = if is_relayed { place(creation.acts, &container.record.cgroup, born.pid) } else { Ok(()) };
    let result = placed.and_then(|()| raise_born(creation, plan, &born, end, &mut container));
    if result.is_err() {
        let _may_have_ended = skiff_sys::pidfd::kill(born.pidfd.as_fd());
        let _reaped = waitpid(Pid::from_raw(born.pid), None);
    }
    result.map(|()| container)
}

fn relayed(relay: &Born, end: &ParentEnd) -> Result<Born> {
    let pid = end.await_birth();
    let _reaped = waitpid(Pid::from_raw(relay.pid), None::<WaitPidFlag>);
    let pid = pid?;
    Ok(Born { pid, pidfd: skiff_sys::pidfd::open(pid).on("open process", pid)? })
}

/// Version 2: puts a process that could not be born in the cgroup into it. It waits for our word and has done nothing yet.
fn place(acts: &Acts, cgroup: &Cgroup, pid: i32) -> Result<()> {
    let unified = cgroup.directories.iter().filter(|directory| directory.unified);
    for path in unified.map(|directory| directory.path.join("cgroup.procs")) {
        acts.step_io(&steps::CGROUP_JOIN, path.display(), || std::fs::write(&path, pid.to_string()))?;
    }
    Ok(())
}

fn raise_born(
    creation: &Creation<'_>,
    plan: &Plan,
    born: &Born,
    end: &ParentEnd,
    container: &mut Container,
) -> Result<()> {
    let (acts, spec) = (creation.acts, creation.spec);
    container.record.process = ProcessId::of(born.pid)?;
    if spec.namespaces.makes(libc::CLONE_NEWUSER) {
        map_users(acts, born.pid, &spec.uid_maps, &spec.gid_maps)?;
    }
    equip(acts, born.pid, &spec.process)?;
    end.tell(FromParent::Mapped)?;
    if plan.parent_waits_for_assembly {
        end.await_word(&FromChild::Assembled)?;
        run_early_hooks(creation, container)?;
        end.tell(FromParent::HooksRan)?;
    }
    end.await_word(&FromChild::Ready)?;
    container.folder.write(acts, &container.record)?;
    match &creation.pid_file {
        Some(path) => write_pid_file(path, born.pid),
        None => Ok(()),
    }
}

fn run_early_hooks(creation: &Creation<'_>, container: &Container) -> Result<()> {
    let (acts, hooks) = (creation.acts, &creation.spec.hooks);
    let state = container.state_as("creating");
    hooks::run(acts, "prestart", hooks.prestart.as_ref(), &state, creation.bundle)?;
    hooks::run(acts, "createRuntime", hooks.create_runtime.as_ref(), &state, creation.bundle)
}

fn map_users(acts: &Acts, pid: i32, uids: &[IdMap], gids: &[IdMap]) -> Result<()> {
    for (name, maps) in [("uid_map", uids), ("gid_map", gids)] {
        let path = format!("/proc/{pid}/{name}");
        acts.step_io(&steps::NS_MAP_USERS, &path, || std::fs::write(&path, IdMap::render(maps)))?;
    }
    Ok(())
}

/// Gives a process what only the host may give: limits above its own, and its place in the out-of-memory killer's list.
pub(super) fn equip(acts: &Acts, pid: i32, process: &Process) -> Result<()> {
    for (resource, soft, hard) in &process.rlimits {
        acts.step(&steps::RLIMIT_SET, format!("{resource:?} {soft}:{hard}"), || {
            skiff_sys::process::set_limit(pid, *resource as libc::c_int, *soft, *hard)
        })?;
    }
    if let Some(adjustment) = process.oom_score_adj {
        let path = format!("/proc/{pid}/oom_score_adj");
        acts.step_io(&steps::OOM_ADJUST, adjustment, || std::fs::write(&path, adjustment.to_string()))?;
    }
    Ok(())
}

/// Writes the pid so that a reader never sees half of it.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Error::Usage(format!("--pid-file {}: no file name", path.display())))?;
    let new = path.with_file_name(format!(".{}.new", name.to_string_lossy()));
    std::fs::write(&new, pid.to_string()).on("write", path.display())?;
    std::fs::rename(&new, path).on("write", path.display())
}

/// Lets the created container's first process become its program.
///
/// # Errors
/// It is not in the status `created`, or its program cannot be executed.
pub(crate) fn start(acts: &Acts, container: &Container, hooks: &Hooks) -> Result<()> {
    let socket = container.folder.start_socket();
    let mut stream = acts.step_io(&steps::START_SIGNAL, container.folder.path().display(), || {
        let directory = std::fs::File::open(container.folder.path())?;
        UnixStream::connect(skiff_sys::fd::path_of(directory.as_fd()).join("start.sock"))
    })?;
    std::fs::remove_file(&socket).on("remove", socket.display())?;
    stream.flush().on("start", "container process")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).on("start", "container process")?;
    if !answer.is_empty() {
        return Err(Error::Said(answer));
    }
    let (list, state) = (hooks.poststart.as_ref(), container.state_as("running"));
    let hooked = hooks::run(acts, "poststart", list, &state, &container.record.bundle);
    if hooked.is_err() {
        // A container whose engine could not finish starting it must not run on unattended, as with runc.
        container.record.process.signal(libc::SIGKILL)?;
    }
    hooked
}
