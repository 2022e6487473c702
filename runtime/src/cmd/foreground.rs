//! Staying in front of a container: signals are passed on, a terminal is relayed, the exit code is ours.

use crate::error::{Error, On, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{self, SetArg, Termios};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// How much of a terminal's output is moved at once: one page.
const RELAY_BYTES: usize = 4096;

/// The signals of this process, as something to poll.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Takes all signals that can be taken. The container's program starts with none blocked all the same: its signal mask
    /// is cleared just before execve.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub(super) fn take() -> Result<Self> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let all = forwarded();
        all.thread_block().on("take", "signals")?;
        SignalFd::with_flags(&all, flags).on("take", "signals").map(Self)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// All but those that report our own mistakes or our own terminal's output.
fn forwarded() -> SigSet {
    let mut set = SigSet::all();
    for own in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT, Signal::SIGTTOU] {
        set.remove(own);
    }
    set
}

/// The console socket of a container whose terminal we show ourselves, and our own terminal's state.
pub(super) struct TerminalRelay {
    listener: UnixListener,
    path: PathBuf,
    directory: tempdir::Own,
}

mod tempdir {
    //! A private directory that goes with its owner.

    use crate::error::{On, Result};
    use std::path::PathBuf;

    pub(super) struct Own(pub(super) PathBuf);

    impl Own {
        pub(super) fn make(name: &str) -> Result<Self> {
            use std::os::unix::fs::DirBuilderExt;
            let path = std::env::temp_dir().join(format!("skiff-oci-{}-{name}", std::process::id()));
            std::fs::DirBuilder::new().mode(0o700).create(&path).on("create", path.display())?;
            Ok(Self(path))
        }
    }

    impl Drop for Own {
        fn drop(&mut self) {
            // What stays is an empty directory in the folder for temporary files.
            let _stays_at_worst = std::fs::remove_dir_all(&self.0);
        }
    }
}

impl TerminalRelay {
    /// Listens for the master of a container's terminal.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn listen() -> Result<Self> {
        let directory = tempdir::Own::make("console")?;
        let path = directory.0.join("console.sock");
        let listener = UnixListener::bind(&path).on("listen at", path.display())?;
        Ok(Self { listener, path, directory })
    }

    /// Where to send it.
    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn receive(self) -> Result<Shown> {
        let (stream, _) = self.listener.accept().on("accept", "terminal")?;
        let mut name = [0; 64];
        let (_, mut fds) = skiff_sys::pass::recv_with_fds(stream.as_fd(), &mut name).on("receive", "terminal")?;
        drop(self.directory);
        let master = fds.pop().ok_or_else(|| Error::Said("console socket: no terminal came".to_owned()))?;
        Shown::new(master)
    }
}

/// A terminal shown on ours, which is raw meanwhile.
struct Shown {
    master: OwnedFd,
    before: Option<Termios>,
    stdin_open: bool,
}

impl Shown {
    fn new(master: OwnedFd) -> Result<Self> {
        let stdin = std::io::stdin();
        // Without a terminal of our own there is nothing to make raw: input may come from a pipe.
        let before = termios::tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            termios::cfmakeraw(&mut raw);
            termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw).on("make raw", "terminal")?;
        }
        let shown = Self { master, before, stdin_open: true };
        shown.resize();
        Ok(shown)
    }

    /// Both have a size, or our input is no terminal and the size stays what it is.
    fn resize(&self) {
        if let Ok((columns, rows)) = skiff_sys::terminal::window_size(std::io::stdin().as_fd()) {
            let _only_terminals_have_sizes = skiff_sys::pass::set_window_size(self.master.as_fd(), columns, rows);
        }
    }

    /// Moves what there is from the container to us; whether there may be more.
    fn show(&self) -> Result<bool> {
        let mut buffer = [0; RELAY_BYTES];
        match read(&self.master, &mut buffer) {
            // EIO: nobody has the other end open any more (pty(7)).
            Ok(0) | Err(Errno::EIO) => Ok(false),
            Ok(count) => write_all(std::io::stdout().as_fd(), &buffer[..count]).map(|()| true),
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(true),
            Err(errno) => Err(errno).on("read", "terminal"),
        }
    }

    fn type_in(&mut self) -> Result<()> {
        let mut buffer = [0; RELAY_BYTES];
        match read(std::io::stdin().as_fd(), &mut buffer) {
            Ok(0) | Err(Errno::EIO) => self.stdin_open = false,
            Ok(count) => write_all(self.master.as_fd(), &buffer[..count])?,
            Err(Errno::EINTR | Errno::EAGAIN) => (),
            Err(errno) => return Err(errno).on("read", "standard input"),
        }
        Ok(())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _our_terminal_may_be_gone = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => (),
            Err(errno) => return Err(errno).on("write", "terminal"),
        }
    }
    Ok(())
}

/// Waits until `pid` ends, passing signals on to it, and returns its code as a shell would.
///
/// # Errors
/// Those of poll(2) and waitpid(2).
pub(super) fn wait(pid: i32, signals: &Signals, relay: Option<TerminalRelay>) -> Result<u8> {
    let mut shown = relay.map(TerminalRelay::receive).transpose()?;
    let pid = Pid::from_raw(pid);
    let mut output_open = shown.is_some();
    loop {
        let (signalled, output, input) = ready(signals, shown.as_ref(), output_open)?;
        if let Some(shown) = shown.as_mut() {
            if output {
                output_open = shown.show()?;
            }
            if input {
                shown.type_in()?;
            }
        }
        if signalled && let Some(code) = pass_on(pid, signals, shown.as_ref())? {
            while output_open && let Some(shown) = &shown {
                output_open = shown.show()?;
            }
            return Ok(code);
        }
    }
}

fn ready(signals: &Signals, shown: Option<&Shown>, output_open: bool) -> Result<(bool, bool, bool)> {
    let stdin = std::io::stdin();
    let mut polled = vec![PollFd::new(signals.0.as_fd(), PollFlags::POLLIN)];
    if let Some(shown) = shown {
        let output = if output_open { PollFlags::POLLIN } else { PollFlags::empty() };
        polled.push(PollFd::new(shown.master.as_fd(), output));
        if shown.stdin_open {
            polled.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
    }
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => (),
        Err(errno) => return Err(errno).on("wait for", "container"),
    }
    let is_ready = |index: usize| polled.get(index).is_some_and(|fd| fd.any().unwrap_or(false));
    Ok((is_ready(0), is_ready(1) && output_open, is_ready(2)))
}

/// Reads the signals that came; the container's exit code if one of them told of it.
fn pass_on(pid: Pid, signals: &Signals, shown: Option<&Shown>) -> Result<Option<u8>> {
    while let Some(came) = signals.0.read_signal().on("read", "signals")? {
        match Signal::try_from(came.ssi_signo.cast_signed()) {
            Ok(Signal::SIGCHLD) => (),
            Ok(Signal::SIGWINCH) if shown.is_some() => shown.into_iter().for_each(Shown::resize),
            // It may have ended meanwhile, and SIGCHLD is on its way.
            Ok(signal) => drop(kill(pid, signal)),
            // A real-time signal, for which nix has no name and we no use.
            Err(_) => (),
        }
    }
    reap(pid)
}

fn reap(pid: Pid) -> Result<Option<u8>> {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)).on("wait for", pid)? {
        WaitStatus::Exited(_, code) => Ok(Some(u8::try_from(code).unwrap_or(u8::MAX))),
        WaitStatus::Signaled(_, signal, _) => Ok(Some(128 + u8::try_from(signal as i32).unwrap_or(0))),
        _ => Ok(None),
    }
}
