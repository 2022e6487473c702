//! Hooks: programs that the engine wants run at points of a container's life, with its state on their standard input.

use crate::error::{Acts, Error, On, Result};
use crate::spec::config::Hook;
use crate::steps;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::{CString, OsStr};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// How much of what a hook says is quoted when it fails: the end of it, in one packet of the handshake with all others.
const SAID_BYTES_MAX: usize = 4096;
/// How much of it is read at once.
const PAGE_BYTES: usize = 4096;

/// What a hook without `env` finds in its environment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Environment<'a> {
    /// That of who called the runtime.
    Callers,
    /// The container's: for a hook that is a program of the container (`startContainer`).
    Containers(&'a [CString]),
}

/// Where hooks run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) environment: Environment<'a>,
}

impl<'a> Place<'a> {
    /// In `directory`, with the caller's environment.
    pub(crate) const fn of_caller(directory: &'a Path) -> Self {
        Self { directory, environment: Environment::Callers }
    }
}

/// Runs `hooks` of the list `name` in order, at `place`, until one fails.
///
/// # Errors
/// One cannot be started, fails, or takes longer than its timeout.
pub(crate) fn run(
    acts: &Acts,
    name: &str,
    hooks: Option<&Vec<Hook>>,
    state: &serde_json::Value,
    place: Place<'_>,
) -> Result<()> {
    run_with(acts, name, hooks, state, place, &mut Err)
}

/// Runs all of `hooks`, also after one has failed: what was wrong is for `warn` (runtime-spec runtime, Lifecycle 13).
pub(crate) fn run_all(
    acts: &Acts,
    name: &str,
    hooks: Option<&Vec<Hook>>,
    state: &serde_json::Value,
    place: Place<'_>,
    warn: &mut dyn FnMut(Error),
) {
    let mut go_on = |error| {
        warn(error);
        Ok(())
    };
    let never_fails = run_with(acts, name, hooks, state, place, &mut go_on);
    debug_assert!(never_fails.is_ok());
}

