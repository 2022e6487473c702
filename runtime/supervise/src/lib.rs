//! The per-pod supervisor: parent of the containers, keeper of their stdio, recorder of exits.
//!
//! `skiff-oci supervise` runs one for each pod sandbox. It holds the pod's network, IPC and UTS namespaces simply by living
//! in them, so nothing needs to be mounted for them and nothing is left of them when it ends. It outlives the CRI
//! service: a container never notices that the service was restarted.
//!
//! ```text
//!  skiff cri ──unix socket (wire)──► supervisor ──exec──► OCI runtime create/start/exec/delete
//!                                        │ ▲
//!                    stdio, exits, logs  ▼ │  reparented (subreaper)
//!                                     container, container, …
//! ```
//!
//! One thread, one poll(2) loop, no async runtime: its memory is paid once for every pod.
//! What it leaves to others: images, mounts, networks, bundles, and all decisions (the CRI service's).

pub mod client;
pub mod wire;

mod connection; // one client
mod console; // terminals from the runtime
mod exit; // what is kept of an ended process
mod job; // runs of the OCI runtime
mod log; // CRI log format
mod options; // the command line
mod pod; // namespaces
mod reap; // children that ended
mod runtime; // the OCI runtime's command line
mod serve; // requests
mod stdio; // streams of a container
mod supervisor; // the loop
mod users; // the pod's own, where it has them

use crate::options::Options;
use crate::supervisor::{Supervisor, complain};
use crate::wire::Ready;
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{dup2_stderr, dup2_stdout, setsid};
use skiff_step::{Engine, Step};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

const NAMESPACES: Step = Step::new("sandbox.namespaces", "namespaces(7), unshare(2)");

/// `skiff-oci supervise`, with the arguments after that word: `--sandbox ID --dir DIR --runtime PATH --oci-root DIR [--hostname NAME] [--network pod|host]
/// [--ipc pod|host] [--uts pod|host] [--uids INSIDE:OUTSIDE:COUNT,… --gids …]`.
///
/// Prints one [`wire::Ready`] line on standard output when its socket accepts, then runs until it is told to end.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    match args.first() {
        Some(first) if first == pod::PAUSE => return pod::pause(),
        Some(first) if first == users::PAUSE_AS => return pause_as(args.get(1)),
        _ => {}
    }
    let served = Options::parse(&args).map_err(io::Error::other).and_then(serve);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("serve", &error);
            ExitCode::FAILURE
        }
    }
}

/// Leaves the first process of a pid namespace behind, and says which one it is.
fn pause_as(users: Option<&OsString>) -> ExitCode {
    let Some(path) = users.map(Path::new) else { return ExitCode::FAILURE };
    let told = match users::leave_pause(path) {
        Ok(None) => return pause_in_silence(),
        Ok(Some(pid)) => writeln!(io::stdout(), "{pid}"),
        Err(error) => Err(error),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("make a pid namespace", &error);
            ExitCode::FAILURE
        }
    }
}

/// Whoever started us waits for the end of what we have to say.
fn pause_in_silence() -> ExitCode {
    let silent = || -> io::Result<()> {
        let nowhere = File::options().write(true).open("/dev/null")?;
        dup2_stderr(&nowhere)?;
        Ok(dup2_stdout(&nowhere)?)
    };
    if silent().is_err() { ExitCode::FAILURE } else { pod::pause() }
}

fn serve(options: Options) -> io::Result<()> {
    // A session of our own: the terminal of whoever started `skiff` must not be able to interrupt containers.
    match setsid() {
        // EPERM: we lead a process group, and so whoever started us has seen to it (setsid(2)).
        Ok(_) | Err(Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    set_child_subreaper(true)?;
    let engine = Engine::from_env("supervise")?;
    std::env::set_current_dir(&options.dir)?;
    let users = engine.run(&NAMESPACES, || options.sandbox.clone(), || pod::enter(&options))?;
    let descriptor = users.as_ref().map(users::Users::descriptor);
    let mut supervisor = Supervisor::bind(options, users, engine)?;
    announce_ready(descriptor)?;
    supervisor.run();
    Ok(())
}

/// If nobody reads this line, whoever wanted the sandbox is dead and will clean up by what it finds: so we end (EPIPE).
fn announce_ready(users: Option<i32>) -> io::Result<()> {
    let ready = Ready { pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX), users };
    let mut line = serde_json::to_vec(&ready)?;
    line.push(b'\n');
    let mut out = io::stdout();
    out.write_all(&line)?;
    out.flush()?;
    Ok(dup2_stdout(File::options().write(true).open("/dev/null")?)?)
}
