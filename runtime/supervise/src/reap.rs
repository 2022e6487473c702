//! Children that ended: a runtime's run, a container's first process, an exec, or an orphan that we inherited.

use crate::exit;
use crate::supervisor::{Supervisor, complain};
use crate::wire::{Exit, Phase, PidNamespace, Reply};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

impl Supervisor {
    /// Takes every child that has ended (signals coalesce: one SIGCHLD may stand for many, signal(7)).
    pub(crate) fn reap(&mut self) {
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(status) => self.ended(status),
            }
        }
    }

    fn ended(&mut self, status: WaitStatus) {
        let Some(pid) = status.pid().map(Pid::as_raw) else { return };
        if let Some(at) = self.jobs.iter().position(|job| job.pid == pid) {
            let job = self.jobs.remove(at);
            self.finish(job, &describe(status));
            self.after_job();
        } else if !self.settle(pid, status) && !self.jobs.is_empty() {
            self.early_exits.insert(pid, status);
        }
    }

    /// A job's pid file names `pid`: perhaps we have reaped it already.
    pub(crate) fn settle_early_exit(&mut self, pid: i32) {
        if let Some(status) = self.early_exits.remove(&pid) {
            self.settle(pid, status);
        }
    }

    fn settle(&mut self, pid: i32, status: WaitStatus) -> bool {
        if self.pause == Some(pid) {
            self.pause = None;
            return true;
        }
        if let Some(at) = self.execs.iter().position(|exec| exec.pid == pid) {
            let exec = self.execs.remove(at);
            if let Some(exit) = exit::exit_of(&exec.container, status) {
                self.reply(exec.connection, &Reply::Exited(exit), None);
            }
            return true;
        }
        let owner = self.containers.values().find(|container| container.pid == Some(pid) && container.exit.is_none());
        let Some(id) = owner.map(|container| container.spec.container.clone()) else { return false };
        if let Some(exit) = exit::exit_of(&id, status) {
            self.container_ended(&id, exit);
        }
        true
    }

    /// Order matters: the log is complete before the exit is known, and the exit is on file before anyone hears of it.
    fn container_ended(&mut self, id: &str, mut exit: Exit) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Err(error) = container.io.finish() {
            complain(&format!("write the end of the log of container {id}"), &error);
        }
        exit.oom_killed = exit::oom_killed(&container.spec.cgroup);
        container.phase = Phase::Exited;
        container.exit = Some(exit.clone());
        let leaves_others = container.spec.pid_namespace == PidNamespace::Shared;
        if let Err(error) = exit::record(&self.dir, &exit) {
            complain(&format!("record the exit of container {id}"), &error);
        }
        self.announce(&exit);
        if leaves_others {
            self.begin_kill_all(id);
        }
    }

    fn after_job(&mut self) {
        if self.jobs.is_empty() {
            self.early_exits.clear();
        }
        for (from, request) in std::mem::take(&mut self.deferred) {
            self.serve(from, request, Vec::new());
        }
    }
}

/// Empty for success.
fn describe(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, 0) => String::new(),
        WaitStatus::Exited(_, code) => format!("exit status {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("signal {signal}"),
        other => format!("{other:?}"),
    }
}
