//! The runtime's side of a container's birth: opens what the child needs, clones it, answers it, remembers it.

use super::child::{self, Luggage};
use super::handshake::{ChildEnd, FromChild, FromParent, ParentEnd, pair};
use super::keyring::Keyring;
use super::listener::Handover;
use super::relay::{self, Route};
use super::terminal;
use super::users::{self, Maps};
use crate::cgroup::{Cgroup, Claim, Unit};
use crate::error::{Acts, Error, On, Result};
use crate::hooks::{self, Place};
use crate::id::{ContainerId, ENDING_TIME_MAX, ProcessId};
use crate::plan::{self, Plan, Rights, Way};
use crate::rdt::{self, Membership};
use crate::rootfs::{Opened, Turn};
use crate::spec::config::Hooks;
use crate::spec::{Limits, Process, Spec};
use crate::state::{Container, Folder, Record, Status};
use crate::{net, steps, time};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::getrlimit;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use skiff_sys::inroot::open_beneath;
use skiff_sys::process::{Born, Cloned, Kin};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// What `create` and `run` were asked for.
pub(crate) struct Creation<'a> {
    pub(crate) acts: &'a Acts,
    pub(crate) id: &'a ContainerId,
    /// Absolute.
    pub(crate) bundle: &'a Path,
    pub(crate) spec: &'a Spec,
    /// The unit of systemd around it, if it is to have one.
    pub(crate) unit: Option<&'a Unit>,
    pub(crate) folder: &'a Folder,
    /// A directory in it that one of the mounts shows.
    pub(crate) notify: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) preserve_fds: u32,
    pub(crate) keyring: Keyring,
    /// How the root is changed.
    pub(crate) turn: Turn,
    /// Logs what does not stop the creation.
    pub(crate) warn: &'a dyn Fn(&str),
}

/// Why a container was not created, and whether its life had begun.
struct Failure {
    error: Error,
    /// Then it ends like any other: with its `poststop` hooks (runtime-spec runtime, Lifecycle 3 to 5).
    was_born: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, was_born: false }
    }
}

/// Creates the container: afterwards its first process waits for [`start`]. Undoes everything when it fails.
///
/// # Errors
/// The first step that could not be done.
pub(crate) fn create(creation: &Creation<'_>) -> Result<Container> {
    let spec = creation.spec;
    terminal::check(&spec.process, creation.console_socket.as_deref())?;
    creation.folder.create()?;
    let made = creation.notify.as_ref().map_or(Ok(()), |path| std::fs::create_dir(path).on("create", path.display()));
    made.map_err(Failure::from).and_then(|()| create_in_folder(creation)).map_err(|failure| {
        if failure.was_born {
            let container = Container { folder: creation.folder.clone(), record: record(creation, &Cgroup::default()) };
            let (list, state) = (spec.hooks.poststop.as_ref(), container.state_as(Status::Stopped.word()));
            let mut warn = |error: Error| (creation.warn)(&error.to_string());
            let place = Place::of_caller(creation.bundle);
            hooks::run_all(creation.acts, "poststop", list, &state, place, &mut warn);
        }
        // The first error is the one to report; what cannot be undone is found by `delete --force`.
        let _the_first_error_counts = creation.folder.remove(creation.acts);
        failure.error
    })
}

fn create_in_folder(creation: &Creation<'_>) -> std::result::Result<Container, Failure> {
    let (acts, spec) = (creation.acts, creation.spec);
    let config = creation.bundle.join("config.json");
    let _creating = creation.folder.begin(&std::fs::read(&config).on("copy", config.display())?)?;
    let (cgroup, claim) = make_cgroup(acts, spec, creation.unit)?;
    let result = create_in_class(creation, &cgroup);
    if let Err(failure) = &result {
        // A pid namespace of its own ended with the first process; else hooks may have left somebody in there.
        let needs_killing = failure.was_born && !spec.namespaces.makes(libc::CLONE_NEWPID);
        let killed = if needs_killing { cgroup.kill_all(acts) } else { Ok(()) };
        let _the_first_error_counts = killed.and_then(|()| cgroup.remove(acts));
    }
    drop(claim);
    result
}

/// Who is not the host's root may have no rights over cgroups: then the container has none, unless limits were asked for.
/// Device rules are no limits in this sense, as with runc: a user namespace makes no devices anyway.
fn make_cgroup(acts: &Acts, spec: &Spec, unit: Option<&Unit>) -> Result<(Cgroup, Option<Claim>)> {
    let made = match unit {
        Some(unit) => Cgroup::create_in_unit(acts, unit, &spec.limits),
        None => Cgroup::create(acts, &spec.cgroup, &spec.limits),
    };
    let error = match made {
        Err(error) => error,
        Ok((cgroup, claim)) => return Ok((cgroup, Some(claim))),
    };
    let is_refused = matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS));
    if !is_refused || unit.is_some() || !plan::is_below_host() {
        return Err(error);
    }
    let asked = Limits { devices: Vec::new(), ..spec.limits.clone() };
    if asked == Limits::default() {
        return Ok((Cgroup::default(), None));
    }
    Err(Error::refused("linux.resources", format!("this user has no rights over cgroups: {error}")))
}

