//! The loop: wait for signals, clients and streams, and hand each to who knows what to do.

use crate::connection::{Connection, Received};
use crate::job::{ExecProcess, Job};
use crate::options::Options;
use crate::runtime::Runtime;
use crate::stdio::{ContainerIo, End};
use crate::wire::{ContainerState, Create, Exit, Phase, Reply, Request, SOCKET_NAME};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitStatus;
use skiff_step::Engine;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// Names a connection for as long as it lasts.
pub(crate) type ConnectionId = u64;

/// A container and everything we hold for it.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) spec: Create,
    pub(crate) phase: Phase,
    pub(crate) pid: Option<i32>,
    pub(crate) started_at_ns: Option<i64>,
    pub(crate) exit: Option<Exit>,
    pub(crate) io: ContainerIo,
}

/// The supervisor of one pod.
pub(crate) struct Supervisor {
    // Fixed at the start.
    pub(crate) dir: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) engine: Engine,
    signals: SignalFd,
    listener: UnixListener,

    // What there is.
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) containers: BTreeMap<String, Container>,
    pub(crate) execs: Vec<ExecProcess>,
    pub(crate) pause: Option<i32>,

    // What is under way.
    pub(crate) jobs: Vec<Job>,
    pub(crate) deferred: Vec<(ConnectionId, Request)>,
    /// Children that ended before the job that made them told us what they are.
    pub(crate) early_exits: BTreeMap<i32, WaitStatus>,
    pub(crate) numbers_given: u64,
    pub(crate) ending: bool,
}

#[derive(Debug)]
enum Token {
    Signals,
    Listener,
    Connection(ConnectionId),
    Stream(String, End),
}

impl Supervisor {
    /// Binds the socket in the working directory, which must be the sandbox's folder.
    pub(crate) fn bind(options: Options, engine: Engine) -> io::Result<Self> {
        let mut children = SigSet::empty();
        children.add(Signal::SIGCHLD);
        children.thread_block()?;
        let signals = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let listener = UnixListener::bind(SOCKET_NAME)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            dir: options.dir,
            runtime: Runtime { program: options.runtime, root: options.oci_root },
            engine,
            signals,
            listener,
            connections: BTreeMap::new(),
            containers: BTreeMap::new(),
            execs: Vec::new(),
            pause: None,
            jobs: Vec::new(),
            deferred: Vec::new(),
            early_exits: BTreeMap::new(),
            numbers_given: 0,
            ending: false,
        })
    }

    /// Serves until it is told to end.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        while !self.ending {
            for (token, flags) in self.wait()? {
                self.handle(token, flags);
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<Vec<(Token, PollFlags)>> {
        let mut tokens = vec![Token::Signals, Token::Listener];
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        for (&id, connection) in &self.connections {
            tokens.push(Token::Connection(id));
            fds.push(PollFd::new(connection.as_fd(), PollFlags::POLLIN));
        }
        // Until the runtime's create is done, the pipes carry its own words.
        for (id, container) in self.containers.iter().filter(|(_, container)| container.phase != Phase::Creating) {
            for (end, fd, flags) in container.io.interests() {
                tokens.push(Token::Stream(id.clone(), end));
                fds.push(PollFd::new(fd, flags));
            }
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let happened = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(tokens.into_iter().zip(happened).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn handle(&mut self, token: Token, flags: PollFlags) {
        match token {
            Token::Signals => {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.reap();
            }
            Token::Listener => self.accept(),
            Token::Connection(id) => self.receive(id),
            Token::Stream(container, end) => {
                let Some(held) = self.containers.get_mut(&container) else { return };
                if let Err(error) = held.io.ready(end, flags) {
                    complain(&format!("write the log of container {container}"), &error);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            match Connection::new(stream) {
                Ok(connection) => {
                    let id = self.number();
                    self.connections.insert(id, connection);
                }
                Err(error) => complain("accept a client", &error),
            }
        }
    }

    fn receive(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.receive() {
            Received::Requests(requests) => {
                for (request, fds) in requests {
                    self.serve(id, request, fds);
                }
            }
            Received::Closed => {
                self.connections.remove(&id);
                self.kill_execs_of(id);
            }
        }
    }

    /// Answers on a connection, if it is still there.
    pub(crate) fn reply(&mut self, to: ConnectionId, reply: &Reply, fd: Option<OwnedFd>) {
        let Some(connection) = self.connections.get(&to) else { return };
        if connection.reply(reply, fd.as_ref().map(AsFd::as_fd)).is_err() {
            self.connections.remove(&to);
            self.kill_execs_of(to);
        }
    }

    /// Answers with a refusal.
    pub(crate) fn refuse(&mut self, to: ConnectionId, message: impl Into<String>) {
        self.reply(to, &Reply::Failed { message: message.into() }, None);
    }

    /// Tells every watcher of an exit.
    pub(crate) fn announce(&mut self, exit: &Exit) {
        let watchers = self.connections.iter().filter(|(_, connection)| connection.watching).map(|(&id, _)| id);
        for id in watchers.collect::<Vec<_>>() {
            self.reply(id, &Reply::Exited(exit.clone()), None);
        }
    }

    /// A number that was not given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers_given += 1;
        self.numbers_given
    }
}

impl Container {
    /// As [`Reply::Containers`] reports it.
    pub(crate) fn state(&self) -> ContainerState {
        ContainerState {
            container: self.spec.container.clone(),
            phase: self.phase,
            pid: self.pid,
            started_at_ns: self.started_at_ns,
            exit: self.exit.clone(),
        }
    }
}

/// Our own log: standard error, which the CRI service points at a file in the sandbox's folder.
pub(crate) fn complain(operation: &str, error: &dyn std::fmt::Display) {
    eprintln!("skiff-oci supervise: {operation}: {error}");
}
