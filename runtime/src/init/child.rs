//! The container's first process: runs after clone3 and before execve.
//!
//! The program has one thread, so memory may be allocated here; but every host path was opened by the parent and lies in
//! [`Luggage`]. Each operation is a named step, and each failure is told to the parent before this process ends.

use super::handshake::{ChildEnd, FromChild, FromParent};
use super::keyring::Keyring;
use super::listener::Handover;
use super::payload::Payload;
use super::relay::Join;
use super::terminal;
use crate::cgroup::Cgroup;
use crate::error::{Acts, Error, On, Result};
use crate::hooks::{self, Environment, Place};
use crate::inherited::UMASK_DEFAULT;
use crate::mutant;
use crate::plan::{Plan, Way};
use crate::rootfs::{Attached, Dev, Opened, StillWritable, Turn};
use crate::spec::Spec;
use crate::{rootfs, steps};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, sethostname, setresgid, setresuid, setsid};
use skiff_sys::inroot::{InRoot, Kind, open_beneath};
use skiff_sys::mount::{Context, Depth};
use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Everything the first process needs and could not reach itself.
#[derive(Debug)]
pub(crate) struct Luggage<'a> {
    pub(crate) acts: Acts,
    pub(crate) spec: &'a Spec,
    pub(crate) plan: &'a Plan,
    /// The specification's State, for hooks; without status and pid.
    pub(crate) state: serde_json::Value,
    pub(crate) cgroup: &'a Cgroup,
    /// What the parent has opened, unless this process does it itself.
    pub(crate) opened: Option<Opened>,
    pub(crate) tasks: Vec<(PathBuf, File)>,
    pub(crate) joins: Vec<Join>,
    pub(crate) console: Option<UnixStream>,
    pub(crate) start: UnixListener,
    pub(crate) handover: Option<Handover>,
    pub(crate) preserve_fds: u32,
    pub(crate) keyring: Keyring,
    pub(crate) turn: Turn,
}

/// Builds the container around this process and becomes its program. Never returns.
pub(crate) fn run(mut luggage: Luggage<'_>, parent: ChildEnd) -> ! {
    let opened = luggage.opened.take();
    let failed = match build(&luggage, opened, &parent) {
        Ok((mut payload, pid)) => match parent.tell(&FromChild::Ready) {
            Ok(()) => {
                drop(parent);
                match payload.load_with_agent(luggage.handover.as_ref()) {
                    Ok(()) => wait_and_execute(&luggage, payload, pid),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        },
        Err(error) => {
            // If the parent has gone, nobody is left to be told.
            let _nobody_listens = parent.tell(&FromChild::Failed(error.to_string()));
            error
        }
    };
    drop(failed);
    skiff_sys::process::exit_now(1)
}

fn build<'a>(luggage: &'a Luggage<'_>, opened: Option<Opened>, parent: &ChildEnd) -> Result<(Payload<'a>, i32)> {
    umask(Mode::empty());
    let (acts, spec) = (&luggage.acts, luggage.spec);
    // Before it becomes another user inside, who may not reach the bundle.
    let open = || Opened::open(acts, spec, luggage.plan, luggage.cgroup);
    let opened = opened.map_or_else(open, Ok)?;
    if luggage.plan.beside != 0 {
        let flags = CloneFlags::from_bits_truncate(luggage.plan.beside);
        acts.step(&steps::NS_UNSHARE, "network", || unshare(flags))?;
    }
    let pid = parent.await_go()?;
    if mutant::has("CVE-2024-21626") {
        let host = nix::unistd::dup(skiff_sys::inroot::host_root().on("open", "/")?).on("leak", "/")?;
        std::mem::forget(host);
    }
    if spec.namespaces.has(libc::CLONE_NEWUSER) {
        become_root()?;
    } else {
        // Nobody inside may look into this process while it still holds the host's descriptors (proc_pid_exe(5)).
        prctl::set_dumpable(false).on("hide", "process")?;
    }
    enter_cgroup(luggage)?;
    enter_namespaces(luggage)?;
    acts.step(&steps::SESSION_NEW, "", setsid)?;
    luggage.keyring.enter(acts)?;
    name_host(acts, spec)?;
    let (root, writable) = build_rootfs(luggage, opened, parent, pid)?;
    enter_rootfs(luggage, &root, &writable)?;
    prctl::set_dumpable(false).on("hide", "process")?;
    let payload = Payload::prepare(acts, &spec.process, spec.seccomp.as_ref(), luggage.preserve_fds)?;
    Ok((payload, pid))
}

/// The specification's State for a hook that this process runs.
fn state(luggage: &Luggage<'_>, status: &str, pid: i32) -> serde_json::Value {
    let mut state = luggage.state.clone();
    state["status"] = status.into();
    state["pid"] = pid.into();
    state
}

/// In a new user namespace this process is nobody until it takes an id that is mapped.
pub(crate) fn become_root() -> Result<()> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid).on("become root in", "user namespace")?;
    setresuid(uid, uid, uid).on("become root in", "user namespace")
}