/// In the class of cache and memory bandwidth that was asked for.
fn create_in_class(creation: &Creation<'_>, cgroup: &Cgroup) -> std::result::Result<Container, Failure> {
    let Some(rdt) = &creation.spec.rdt else { return create_in_cgroup(creation, cgroup, None) };
    let class = Membership::create(creation.acts, &rdt::find()?, &rdt::Kernel, creation.id.as_str(), rdt)?;
    let result = create_in_cgroup(creation, cgroup, Some(&class));
    if result.is_err() {
        let _the_first_error_counts = class.undo(creation.acts, &rdt::Kernel);
    }
    result
}

fn create_in_cgroup(
    creation: &Creation<'_>,
    cgroup: &Cgroup,
    class: Option<&Membership>,
) -> std::result::Result<Container, Failure> {
    let plan = Plan::of(creation.spec, Rights::own())?;
    let limit = || cgroup.limit(creation.acts, &creation.spec.limits);
    if plan.beside == 0 {
        limit()?;
    }
    let record = Record { rdt: class.cloned(), ..record(creation, cgroup) };
    let container = Container { folder: creation.folder.clone(), record };
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
    if plan.beside != 0
        && let Err(error) = limit()
    {
        end(&born);
        return Err(error.into());
    }
    let raising = Raising { creation, plan: &plan, end: &parent_end, unified, handover: luggage.handover.as_ref() };
    let result = raising.raise(born, container);
    drop(luggage);
    result.map_err(|error| Failure { error, was_born: true })
}

/// The record before there is a process.
fn record(creation: &Creation<'_>, cgroup: &Cgroup) -> Record {
    Record {
        oci_version: crate::spec::VERSION.to_owned(),
        id: creation.id.to_string(),
        process: ProcessId { pid: 0, start_ticks: 0 },
        bundle: creation.bundle.to_owned(),
        rootfs: creation.spec.rootfs.clone(),
        created: time::now(),
        annotations: creation.spec.annotations.clone(),
        cgroup: cgroup.clone(),
        rdt: None,
        keyring: creation.keyring,
        own_pid_namespace: creation.spec.namespaces.makes(libc::CLONE_NEWPID),
        shares_mounts: creation.spec.namespaces.shares_mounts(),
    }
}

