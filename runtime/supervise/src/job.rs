//! Runs of the OCI runtime: begun here, finished when the kernel tells us that the program ended.
//!
//! ```text
//!  request ──begin──► Job (a child process) ──SIGCHLD──► finish ──► reply
//!                                  other child ──SIGCHLD──► a container's or an exec's exit
//! ```

use crate::console::Console;
use crate::exit;
use crate::log::{LogFile, Stream};
use crate::runtime::{self, failure};
use crate::serve::check_exec;
use crate::stdio::{ClientEnds, ContainerIo};
use crate::supervisor::{ConnectionId, Container, Supervisor, complain};
use crate::users::Users;
use crate::wire::{Create, Exec, Phase, Reply, StdinPolicy};
use skiff_step::Step;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CREATE: Step = Step::new("supervise.create", "OCI runtime-spec, runtime.md, Create");
const START: Step = Step::new("supervise.start", "OCI runtime-spec, runtime.md, Start");
const EXEC: Step = Step::new("supervise.exec", "CRI v1, ExecSync and Exec");
const DELETE: Step = Step::new("supervise.delete", "OCI runtime-spec, runtime.md, Delete");
const KILL_ALL: Step = Step::new("supervise.kill-all", "OCI runtime-spec, runtime.md, Kill; pid_namespaces(7)");

/// A run of the OCI runtime.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) pid: i32,
    pub(crate) container: String,
    pub(crate) reply_to: ConnectionId,
    pub(crate) log: PathBuf,
    pub(crate) work: Work,
}

/// What a run is for.
#[derive(Debug)]
pub(crate) enum Work {
    Create { pid_file: PathBuf, console: Option<Console> },
    Start,
    Exec { process_file: PathBuf, pid_file: PathBuf, console: Option<Console> },
    Delete,
    KillAll,
}

/// A further process in a container.
#[derive(Debug)]
pub(crate) struct ExecProcess {
    pub(crate) pid: i32,
    pub(crate) container: String,
    pub(crate) connection: ConnectionId,
}

impl Supervisor {
    /// Whether the runtime runs for this container just now.
    pub(crate) fn is_busy(&self, container: &str) -> bool {
        self.jobs.iter().any(|job| job.container == container)
    }

    pub(crate) fn begin_create(&mut self, from: ConnectionId, create: Create) {
        let id = create.container.clone();
        if self.containers.contains_key(&id) {
            return self.refuse(from, format!("create container {id}: it exists"));
        }
        if let Err(error) = self.try_create(from, create) {
            self.containers.remove(&id);
            self.refuse(from, format!("create container {id}: {error}"));
        }
    }

    fn try_create(&mut self, from: ConnectionId, create: Create) -> io::Result<()> {
        let (id, number) = (create.container.clone(), self.number());
        let (log, pid_file) = (self.scratch(number, "log"), self.scratch(number, "pid"));
        let mut command = self.runtime.command(&log, "create");
        command.arg("--bundle").arg(&create.bundle).arg("--pid-file").arg(&pid_file);
        let console = console(&mut command, create.terminal, number)?;
        let mut io = ContainerIo::default();
        io.log = create.log.as_deref().map(open_log).transpose()?;
        if !create.terminal {
            connect_pipes(&mut command, &mut io, create.stdin, self.users.as_ref())?;
        }
        command.arg(&id);
        let engine = self.engine.correlated(create.correlation.as_deref());
        let child = engine.run(&CREATE, || id.clone(), || runtime::spawn(&mut command))?;
        let container =
            Container { spec: create, phase: Phase::Creating, pid: None, started_at_ns: None, exit: None, io };
        self.containers.insert(id.clone(), container);
        self.take_on(child.id(), id, from, log, Work::Create { pid_file, console });
        Ok(())
    }

    pub(crate) fn begin_start(&mut self, from: ConnectionId, container: &str) {
        match self.containers.get(container).map(|container| container.phase) {
            Some(Phase::Created) if !self.is_busy(container) => {
                self.begin_plain(from, container, "start", &[], &START, Work::Start);
            }
            Some(phase) => self.refuse(from, format!("start container {container}: it is {phase:?}")),
            None => self.refuse(from, format!("start container {container}: no such container")),
        }
    }

    pub(crate) fn begin_delete(&mut self, from: ConnectionId, container: &str) {
        self.begin_plain(from, container, "delete", &["--force"], &DELETE, Work::Delete);
    }

    /// The first process of a container without a pid namespace of its own ended, the rest need not have.
    pub(crate) fn begin_kill_all(&mut self, container: &str) {
        const NOBODY: ConnectionId = 0;
        self.begin_plain(NOBODY, container, "kill", &["--all"], &KILL_ALL, Work::KillAll);
    }

