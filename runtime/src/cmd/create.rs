//! `create`, `start`, `run`.

use super::notify::{self, Notify};
use super::{Context, foreground, path, pidfd_socket};
use crate::cgroup::Unit;
use crate::cli::{Opt, Takes, Words};
use crate::error::{Acts, Error, On, Result};
use crate::id::ContainerId;
use crate::inherited;
use crate::init::{self, Creation, Keyring};
use crate::rootfs::Turn;
use crate::spec::config::Config;
use crate::spec::{self, Process, Spec};
use crate::state::{Container, Folder, Status};
use caps::CapSet;
use nix::unistd::getpid;
use skiff_step::CORRELATION_ANNOTATION;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// After standard input, output and error.
const FIRST_PASSED_FD: u32 = 3;

pub(super) const OPTIONS: &[Opt] = &[
    Opt("bundle", Some('b'), Takes::Value),
    Opt("console-socket", None, Takes::Value),
    Opt("pid-file", None, Takes::Value),
    Opt("pidfd-socket", None, Takes::Value),
    Opt("preserve-fds", None, Takes::Value),
    Opt("no-pivot", None, Takes::Nothing),
    Opt("no-new-keyring", None, Takes::Nothing),
    super::HELP,
];
pub(super) const RUN_OPTIONS: &[Opt] = &[
    Opt("bundle", Some('b'), Takes::Value),
    Opt("console-socket", None, Takes::Value),
    Opt("pid-file", None, Takes::Value),
    Opt("pidfd-socket", None, Takes::Value),
    Opt("preserve-fds", None, Takes::Value),
    Opt("no-pivot", None, Takes::Nothing),
    Opt("no-new-keyring", None, Takes::Nothing),
    Opt("detach", Some('d'), Takes::Nothing),
    Opt("keep", None, Takes::Nothing),
    Opt("no-subreaper", None, Takes::Nothing),
    super::HELP,
];

/// A container as asked for, read and checked.
struct Asked {
    id: ContainerId,
    folder: Folder,
    bundle: PathBuf,
    spec: Spec,
    /// With `--systemd-cgroup`.
    unit: Option<Unit>,
    /// Where the program says that it is ready.
    notify: Option<PathBuf>,
    acts: Acts,
}

fn asked(context: &Context, words: &Words) -> Result<Asked> {
    let (id, folder) = context.folder(words)?;
    let bundle = path(words, "bundle")?.map_or_else(|| std::env::current_dir().on("find", "working directory"), Ok)?;
    let mut written = spec::read(&bundle.join("config.json"))?;
    let notify = notify::add(&mut written, &folder);
    let mut spec = Spec::check(id.as_str(), &bundle, &written)?;
    spec.process.add_limits(inherited::lift_limits()?);
    refuse_labels(&spec, &written)?;
    let missing = if spec.namespaces.has(libc::CLONE_NEWUSER) { Vec::new() } else { missing_caps(&spec.process)? };
    spec.warnings.iter().chain(&spec.process.warnings).chain(&missing).for_each(|warning| context.warn(warning));
    let listening = listening_fds();
    if listening > 0 {
        let pairs = [format!("LISTEN_FDS={listening}"), "LISTEN_PID=1".to_owned()];
        spec.process.add_env(pairs.into_iter().filter_map(|pair| CString::new(pair).ok()));
    }
    let acts = context.acts.correlated(spec.annotations.get(CORRELATION_ANNOTATION).map(String::as_str));
    let unit = context.unit(&id, &written)?;
    Ok(Asked { id, folder, bundle, spec, unit, notify, acts })
}

fn creation<'a>(asked: &'a Asked, words: &Words, warn: &'a dyn Fn(&str)) -> Result<Creation<'a>> {
    Ok(Creation {
        acts: &asked.acts,
        id: &asked.id,
        bundle: &asked.bundle,
        spec: &asked.spec,
        unit: asked.unit.as_ref(),
        folder: &asked.folder,
        notify: asked.notify.clone(),
        console_socket: path(words, "console-socket")?,
        pid_file: path(words, "pid-file")?,
        preserve_fds: listening_fds() + preserve_fds(words)?,
        keyring: if words.is_on("no-new-keyring") { Keyring::Callers } else { Keyring::Own },
        turn: if words.is_on("no-pivot") { Turn::Chroot } else { Turn::Pivot },
        warn,
    })
}

pub(super) fn preserve_fds(words: &Words) -> Result<u32> {
    let Some(text) = words.value("preserve-fds") else { return Ok(0) };
    let count: u32 = text.parse().map_err(|_| Error::Usage(format!("--preserve-fds {text}: not a number")))?;
    let first = FIRST_PASSED_FD + listening_fds();
    match (first..first.saturating_add(count)).find(|fd| !Path::new(&format!("/proc/self/fd/{fd}")).exists()) {
        Some(fd) => Err(Error::Usage(format!("--preserve-fds {text}: descriptor {fd} is not open"))),
        None => Ok(count),
    }
}

