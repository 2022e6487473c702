//! Network namespaces for tests: each is held by a thread of its own, so it goes with the test, however that ends.

#![allow(dead_code, reason = "each test file uses another part")]

use nix::sched::{CloneFlags, setns, unshare};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// How long a connection may take in a test; only a broken network takes it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A network namespace and the thread in it.
pub(crate) struct Namespace {
    jobs: Sender<Job>,
    pub(crate) thread_id: i32,
}

impl Namespace {
    /// A new, empty namespace.
    pub(crate) fn new() -> Self {
        Self::with(|| unshare(CloneFlags::CLONE_NEWNET).expect("tests of networks need CAP_SYS_ADMIN"))
    }

    /// A second thread in the same namespace.
    pub(crate) fn again(&self) -> Self {
        let namespace = std::fs::File::open(self.path()).expect("the namespace is there");
        Self::with(move || setns(&namespace, CloneFlags::CLONE_NEWNET).expect("it is a network namespace"))
    }

    fn with(enter: impl FnOnce() + Send + 'static) -> Self {
        let (jobs, inbox) = channel::<Job>();
        let (ready, is_ready) = channel();
        std::thread::spawn(move || {
            enter();
            ready.send(nix::unistd::gettid().as_raw()).expect("the test waits");
            inbox.into_iter().for_each(|job| job());
        });
        let thread_id = is_ready.recv().expect("the thread unshares");
        Self { jobs, thread_id }
    }

    /// Path of the namespace.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/task/{}/ns/net", std::process::id(), self.thread_id))
    }

    /// Runs `work` inside and waits for it.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = channel();
        let job = move || {
            let _ = sender.send(work());
        };
        self.jobs.send(Box::new(job)).expect("the thread lives as long as we do");
        result.recv().expect("the work inside the namespace panicked, see above")
    }

    /// Runs a future inside, on a runtime whose threads are inside too.
    pub(crate) fn block_on<T: Send + 'static, F: Future<Output = T> + Send + 'static>(&self, future: F) -> T {
        self.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(future)
        })
    }

    /// Runs a program of the system inside; panics if it fails, answers what it wrote.
    pub(crate) fn command(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || {
            let output = Command::new("sh").args(["-c", &line]).output().expect("there is a shell");
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{line}: {error}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    /// Joins this namespace to another with a veth pair, and gives both ends an address.
    pub(crate) fn join(&self, other: &Self, here: &str, there: &str) {
        let thread = other.thread_id;
        self.command(&format!("ip link add up0 type veth peer name up1 netns {thread}"));
        self.command(&format!("ip addr add {here} dev up0 && ip link set up0 up && ip link set lo up"));
        other.command(&format!("ip addr add {there} dev up1 && ip link set up1 up && ip link set lo up"));
    }

    /// Serves TCP inside: answers each connection with `name` and the address it came from.
    pub(crate) fn serve_tcp(&self, name: &'static str, port: u16) {
        let listener = self.run(move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("the port is free"));
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                let _ = write!(stream, "{name} {}", from.ip());
            }
        });
    }

    /// Serves UDP inside, as [`Namespace::serve_tcp`] does.
    pub(crate) fn serve_udp(&self, name: &'static str, port: u16) {
        let socket = self.run(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("the port is free"));
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(format!("{name} {}", from.ip()).as_bytes(), from);
            }
        });
    }

    /// What the server at `to` answers.
    pub(crate) fn ask_tcp(&self, to: &str) -> std::io::Result<String> {
        let to: SocketAddr = to.parse().expect("an address");
        self.run(move || {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
    }

    /// A UDP socket inside that talks to `to`.
    pub(crate) fn udp(&self, to: &str) -> UdpSocket {
        let to: SocketAddrV4 = to.parse().expect("an address");
        self.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
            socket.connect(to).expect("there is a route");
            socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
            socket
        })
    }
}

/// Sends a datagram and waits for the answer.
pub(crate) fn ask_udp(socket: &UdpSocket) -> std::io::Result<String> {
    let mut buffer = [0; 64];
    socket.send(b"?")?;
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