    fn begin_plain(&mut self, from: ConnectionId, id: &str, verb: &str, flags: &[&str], step: &Step, work: Work) {
        let number = self.number();
        let log = self.scratch(number, "log");
        let mut command = self.runtime.command(&log, verb);
        command.args(flags).arg(id);
        if matches!(work, Work::KillAll) {
            command.arg("9");
        }
        let correlation = self.containers.get(id).and_then(|container| container.spec.correlation.clone());
        let engine = self.engine.correlated(correlation.as_deref());
        match engine.run(step, || id.to_owned(), || runtime::spawn(&mut command)) {
            Ok(child) => self.take_on(child.id(), id.to_owned(), from, log, work),
            Err(error) => self.refuse(from, format!("{verb} container {id}: {error}")),
        }
    }

    pub(crate) fn begin_exec(&mut self, from: ConnectionId, exec: Exec, ends: ClientEnds) {
        let id = exec.container.clone();
        if let Err(message) = check_exec(&exec) {
            return self.refuse(from, message);
        }
        if self.containers.get(&id).is_none_or(|container| container.phase != Phase::Running) {
            return self.refuse(from, format!("exec in container {id}: it does not run"));
        }
        if let Err(error) = self.try_exec(from, &exec, ends) {
            self.refuse(from, format!("exec in container {id}: {error}"));
        }
    }

    fn try_exec(&mut self, from: ConnectionId, exec: &Exec, ends: ClientEnds) -> io::Result<()> {
        let number = self.number();
        let [log, process_file, pid_file] = ["log", "process", "pid"].map(|kind| self.scratch(number, kind));
        fs::write(&process_file, serde_json::to_vec(&exec.process)?)?;
        let mut command = self.runtime.command(&log, "exec");
        command.arg("--process").arg(&process_file).arg("--pid-file").arg(&pid_file).arg("--detach");
        let console = console(&mut command, exec.terminal, number)?;
        command.arg(&exec.container);
        for (end, place) in [(ends.stdin, 0), (ends.stdout, 1), (ends.stderr, 2)] {
            let Some(end) = end else { continue };
            self.users.as_ref().map_or(Ok(()), |users| users.own(&end))?;
            match place {
                0 => command.stdin(end),
                1 => command.stdout(end),
                _ => command.stderr(end),
            };
        }
        let child = self.engine.run(&EXEC, || exec.container.clone(), || runtime::spawn(&mut command))?;
        self.take_on(child.id(), exec.container.clone(), from, log, Work::Exec { process_file, pid_file, console });
        Ok(())
    }

    fn take_on(&mut self, pid: u32, container: String, reply_to: ConnectionId, log: PathBuf, work: Work) {
        let pid = i32::try_from(pid).unwrap_or(i32::MAX);
        self.jobs.push(Job { pid, container, reply_to, log, work });
        // A SIGCHLD that came while it was unblocked for the new program is lost; see runtime::spawn.
        self.reap();
    }

    fn scratch(&self, number: u64, kind: &str) -> PathBuf {
        self.dir.join(format!("run-{number}.{kind}"))
    }

    /// The runtime ended with this text for its status, empty for success.
    pub(crate) fn finish(&mut self, mut job: Job, status: &str) {
        let words = match (&job.work, self.containers.get_mut(&job.container)) {
            (Work::Create { .. }, Some(container)) if !status.is_empty() => container.io.last_words(),
            _ => Vec::new(),
        };
        let outcome = if status.is_empty() { Ok(()) } else { Err(failure(&job.log, &words, status)) };
        let (id, to) = (job.container.clone(), job.reply_to);
        match &mut job.work {
            Work::Create { pid_file, console } => self.finish_create(to, &id, pid_file, console.take(), outcome),
            Work::Start => self.finish_start(to, &id, outcome),
            Work::Exec { pid_file, console, .. } => self.finish_exec(to, &id, pid_file, console.take(), outcome),
            Work::Delete => self.finish_delete(to, &id, outcome),
            Work::KillAll => {
                // It says so when nobody was left; then there is nothing to tell anybody.
                if let Err(message) = outcome {
                    complain(&format!("kill the rest of container {id}"), &message);
                }
            }
        }
        job.tidy();
    }

