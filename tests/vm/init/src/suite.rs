//! The commands of the suite, one after the other, and the processes they leave.

use crate::reports::Reports;
use crate::{On, Result};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use skiff_vm_init::plan::Command;
use skiff_vm_init::report::Report;
use std::io::Read;
use std::process::{self, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// A shell's exit code for a program that could not be started.
const NOT_STARTED: i32 = 127;
/// A process that outlives its command may keep the pipes; this long after the command's end we stop waiting for more.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What pipes hold at most, so that one read empties one.
const PIPE_BYTES: usize = 64 << 10;

/// Runs one command to its end and returns its exit code.
pub(crate) fn run(index: u32, command: &Command, environment: &[String], reports: &Reports) -> Result<i32> {
    let mut child = match prepare(command, environment).spawn() {
        Ok(child) => child,
        Err(error) => {
            let name = command.words.first().map_or("", String::as_str);
            reports.send(&Report::Err(index, format!("skiff-vm: {name}: {error}\n").into_bytes()))?;
            return Ok(NOT_STARTED);
        }
    };
    let (ended, ends) = channel();
    if let Some(out) = child.stdout.take() {
        forward(out, move |bytes| Report::Out(index, bytes), reports, ended.clone());
    }
    if let Some(err) = child.stderr.take() {
        forward(err, move |bytes| Report::Err(index, bytes), reports, ended.clone());
    }
    drop(ended);
    let code = reap_until(Pid::from_raw(i32::try_from(child.id()).on("pid", child.id())?))?;
    let patience = Instant::now() + LAST_WORDS;
    while ends.recv_timeout(patience.saturating_duration_since(Instant::now())).is_ok() {}
    Ok(code)
}

fn prepare(command: &Command, environment: &[String]) -> process::Command {
    let mut words = command.words.iter();
    let mut prepared = process::Command::new(words.next().map_or("", String::as_str));
    prepared.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_clear();
    prepared.current_dir(if command.directory.is_empty() { "/" } else { &command.directory });
    let pairs = environment.iter().chain(&command.environment);
    prepared.envs(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))));
    prepared
}

/// Sends what comes out of `pipe` until its end, then drops `ended`.
fn forward(
    mut pipe: impl Read + Send + 'static,
    report: impl Fn(Vec<u8>) -> Report + Send + 'static,
    reports: &Reports,
    ended: Sender<()>,
) {
    let reports = reports.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIPE_BYTES];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            if let Err(trouble) = reports.send(&report(buffer[..length].to_vec())) {
                eprintln!("skiff-vm-init: {trouble}");
            }
        }
        drop(ended);
    });
}

/// Waits for `pid`, and for every orphan that ends before it: all of them are children of process 1.
fn reap_until(pid: Pid) -> Result<i32> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(ended, code)) if ended == pid => return Ok(code),
            Ok(WaitStatus::Signaled(ended, signal, _)) if ended == pid => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => (),
            Err(error) => return Err(error).on("waitpid", pid),
        }
    }
}
