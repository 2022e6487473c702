//! Hooks: programs that the engine wants run at points of a container's life, with its state on their standard input.

use crate::error::{Acts, Error, On, Result};
use crate::spec::config::Hook;
use crate::steps;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs `hooks` of the list `name` in order, in `directory`, until one fails.
///
/// # Errors
/// One cannot be started, fails, or takes longer than its timeout.
pub(crate) fn run(
    acts: &Acts,
    name: &str,
    hooks: Option<&Vec<Hook>>,
    state: &serde_json::Value,
    directory: &Path,
) -> Result<()> {
    run_with(acts, name, hooks, state, directory, &mut Err)
}

/// Runs all of `hooks`, also after one has failed: what was wrong is for `warn` (runtime-spec runtime, Lifecycle 13).
pub(crate) fn run_all(
    acts: &Acts,
    name: &str,
    hooks: Option<&Vec<Hook>>,
    state: &serde_json::Value,
    directory: &Path,
    warn: &mut dyn FnMut(Error),
) {
    let mut go_on = |error| {
        warn(error);
        Ok(())
    };
    let never_fails = run_with(acts, name, hooks, state, directory, &mut go_on);
    debug_assert!(never_fails.is_ok());
}

fn run_with(
    acts: &Acts,
    name: &str,
    hooks: Option<&Vec<Hook>>,
    state: &serde_json::Value,
    directory: &Path,
    failed: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<()> {
    for (index, hook) in hooks.into_iter().flatten().enumerate() {
        let operand = format!("{name}[{index}] {}", hook.path.display());
        let mut reason = String::new();
        let done = acts.step(&steps::HOOK_RUN, &operand, || {
            run_one(hook, state, directory).map_err(|error| {
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

fn run_one(hook: &Hook, state: &serde_json::Value, directory: &Path) -> Result<()> {
    let args = hook.args.clone().unwrap_or_default();
    let environment = hook.env.iter().flatten().filter_map(|pair| pair.split_once('='));
    let mut command = Command::new(&hook.path);
    command.args(args.iter().skip(1)).env_clear().envs(environment).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(first) = args.first() {
        command.arg0(first);
    }
    let mut child = command.spawn().on("execute", hook.path.display())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not care about the state may close its input; that is its right.
        let _not_read = stdin.write_all(state.to_string().as_bytes());
    }
    wait(&mut child, hook.timeout)
}

fn wait(child: &mut Child, timeout_seconds: Option<i64>) -> Result<()> {
    if let Some(seconds) = timeout_seconds {
        let pid = i32::try_from(child.id()).map_err(|_| Errno::ESRCH).on("wait for", child.id())?;
        let pidfd = skiff_sys::pidfd::open(pid).on("wait for", pid)?;
        let millis = i32::try_from(seconds.saturating_mul(1_000)).unwrap_or(i32::MAX);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut ends = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ends, timeout).on("wait for", pid)? == 0 {
            child.kill().on("kill", pid)?;
            child.wait().on("wait for", pid)?;
            return Err(Error::Said(format!("took longer than {seconds} s")));
        }
    }
    let status = child.wait().on("wait for", child.id())?;
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _whatever_it_said = stderr.read_to_string(&mut text);
    }
    Err(Error::Said(format!("{status}: {}", text.trim())))
}