    fn finish_create(
        &mut self,
        to: ConnectionId,
        id: &str,
        pid_file: &Path,
        console: Option<Console>,
        outcome: Result<(), String>,
    ) {
        let created = outcome.and_then(|()| {
            let Some(container) = self.containers.get_mut(id) else { return Err("it was forgotten".to_owned()) };
            if let Some(console) = console {
                let (takes_input, once) =
                    (container.spec.stdin != StdinPolicy::Empty, container.spec.stdin == StdinPolicy::Once);
                let master = console.receive().map_err(|error| format!("receive its terminal: {error}"))?;
                container.io.set_terminal(master, takes_input, once).map_err(|error| error.to_string())?;
            }
            let pid = read_pid(pid_file)?;
            (container.pid, container.phase) = (Some(pid), Phase::Created);
            Ok(pid)
        });
        match created {
            Ok(pid) => {
                self.reply(to, &Reply::Created { pid }, None);
                self.settle_early_exit(pid);
            }
            Err(message) => {
                self.containers.remove(id);
                self.refuse(to, message);
            }
        }
    }

    fn finish_start(&mut self, to: ConnectionId, id: &str, outcome: Result<(), String>) {
        if let Err(message) = outcome {
            return self.refuse(to, message);
        }
        let started_at_ns = exit::now_ns();
        if let Some(container) = self.containers.get_mut(id) {
            container.started_at_ns = Some(started_at_ns);
            // A short command may have ended, and been reaped, before the runtime's start did.
            if container.phase == Phase::Created {
                container.phase = Phase::Running;
            }
        }
        self.reply(to, &Reply::Started { started_at_ns }, None);
    }

    fn finish_exec(
        &mut self,
        to: ConnectionId,
        id: &str,
        pid_file: &Path,
        console: Option<Console>,
        outcome: Result<(), String>,
    ) {
        let started = outcome.and_then(|()| {
            let master = console.map(|console| console.receive()).transpose();
            Ok((read_pid(pid_file)?, master.map_err(|error| format!("receive its terminal: {error}"))?))
        });
        match started {
            Ok((pid, master)) => {
                self.execs.push(ExecProcess { pid, container: id.to_owned(), connection: to });
                self.reply(to, &Reply::ExecStarted { pid }, master);
                if !self.connections.contains_key(&to) {
                    self.kill_execs_of(to);
                }
                self.settle_early_exit(pid);
            }
            Err(message) => self.refuse(to, message),
        }
    }

    fn finish_delete(&mut self, to: ConnectionId, id: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.containers.remove(id);
                // Absent when it never ended while we watched.
                let _may_not_be_there = fs::remove_file(self.dir.join(crate::wire::exit_file_name(id)));
                self.reply(to, &Reply::Done, None);
            }
            Err(message) => self.refuse(to, message),
        }
    }
}

impl Job {
    /// Removes the run's scratch files; one that was never made is not missed.
    fn tidy(self) {
        let _may_not_be_there = fs::remove_file(&self.log);
        match self.work {
            Work::Create { pid_file, .. } => {
                let _may_not_be_there = fs::remove_file(pid_file);
            }
            Work::Exec { process_file, pid_file, .. } => {
                let _may_not_be_there = fs::remove_file(process_file);
                let _may_not_be_there = fs::remove_file(pid_file);
            }
            Work::Start | Work::Delete | Work::KillAll => {}
        }
    }
}

fn read_pid(file: &Path) -> Result<i32, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("read pid file {}: {error}", file.display()))?;
    text.trim().parse().map_err(|error| format!("pid file {}: `{}`: {error}", file.display(), text.trim()))
}

fn console(command: &mut Command, wanted: bool, number: u64) -> io::Result<Option<Console>> {
    if !wanted {
        return Ok(None);
    }
    let console = Console::listen(number)?;
    command.arg("--console-socket").arg(console.path());
    Ok(Some(console))
}

fn open_log(path: &Path) -> io::Result<LogFile> {
    LogFile::open(path).map_err(|error| io::Error::new(error.kind(), format!("open log {}: {error}", path.display())))
}

fn connect_pipes(
    command: &mut Command,
    io: &mut ContainerIo,
    stdin: StdinPolicy,
    users: Option<&Users>,
) -> io::Result<()> {
    let own = |pipe: BorrowedFd<'_>| users.map_or(Ok(()), |users| users.own(pipe));
    let ((stdout, to_stdout), (stderr, to_stderr)) = (io::pipe()?, io::pipe()?);
    own(to_stdout.as_fd())?;
    own(to_stderr.as_fd())?;
    command.stdout(to_stdout).stderr(to_stderr);
    io.add_source(Stream::Stdout, stdout.into())?;
    io.add_source(Stream::Stderr, stderr.into())?;
    if stdin == StdinPolicy::Empty {
        command.stdin(Stdio::null());
        return Ok(());
    }
    let (from_stdin, input) = io::pipe()?;
    own(from_stdin.as_fd())?;
    command.stdin(from_stdin);
    io.set_input(input.into(), stdin == StdinPolicy::Once)
}