fn enter_cgroup(luggage: &Luggage<'_>) -> Result<()> {
    for (path, file) in &luggage.tasks {
        luggage.acts.step_io(&steps::CGROUP_JOIN, path.display(), || (&*file).write_all(b"0"))?;
    }
    Ok(())
}

fn enter_namespaces(luggage: &Luggage<'_>) -> Result<()> {
    // A relay has entered them before this process was born.
    let joins = if luggage.plan.way == Way::Direct { luggage.joins.as_slice() } else { &[] };
    for (kind, path, fd) in joins {
        let entered = || skiff_sys::namespace::enter(fd.as_fd(), *kind);
        luggage.acts.step(&steps::NS_JOIN, path.display(), entered)?;
    }
    if luggage.plan.unshare != 0 {
        let flags = CloneFlags::from_bits_truncate(luggage.plan.unshare);
        luggage.acts.step(&steps::NS_UNSHARE, "cgroup", || unshare(flags))?;
    }
    Ok(())
}

fn name_host(acts: &Acts, spec: &Spec) -> Result<()> {
    if let Some(name) = &spec.hostname {
        acts.step(&steps::HOST_NAME, name, || sethostname(name))?;
    }
    if let Some(name) = &spec.domainname {
        acts.step(&steps::HOST_DOMAIN, name, || skiff_sys::namespace::set_domain_name(name))?;
    }
    Ok(())
}

fn build_rootfs(
    luggage: &Luggage<'_>,
    opened: Opened,
    parent: &ChildEnd,
    pid: i32,
) -> Result<(InRoot, Vec<StillWritable>)> {
    let (acts, spec, plan) = (&luggage.acts, luggage.spec, luggage.plan);
    let Opened { rootfs, sources, devices } = opened;
    let root = if spec.namespaces.shares_mounts() {
        InRoot::new(rootfs)
    } else {
        rootfs::isolate(acts, spec.propagation.0)?;
        rootfs::attach_root(acts, rootfs, &spec.rootfs)?
    };
    let Attached { dev, writable } = rootfs::attach_all(acts, &root, &spec.mounts, &sources)?;
    if dev == Dev::Own {
        rootfs::make_all(acts, &root, &plan.devices, &devices)?;
        rootfs::links(acts, &root)?;
    }
    if let Some(console) = &luggage.console {
        terminal::give(acts, &root, &spec.process, console)?;
    }
    if plan.parent_waits_for_assembly {
        parent.tell(&FromChild::Assembled)?;
        parent.await_word(&FromParent::HooksRan)?;
    }
    let list = spec.hooks.create_container.as_ref();
    if list.is_some_and(|hooks| !hooks.is_empty()) {
        // The hooks are the engine's programs, which must not make files that anybody can write to.
        let ours = umask(Mode::from_bits_truncate(UMASK_DEFAULT));
        let place = Place::of_caller(Path::new("/"));
        hooks::run(acts, "createContainer", list, &state(luggage, "creating", pid), place)?;
        umask(ours);
    }
    Ok((root, writable))
}

