//! What each request does at once; what needs the OCI runtime becomes a job.

use crate::pod;
use crate::stdio::ClientEnds;
use crate::supervisor::{ConnectionId, Container, Supervisor};
use crate::users::Users;
use crate::wire::{Attach, Exec, Phase, Reply, Request};
use nix::sys::signal::Signal;
use skiff_sys::pass::set_window_size;
use skiff_sys::reap::kill;
use std::os::fd::{AsFd, OwnedFd};

impl Supervisor {
    /// Serves one request; the answer may come later.
    pub(crate) fn serve(&mut self, from: ConnectionId, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::Create(create) => self.begin_create(from, create),
            Request::Start { container } => self.begin_start(from, &container),
            Request::Exec(exec) => match take_ends([exec.stdin, exec.stdout, exec.stderr], fds) {
                Some(ends) => self.begin_exec(from, exec, ends),
                None => self.refuse(from, "exec: other descriptors came than were announced"),
            },
            Request::Delete { ref container } if self.is_busy(container) => self.deferred.push((from, request)),
            Request::Delete { container } => self.begin_delete(from, &container),
            Request::Attach(attach) => self.attach(from, &attach, fds),
            Request::Signal { container, signal } => self.signal(from, &container, signal),
            Request::Resize { container, columns, rows } => self.resize(from, &container, columns, rows),
            Request::ReopenLog { container } => self.reopen_log(from, &container),
            Request::List => {
                let containers = self.containers.values().map(Container::state).collect();
                self.reply(from, &Reply::Containers { containers }, None);
            }
            Request::Watch => {
                if let Some(connection) = self.connections.get_mut(&from) {
                    connection.watching = true;
                }
                self.reply(from, &Reply::Done, None);
            }
            Request::PodPid => self.pod_pid(from),
            Request::Shutdown => self.shut_down(from),
        }
    }

    fn attach(&mut self, from: ConnectionId, attach: &Attach, fds: Vec<OwnedFd>) {
        let Some(ends) = take_ends([attach.stdin, attach.stdout, attach.stderr], fds) else {
            return self.refuse(from, "attach: other descriptors came than were announced");
        };
        match self.containers.get_mut(&attach.container) {
            Some(container) if container.phase == Phase::Running => match container.io.attach(ends) {
                Ok(()) => self.reply(from, &Reply::Attached, None),
                Err(error) => self.refuse(from, format!("attach to container {}: {error}", attach.container)),
            },
            _ => self.refuse(from, format!("attach to container {}: it does not run", attach.container)),
        }
    }

    /// The process is our child and its zombie stays until we reap it, so its number cannot mean another process.
    fn signal(&mut self, from: ConnectionId, container: &str, signal: i32) {
        let result = match self.containers.get(container) {
            None => return self.refuse(from, format!("signal container {container}: no such container")),
            Some(Container { exit: Some(_), .. } | Container { pid: None, .. }) => Ok(()),
            Some(Container { pid: Some(pid), .. }) => kill(*pid, signal),
        };
        match result {
            Ok(()) => self.reply(from, &Reply::Done, None),
            Err(error) => self.refuse(from, format!("signal container {container} with {signal}: {error}")),
        }
    }

    fn resize(&mut self, from: ConnectionId, container: &str, columns: u16, rows: u16) {
        let terminal = self.containers.get(container).and_then(|container| container.io.terminal.as_ref());
        match terminal.map(|terminal| set_window_size(terminal.as_fd(), columns, rows)) {
            Some(Ok(())) => self.reply(from, &Reply::Done, None),
            Some(Err(error)) => self.refuse(from, format!("resize the terminal of container {container}: {error}")),
            None => self.refuse(from, format!("resize the terminal of container {container}: it has none")),
        }
    }

    fn reopen_log(&mut self, from: ConnectionId, container: &str) {
        match self.containers.get_mut(container).and_then(|container| container.io.log.as_mut()).map(|log| log.reopen())
        {
            Some(Ok(())) => self.reply(from, &Reply::Done, None),
            Some(Err(error)) => self.refuse(from, format!("reopen the log of container {container}: {error}")),
            None => self.refuse(from, format!("reopen the log of container {container}: it has none")),
        }
    }

    fn pod_pid(&mut self, from: ConnectionId) {
        let made = match self.pause {
            Some(pid) => Ok(pid),
            None => self.users.as_ref().map_or_else(pod::start_pause, Users::start_pause),
        };
        match made {
            Ok(pid) => {
                self.pause = Some(pid);
                self.reply(from, &Reply::PodPid { pid }, None);
            }
            Err(error) => self.refuse(from, format!("make the pod's pid namespace: {error}")),
        }
    }

    fn shut_down(&mut self, from: ConnectionId) {
        let running = self.containers.values().filter(|container| container.exit.is_none());
        let pids = running.filter_map(|container| container.pid).chain(self.pause);
        for pid in pids.chain(self.execs.iter().map(|exec| exec.pid)) {
            kill_surely(pid);
        }
        self.ending = true;
        self.reply(from, &Reply::Done, None);
    }

    /// An exec belongs to its connection: nobody would read its output or hear of its end.
    pub(crate) fn kill_execs_of(&mut self, connection: ConnectionId) {
        for exec in self.execs.iter().filter(|exec| exec.connection == connection) {
            kill_surely(exec.pid);
        }
    }
}

/// Kills a child of ours.
fn kill_surely(pid: i32) {
    // Root may signal everybody, so the only possible error is ESRCH: it has ended, which is what we want.
    let _ended_already = kill(pid, Signal::SIGKILL as i32);
}

/// Sorts descriptors by what was announced; none if the numbers differ.
fn take_ends(announced: [bool; 3], fds: Vec<OwnedFd>) -> Option<ClientEnds> {
    if announced.iter().filter(|&&is| is).count() != fds.len() {
        return None;
    }
    let mut fds = fds.into_iter();
    let [stdin, stdout, stderr] = announced.map(|is| if is { fds.next() } else { None });
    Some(ClientEnds { stdin, stdout, stderr })
}

/// Whether the request's own words fit together.
pub(crate) fn check_exec(exec: &Exec) -> Result<(), &'static str> {
    if exec.terminal && (exec.stdin || exec.stdout || exec.stderr) {
        return Err("exec: a terminal takes no other descriptors");
    }
    Ok(())
}
