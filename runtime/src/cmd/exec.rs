//! `exec`: a further program in a running container.

use super::overlay::overlay;
use super::{Context, create::preserve_fds, foreground, path, pidfd_socket, subgroup};
use crate::cli::{Opt, Takes, Words};
use crate::error::{Error, On, Result};
use crate::inherited;
use crate::init::{self, Joining};
use crate::seccomp::Filter;
use crate::spec::Process;
use crate::spec::config::{self, Config};
use crate::state::{Container, Status};
use std::path::{Path, PathBuf};

pub(super) const OPTIONS: &[Opt] = &[
    Opt("process", Some('p'), Takes::Value),
    Opt("pid-file", None, Takes::Value),
    Opt("console-socket", None, Takes::Value),
    Opt("pidfd-socket", None, Takes::Value),
    Opt("detach", Some('d'), Takes::Nothing),
    Opt("preserve-fds", None, Takes::Value),
    Opt("tty", Some('t'), Takes::Nothing),
    Opt("user", Some('u'), Takes::Value),
    Opt("additional-gids", Some('g'), Takes::Value),
    Opt("env", Some('e'), Takes::Value),
    Opt("cwd", None, Takes::Value),
    Opt("cap", Some('c'), Takes::Value),
    Opt("no-new-privs", None, Takes::Nothing),
    Opt("apparmor", None, Takes::Value),
    Opt("process-label", None, Takes::Value),
    Opt("cgroup", None, Takes::Value),
    Opt("ignore-paused", None, Takes::Nothing),
    super::HELP,
];

/// `exec ID CMD…` or `exec --process FILE ID`.
pub(super) fn exec(context: &Context, words: &Words) -> Result<u8> {
    let (mut container, acts) = context.container(words)?;
    check_status(&container, words)?;
    let config = container.config()?;
    let linux = config.linux.as_ref();
    let mut process = Process::check("process", &written(words, &config)?, linux)?;
    process.add_limits(inherited::lift_limits()?);
    init::check_labels("process", &process.treatment)?;
    process.warnings.iter().for_each(|warning| context.warn(warning));
    let filter = linux.and_then(|linux| linux.seccomp.as_ref()).map(Filter::check).transpose()?;
    let groups = words.values("cgroup");
    container.record.cgroup = subgroup::below(&container.record.cgroup, &groups)?;
    if !groups.is_empty() && !words.is_on("ignore-paused") && container.record.cgroup.is_frozen()? {
        return Err(Error::Usage(format!(
            "--cgroup {}: is frozen (use --ignore-paused to override)",
            groups.join(" ")
        )));
    }
    let detach = words.is_on("detach");
    let (socket, relay) = console(words, &process, detach)?;
    let signals = if detach { None } else { Some(foreground::Signals::take()?) };
    let joining = Joining {
        acts: &acts,
        container: &container,
        process: &process,
        filter: filter.as_ref(),
        console: socket.as_deref().map(init::connect_console).transpose()?,
        pid_file: path(words, "pid-file")?,
        preserve_fds: preserve_fds(words)?,
    };
    if let Some(cpus) = &process.treatment.cpus_before {
        skiff_sys::schedule::set_affinity(cpus).on("run on", "process.execCPUAffinity.initial")?;
        let words: Vec<_> = cpus.iter().rev().map(|word| format!("{word:x}")).collect();
        context.debug(&format!("affinity: 0x{}", words.join("_")));
    }
    let pidfd_socket = pidfd_socket::connect(words)?;
    let born = init::join(&joining).map_err(|error| unless_stopped(&container, error))?;
    pidfd_socket::send(pidfd_socket, "setns", &born.pidfd)?;
    signals.map_or(Ok(0), |signals| foreground::wait(born.pid, &signals, relay))
}

fn check_status(container: &Container, words: &Words) -> Result<()> {
    let status = container.status()?;
    let is_fine = match status {
        Status::Created | Status::Running => true,
        // It starts when the container is resumed.
        Status::Paused => words.is_on("ignore-paused"),
        Status::Stopped => false,
    };
    if is_fine {
        return Ok(());
    }
    let hint = if status == Status::Paused { " (use --ignore-paused to override)" } else { "" };
    Err(not_in(container, status, hint))
}

fn not_in(container: &Container, status: Status, hint: &str) -> Error {
    Error::Said(format!("cannot exec in a container that is {}: {}{hint}", status.word(), container.record.id))
}

/// While a container ends, its process and its namespaces go one after the other, and so does whoever is on the way in: whatever failed,
/// the reason is that it ended.
fn unless_stopped(container: &Container, error: Error) -> Error {
    if container.record.process.is_ending() { not_in(container, Status::Stopped, "") } else { error }
}

/// Where the terminal's master goes, and whether that is ourselves.
fn console(
    words: &Words,
    process: &Process,
    detach: bool,
) -> Result<(Option<PathBuf>, Option<foreground::TerminalRelay>)> {
    let socket = path(words, "console-socket")?;
    match (process.terminal, detach, socket) {
        (Some(_), false, None) => {
            let relay = foreground::TerminalRelay::listen()?;
            Ok((Some(relay.path()), Some(relay)))
        }
        (Some(_), true, None) => Err(Error::Usage("a detached terminal needs --console-socket".to_owned())),
        (socket_for, _, socket) => Ok((socket.filter(|_| socket_for.is_some()), None)),
    }
}

/// The process as written: the file's, or the container's own with what the options change.
fn written(words: &Words, config: &Config) -> Result<config::Process> {
    if let Some(file) = words.value("process") {
        let bytes = std::fs::read(Path::new(file)).on("read", file)?;
        return config::parse("process", file, &bytes);
    }
    let process = config.process.clone().ok_or_else(|| Error::refused("process", "is missing"))?;
    overlay(process, words)
}