fn pack<'a>(
    creation: &Creation<'a>,
    plan: &'a Plan,
    cgroup: &'a Cgroup,
    state: serde_json::Value,
) -> Result<Luggage<'a>> {
    let (acts, spec) = (creation.acts, creation.spec);
    let open = || Opened::open(acts, spec, plan, cgroup);
    Ok(Luggage {
        acts: acts.clone(),
        spec,
        plan,
        state,
        cgroup,
        opened: (!plan.opens_itself).then(open).transpose()?,
        tasks: cgroup.open_tasks()?,
        joins: relay::open_all(&plan.enter)?,
        console: creation.console_socket.as_deref().map(terminal::connect).transpose()?,
        start: listen(acts, creation.folder)?,
        handover: Handover::prepare(spec.seccomp.as_ref().and_then(|filter| filter.agent.as_ref()))?,
        preserve_fds: creation.preserve_fds,
        keyring: creation.keyring,
        turn: creation.turn,
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
            let route = Route { plan, joins: &luggage.joins, offsets: &luggage.spec.offsets };
            relay::pass_through(acts, route, end);
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

/// Ends a process that cannot become a container's.
fn end(born: &Born) {
    let _may_have_ended = skiff_sys::pidfd::kill(born.pidfd.as_fd());
    let _reaped = waitpid(Pid::from_raw(born.pid), None);
}

/// The parent's part while the first process builds the container.
struct Raising<'a> {
    creation: &'a Creation<'a>,
    plan: &'a Plan,
    end: &'a ParentEnd,
    /// The cgroup of version 2.
    unified: Option<OwnedFd>,
    handover: Option<&'a Handover>,
}

impl Raising<'_> {
    /// Answers the first process until it is ready; kills it if it cannot be.
    fn raise(&self, born: Born, mut container: Container) -> Result<Container> {
        let is_relayed = self.plan.way == Way::Relay;
        let born = if is_relayed { self.relayed(&born)? } else { born };
        let placed = if is_relayed { self.place(&born) } else { Ok(()) };
        let result = placed.and_then(|()| self.raise_born(&born, &mut container));
        let result = result.map_err(|error| {
            end(&born);
            // What failed here may only be that the process has ended, and it has said why.
            self.end.last_words().unwrap_or(error)
        });
        result.map(|()| container)
    }

    fn relayed(&self, relay: &Born) -> Result<Born> {
        let pid = self.end.await_birth(|| self.map_users(relay.pid));
        if pid.is_err() {
            // It may wait for an answer.
            let _may_have_ended = skiff_sys::pidfd::kill(relay.pidfd.as_fd());
        }
        let _reaped = waitpid(Pid::from_raw(relay.pid), None::<WaitPidFlag>);
        let pid = pid?;
        Ok(Born { pid, pidfd: skiff_sys::pidfd::open(pid).on("open process", pid)? })
    }

    /// Version 2: puts a process that could not be born in the cgroup into it. It waits for our word and has done nothing yet.
    fn place(&self, born: &Born) -> Result<()> {
        let Some(cgroup) = &self.unified else { return Ok(()) };
        self.creation.acts.step_io(&steps::CGROUP_JOIN, "cgroup.procs", || {
            let file = open_beneath(cgroup.as_fd(), Path::new("cgroup.procs"), OFlag::O_WRONLY)?;
            std::fs::File::from(file).write_all(born.pid.to_string().as_bytes())
        })
    }

    fn map_users(&self, pid: i32) -> Result<()> {
        let spec = self.creation.spec;
        let maps = Maps { uids: &spec.uid_maps, gids: &spec.gid_maps };
        users::map(self.creation.acts, pid, maps, self.plan.rights)
    }

    fn raise_born(&self, born: &Born, container: &mut Container) -> Result<()> {
        let (creation, end) = (self.creation, self.end);
        container.record.process = ProcessId::of(born.pid)?;
        container.folder.draft(&container.record)?;
        if self.plan.clone & libc::CLONE_NEWUSER != 0 {
            self.map_users(born.pid)?;
        }
        equip(creation.acts, born.pid, &creation.spec.process, container)?;
        self.move_interfaces(born.pid)?;
        end.tell(&FromParent::Go(born.pid))?;
        if self.plan.parent_waits_for_assembly {
            end.await_word(&FromChild::Assembled)?;
            run_early_hooks(creation, container)?;
            end.tell(&FromParent::HooksRan)?;
        }
        end.await_word(&FromChild::Ready)?;
        let agent = creation.spec.seccomp.as_ref().and_then(|filter| filter.agent.as_ref());
        if let (Some(handover), Some(agent)) = (self.handover, agent) {
            handover.take(born, agent, &container.state_as("creating"))?;
        }
        container.folder.publish(creation.acts)?;
        match &creation.pid_file {
            Some(path) => write_pid_file(path, born.pid),
            None => Ok(()),
        }
    }

    fn move_interfaces(&self, pid: i32) -> Result<()> {
        let entered = self.plan.enter.iter().find(|(kind, _)| *kind == libc::CLONE_NEWNET);
        let netns = entered.map_or_else(|| PathBuf::from(format!("/proc/{pid}/ns/net")), |(_, path)| path.clone());
        net::move_all(self.creation.acts, &self.creation.spec.net_devices, &netns)
    }
}

fn run_early_hooks(creation: &Creation<'_>, container: &Container) -> Result<()> {
    let (acts, hooks) = (creation.acts, &creation.spec.hooks);
    let state = container.state_as("creating");
    let place = Place::of_caller(creation.bundle);
    hooks::run(acts, "prestart", hooks.prestart.as_ref(), &state, place)?;
    hooks::run(acts, "createRuntime", hooks.create_runtime.as_ref(), &state, place)
}

/// Gives a process what only the host may give: its class of cache and memory bandwidth, room for limits above its own, and
/// its place in the out-of-memory killer's list. The limits themselves come last, when it does nothing of ours any more.
pub(super) fn equip(acts: &Acts, pid: i32, process: &Process, container: &Container) -> Result<()> {
    if let Some(class) = &container.record.rdt {
        class.join(acts, pid)?;
    }
    for (resource, soft, hard) in &process.rlimits {
        acts.step(&steps::RLIMIT_SET, format!("{resource:?} {soft}:{hard}"), || {
            let (own_soft, own_hard) = getrlimit(*resource)?;
            match *hard > own_hard {
                true => skiff_sys::process::set_limit(pid, *resource as libc::c_int, own_soft, *hard),
                false => Ok(()),
            }
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
        // It is about to end; whoever hears of the failure finds the container stopped (runtime-spec runtime, Lifecycle 8).
        container.record.process.kill(|| Ok(()), ENDING_TIME_MAX)?;
        return Err(Error::Said(answer));
    }
    let (list, state) = (hooks.poststart.as_ref(), container.state_as("running"));
    let hooked = hooks::run(acts, "poststart", list, &state, Place::of_caller(&container.record.bundle));
    if hooked.is_err() {
        // A container whose engine could not finish starting it must not run on unattended, as with runc.
        container.record.process.signal(libc::SIGKILL)?;
    }
    hooked
}