/// How many sockets the service manager passed to this process (sd_listen_fds(3)): they go on to the container.
fn listening_fds() -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") == Some(std::process::id()) { number("LISTEN_FDS").unwrap_or(0) } else { 0 }
}

/// Labels that this kernel could not keep.
fn refuse_labels(spec: &Spec, written: &Config) -> Result<()> {
    init::check_labels("process", &spec.process.treatment)?;
    let label = written.linux.as_ref().and_then(|linux| linux.mount_label.as_deref()).unwrap_or_default();
    if !label.is_empty() && !init::has_selinux() {
        return Err(Error::refused("linux.mountLabel", "this kernel has no SELinux, or has it off"));
    }
    Ok(())
}

/// Nobody can give what they do not have; runc goes on with a warning too.
fn missing_caps(process: &Process) -> Result<Vec<String>> {
    let own =
        caps::read(None, CapSet::Permitted).map_err(|error| Error::Said(format!("read own capabilities: {error}")))?;
    let missing = process.caps.permitted.difference(&own);
    Ok(missing.map(|cap| format!("process.capabilities.permitted: {cap} is not ours to give")).collect())
}

/// `create ID`.
pub(super) fn create(context: &Context, words: &Words) -> Result<u8> {
    let asked = asked(context, words)?;
    let warn = |text: &str| context.warn(text);
    let pidfd_socket = pidfd_socket::connect(words)?;
    let container = init::create(&creation(&asked, words, &warn)?)?;
    send_pidfd(pidfd_socket, &container).or_else(|error| {
        // An error leaves no container (runtime-spec runtime, Errors).
        let poststop = asked.spec.hooks.poststop.as_ref();
        super::delete::remove(context, &asked.acts, &container, poststop)?;
        Err(error)
    })?;
    Ok(0)
}

fn send_pidfd(socket: Option<UnixStream>, container: &Container) -> Result<()> {
    if socket.is_none() {
        return Ok(());
    }
    match container.record.process.open()? {
        Some(pidfd) => pidfd_socket::send(socket, "standard", &pidfd),
        None => Ok(()),
    }
}

fn no_process() -> Error {
    Error::refused("process", "is missing: there is nothing to start")
}

/// `start ID`.
pub(super) fn start(context: &Context, words: &Words) -> Result<u8> {
    let (container, acts) = context.container(words)?;
    match container.status()? {
        Status::Created => (),
        status => {
            let id = &container.record.id;
            return Err(Error::Said(format!("cannot start a container that is {}: {id}", status.word())));
        }
    }
    let config = container.config()?;
    if config.process.is_none() {
        return Err(no_process());
    }
    let hooks = config.hooks.unwrap_or_default();
    let notify = Notify::listen(&container.folder)?;
    init::start(&acts, &container, &hooks)?;
    forward(notify, &container, None).map(|()| 0)
}

/// The manager of a foreground `run` watches this process, else the container's.
fn forward(notify: Option<Notify>, container: &Container, signals: Option<&foreground::Signals>) -> Result<()> {
    let Some(notify) = notify else { return Ok(()) };
    let Some(end) = container.record.process.open()? else { return Ok(()) };
    let pid = if signals.is_some() { getpid().as_raw() } else { container.record.process.pid };
    notify.forward(pid, end.as_fd(), signals.map(AsFd::as_fd))
}

/// `run ID`: in the foreground unless `--detach`.
pub(super) fn run(context: &Context, words: &Words) -> Result<u8> {
    let asked = asked(context, words)?;
    if asked.spec.process.args.is_empty() {
        return Err(no_process());
    }
    let detach = words.is_on("detach");
    let warn = |text: &str| context.warn(text);
    let mut creation = creation(&asked, words, &warn)?;
    let relay = match (&asked.spec.process.terminal, detach, &creation.console_socket) {
        (Some(_), false, None) => Some(foreground::TerminalRelay::listen()?),
        _ => None,
    };
    if let Some(relay) = &relay {
        creation.console_socket = Some(relay.path());
    }
    let signals = if detach { None } else { Some(foreground::Signals::take()?) };
    let pidfd_socket = pidfd_socket::connect(words)?;
    let container = init::create(&creation)?;
    let started = send_pidfd(pidfd_socket, &container).and_then(|()| Notify::listen(&container.folder));
    let started = started.and_then(|notify| {
        init::start(&asked.acts, &container, &asked.spec.hooks)?;
        forward(notify, &container, signals.as_ref())
    });
    let code = match (started, signals) {
        (Err(error), _) => Err(error),
        (Ok(()), None) => return Ok(0),
        (Ok(()), Some(signals)) => foreground::wait(container.record.process.pid, &signals, relay),
    };
    if !words.is_on("keep") || code.is_err() {
        let poststop = asked.spec.hooks.poststop.as_ref();
        super::delete::remove(context, &asked.acts, &container, poststop)?;
    }
    code
}
