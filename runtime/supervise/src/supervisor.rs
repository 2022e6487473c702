//! The loop: wait for signals, clients and streams, and hand each to who knows what to do.

use crate::connection::{Connection, Received};
use crate::job::{ExecProcess, Job};
use crate::options::Options;
use crate::runtime::Runtime;
use crate::stdio::{ContainerIo, End};
use crate::users::Users;
use crate::wire::{ContainerState, Create, Exit, Phase, Reply, Request, SOCKET_NAME};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use skiff_step::Engine;
use skiff_sys::reap::{Ending, outlive_signals};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

/// How long we rest when the kernel has no descriptor or memory for us: trying at once would only burn time.
const REST: Duration = Duration::from_millis(100);

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
    /// The pod's own users, if it has them.
    pub(crate) users: Option<Users>,
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
    pub(crate) early_exits: BTreeMap<i32, Ending>,
    pub(crate) numbers_given: u64,
    pub(crate) ending: bool,
    /// Whether clients wait in the kernel's queue because we could not take them.
    crowded: Crowded,
}

/// Whether clients can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crowded {
    No,
    /// Not this time; try again after a rest.
    Rest,
    /// Try, but it need not be said again that it fails.
    Retry,
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
    pub(crate) fn bind(options: Options, users: Option<Users>, engine: Engine) -> io::Result<Self> {
        outlive_signals()?;
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
            users,
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
            crowded: Crowded::No,
        })
    }

    /// Serves until it is told to end.
    pub(crate) fn run(&mut self) {
        while !self.ending {
            let happened = self.wait();
            if self.crowded == Crowded::Rest {
                self.crowded = Crowded::Retry;
            }
            for (token, flags) in happened {
                self.handle(token, flags);
            }
        }
    }

    fn wait(&self) -> Vec<(Token, PollFlags)> {
        let mut tokens = vec![Token::Signals];
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let timeout = if self.crowded == Crowded::Rest {
            PollTimeout::try_from(REST).unwrap_or(PollTimeout::ZERO)
        } else {
            tokens.push(Token::Listener);
            fds.push(PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
            PollTimeout::NONE
        };
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
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Vec::new(),
            Err(error) => {
                // For want of memory (poll(2)). To end would orphan the containers.
                complain("wait for events", &error);
                std::thread::sleep(REST);
                return Vec::new();
            }
        }
        let happened = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        tokens.into_iter().zip(happened).filter(|(_, flags)| !flags.is_empty()).collect()
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
                if let Some(held) = self.containers.get_mut(&container) {
                    held.io.ready(end, flags);
                }
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept().and_then(|(stream, _)| Connection::new(stream)) {
                Ok(connection) => {
                    let id = self.number();
                    self.connections.insert(id, connection);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.crowded = Crowded::No;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if self.crowded == Crowded::No {
                        complain("accept a client, which has to wait", &error);
                    }
                    self.crowded = Crowded::Rest;
                    return;
                }
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
    // Nobody is left to tell when this fails (eprintln! would panic, and a full disk would end the pod's supervisor).
    let _unsaid = writeln!(io::stderr(), "skiff-oci supervise: {operation}: {error}");
}
