//! Children that ended: a runtime's run, a container's first process, an exec, or an orphan that we inherited.

use crate::exit;
use crate::supervisor::{Supervisor, complain};
use crate::wire::{Exit, Phase, PidNamespace, Reply};
use skiff_sys::reap::{Ending, reap};

impl Supervisor {
    /// Takes every child that has ended (signals coalesce: one SIGCHLD may stand for many, signal(7)).
    pub(crate) fn reap(&mut self) {
        loop {
            match reap() {
                Ok(Some((pid, ending))) => self.ended(pid, ending),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn ended(&mut self, pid: i32, ending: Ending) {
        if let Some(at) = self.jobs.iter().position(|job| job.pid == pid) {
            let job = self.jobs.remove(at);
            self.finish(job, &describe(ending));
            self.after_job();
        } else if !self.settle(pid, ending) && !self.jobs.is_empty() {
            self.early_exits.insert(pid, ending);
        }
    }

    /// A job's pid file names `pid`: perhaps we have reaped it already.
    pub(crate) fn settle_early_exit(&mut self, pid: i32) {
        if let Some(ending) = self.early_exits.remove(&pid) {
            self.settle(pid, ending);
        }
    }

    fn settle(&mut self, pid: i32, ending: Ending) -> bool {
        if self.pause == Some(pid) {
            self.pause = None;
            return true;
        }
        if let Some(at) = self.execs.iter().position(|exec| exec.pid == pid) {
            let exec = self.execs.remove(at);
            self.reply(exec.connection, &Reply::Exited(exit::exit_of(&exec.container, ending)), None);
            return true;
        }
        let owner = self.containers.values().find(|container| container.pid == Some(pid) && container.exit.is_none());
        let Some(id) = owner.map(|container| container.spec.container.clone()) else { return false };
        self.container_ended(&id, exit::exit_of(&id, ending));
        true
    }

    /// Order matters: the log is complete before the exit is known, and the exit is on file before anyone hears of it.
    fn container_ended(&mut self, id: &str, mut exit: Exit) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.io.finish();
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
fn describe(ending: Ending) -> String {
    match ending {
        Ending::Exited(0) => String::new(),
        Ending::Exited(code) => format!("exit status {code}"),
        Ending::Signalled(signal) => format!("signal {signal}"),
    }
}