fn run_with(
    acts: &Acts,
    name: &str,
    hooks: Option<&Vec<Hook>>,
    state: &serde_json::Value,
    place: Place<'_>,
    failed: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<()> {
    for (index, hook) in hooks.into_iter().flatten().enumerate() {
        let operand = format!("{name}[{index}] {}", hook.path.display());
        let mut reason = String::new();
        let done = acts.step(&steps::HOOK_RUN, &operand, || {
            run_one(hook, state, place).map_err(|error| {
                reason = error.to_string();
                error.errno().unwrap_or(Errno::ECANCELED)
            })
        });
        if let Err(error) = done {
            failed(if reason.is_empty() { error } else { Error::Said(format!("hook.run {operand}: {reason}")) })?;
        }
    }
    Ok(())
}

fn run_one(hook: &Hook, state: &serde_json::Value, place: Place<'_>) -> Result<()> {
    let args = hook.args.clone().unwrap_or_default();
    let mut command = Command::new(&hook.path);
    command.args(args.iter().skip(1)).current_dir(place.directory);
    set_environment(&mut command, hook, place.environment);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(first) = args.first() {
        command.arg0(first);
    }
    let mut child = command.spawn().on("execute", hook.path.display())?;
    let said = Talk::with(&mut child, state.to_string()).and_then(|talk| talk.attend(&child, hook.timeout));
    if said.is_err() {
        child.kill().on("kill", child.id())?;
    }
    let status = child.wait().on("wait for", child.id())?;
    match said? {
        said if !status.success() => Err(Error::Said(format!("{status}: {}", said.trim()))),
        _ => Ok(()),
    }
}

/// A hook without `env` has what the process that starts it has (config, POSIX-platform Hooks: `env` as in environ(7)); all
/// peers read it so.
fn set_environment(command: &mut Command, hook: &Hook, environment: Environment<'_>) {
    match (&hook.env, environment) {
        (Some(own), _) => {
            command.env_clear().envs(own.iter().filter_map(|pair| pair.split_once('=')));
        }
        (None, Environment::Containers(pairs)) => {
            let pairs = pairs.iter().map(|pair| OsStr::from_bytes(pair.to_bytes()));
            let pairs = pairs.filter_map(|pair| {
                let end = pair.as_bytes().iter().position(|byte| *byte == b'=')?;
                Some((OsStr::from_bytes(&pair.as_bytes()[..end]), OsStr::from_bytes(&pair.as_bytes()[end + 1..])))
            });
            command.env_clear().envs(pairs);
        }
        (None, Environment::Callers) => (),
    }
}

/// What goes to and comes from a running hook. Neither direction can hold us up: a hook may leave the state unread, say more
/// than a pipe holds, or leave children behind that keep its end of the pipe.
struct Talk {
    stdin: Option<ChildStdin>,
    stderr: Option<ChildStderr>,
    unsent: Vec<u8>,
    /// The end of what it said.
    said: Vec<u8>,
}

impl Talk {
    fn with(child: &mut Child, state: String) -> Result<Self> {
        let talk = Self {
            stdin: child.stdin.take(),
            stderr: child.stderr.take(),
            unsent: state.into_bytes(),
            said: Vec::new(),
        };
        let ends = [talk.stdin.as_ref().map(AsFd::as_fd), talk.stderr.as_ref().map(AsFd::as_fd)];
        for end in ends.into_iter().flatten() {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).on("talk to", child.id())?;
        }
        Ok(talk)
    }

    /// Until the hook ends; returns the end of what it said.
    fn attend(mut self, child: &Child, timeout_seconds: Option<i64>) -> Result<String> {
        let pid = i32::try_from(child.id()).map_err(|_| Errno::ESRCH).on("wait for", child.id())?;
        let pidfd = skiff_sys::pidfd::open(pid).on("wait for", pid)?;
        let limit = timeout_seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        // A limit beyond the end of time is none.
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                let seconds = timeout_seconds.unwrap_or_default();
                return Err(Error::Said(format!("took longer than {seconds} s")));
            }
            let has_ended = self.wait(pidfd.as_fd(), left).on("wait for", pid)?;
            self.send();
            self.hear();
            if has_ended {
                return Ok(String::from_utf8_lossy(&self.said).into_owned());
            }
        }
    }

    /// Until there is something to do, or the time is over; whether the hook has ended.
    fn wait(&self, pidfd: BorrowedFd<'_>, left: Option<Duration>) -> std::result::Result<bool, Errno> {
        // Rounded up: a wait of no time would be asked for again and again.
        let millis = |left: Duration| i32::try_from(left.as_millis()).unwrap_or(i32::MAX).saturating_add(1);
        let timeout =
            left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(millis(left)).unwrap_or(PollTimeout::MAX));
        let mut polled = vec![PollFd::new(pidfd, PollFlags::POLLIN)];
        polled.extend(self.stdin.as_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLOUT)));
        polled.extend(self.stderr.as_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN)));
        match poll(&mut polled, timeout) {
            Ok(_) => Ok(polled[0].any().unwrap_or(false)),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn send(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        match stdin.write(&self.unsent) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(error) if is_for_later(&error) => return,
            // A hook that does not care about the state may close its input; that is its right.
            Err(_) => self.unsent.clear(),
        }
        if self.unsent.is_empty() {
            self.stdin = None;
        }
    }

    fn hear(&mut self) {
        let mut buffer = [0; PAGE_BYTES];
        while let Some(stderr) = &mut self.stderr {
            match stderr.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    self.said.extend_from_slice(&buffer[..count]);
                    let surplus = self.said.len().saturating_sub(SAID_BYTES_MAX);
                    self.said.drain(..surplus);
                }
                Err(error) if is_for_later(&error) => return,
                Ok(_) | Err(_) => self.stderr = None,
            }
        }
    }
}

fn is_for_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted)
}