fn enter_rootfs(luggage: &Luggage<'_>, root: &InRoot, writable: &[StillWritable]) -> Result<()> {
    let (acts, spec) = (&luggage.acts, luggage.spec);
    write_sysctl(acts, spec, root)?;
    // A missing working directory is made, as runc does; if it cannot be, entering it says why.
    let _entering_reports = root.make(&spec.process.cwd, Kind::Directory);
    rootfs::readonly_all(acts, root, &spec.readonly_paths)?;
    rootfs::mask_all(acts, root, &spec.masked_paths)?;
    writable.iter().try_for_each(|mount| mount.make_readonly(acts))?;
    if spec.readonly_root {
        rootfs::make_readonly(acts, root)?;
    }
    match luggage.turn {
        _ if spec.namespaces.shares_mounts() => return rootfs::confine(acts, root.root(), &spec.rootfs),
        Turn::Pivot => rootfs::pivot(acts, root, &spec.rootfs)?,
        Turn::Chroot => rootfs::chroot(acts, root, &spec.rootfs)?,
    }
    rootfs::propagate(root.root(), spec.propagation)
}

/// Through a procfs of our own that is attached nowhere: nothing can be mounted over its files (CVE-2025-52881).
fn write_sysctl(acts: &Acts, spec: &Spec, root: &InRoot) -> Result<()> {
    if spec.sysctl.is_empty() {
        return Ok(());
    }
    let procfs = match Context::open(c"proc").and_then(|context| context.mount(0)) {
        // A user namespace without a pid namespace of its own may not mount one. The host's is still in sight here, and
        // nothing of the container can have changed it.
        Err(Errno::EPERM) => rootfs::copy_host(acts, &steps::MOUNT_SOURCE, Path::new("/proc"), Depth::Tree)?,
        made => made.on("mount", "private procfs")?,
    };
    for (path, value) in &spec.sysctl {
        acts.step_io(&steps::SYSCTL_WRITE, path.display(), || match path.to_str() {
            // The kernel lets only the host's root write the files, but whoever owns the namespace may call.
            Some("sys/kernel/hostname") => Ok(sethostname(value)?),
            Some("sys/kernel/domainname") => Ok(skiff_sys::namespace::set_domain_name(value)?),
            _ if mutant::has("CVE-2025-52881") => {
                let file = root.open(&Path::new("/proc").join(path), nix::fcntl::OFlag::O_WRONLY, Mode::empty())?;
                File::from(file).write_all(value.as_bytes())
            }
            _ => {
                let file = open_beneath(procfs.as_fd(), path, nix::fcntl::OFlag::O_WRONLY)?;
                File::from(file).write_all(value.as_bytes())
            }
        })?;
    }
    Ok(())
}

/// Waits until `start` connects, and answers it with silence (the connection closes on execve) or with the error.
fn wait_and_execute(luggage: &Luggage<'_>, payload: Payload<'_>, pid: i32) -> Error {
    let mut starter = match luggage.start.accept().on("wait for", "start") {
        Ok((starter, _)) => starter,
        Err(error) => return error,
    };
    let error = match start(luggage, payload, pid) {
        Err(error) => error,
        Ok(never) => match never {},
    };
    let _starter_may_be_gone = starter.write_all(error.to_string().as_bytes());
    error
}

fn start(luggage: &Luggage<'_>, payload: Payload<'_>, pid: i32) -> Result<Infallible> {
    let list = luggage.spec.hooks.start_container.as_ref();
    let environment = Environment::Containers(&luggage.spec.process.env);
    let place = Place { directory: Path::new("/"), environment };
    hooks::run(&luggage.acts, "startContainer", list, &state(luggage, "created", pid), place)?;
    payload.execute()
}
