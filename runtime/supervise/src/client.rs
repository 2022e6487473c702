//! The other end of the socket: for the CRI service, which wraps it for its async runtime, and for tests.

use crate::wire::{Reply, Request, SOCKET_NAME};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use skiff_sys::pass::{recv_with_fds, send_with_fds};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A blocking connection to a supervisor.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
}

impl Client {
    /// Connects to the supervisor of the sandbox folder `dir`.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused`: there is no supervisor.
    pub fn connect(dir: &Path) -> io::Result<Self> {
        Ok(Self { stream: connect(dir)?, decoder: Decoder::default() })
    }

    /// Sends a request with its descriptors and waits for the first answer.
    ///
    /// # Errors
    /// The supervisor is gone or does not speak our protocol.
    pub fn call(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<(Reply, Option<OwnedFd>)> {
        let line = encode(request)?;
        let mut sent = send_with_fds(self.stream.as_fd(), &line, fds)?;
        while sent < line.len() {
            sent += send_with_fds(self.stream.as_fd(), &line[sent..], &[])?;
        }
        self.next()
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// The supervisor is gone or does not speak our protocol.
    #[allow(clippy::should_implement_trait, reason = "an end is an error here, and never expected")]
    pub fn next(&mut self) -> io::Result<(Reply, Option<OwnedFd>)> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(answer) = self.decoder.next()? {
                return Ok(answer);
            }
            let (count, fds) = recv_with_fds(self.stream.as_fd(), &mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.decoder.push(&buffer[..count], fds);
        }
    }
}

/// Whether an error of connecting, sending or receiving says that no supervisor is there (any more). Which of them it is
/// depends on how far the dying one had come with our connection and our bytes (unix(7), connect(2)).
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe | NotConnected | UnexpectedEof)
}

/// Connects to the socket in `dir`, however long its path is: a socket's address may have 107 bytes at most (unix(7)), so
/// the folder is named through our own descriptor of it.
///
/// # Errors
/// `NotFound` or `ConnectionRefused`: there is no supervisor.
pub fn connect(dir: &Path) -> io::Result<UnixStream> {
    let folder = open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET_NAME}", folder.as_raw_fd()))
}

/// A request as it goes over the socket.
///
/// # Errors
/// The process of an exec is not representable as JSON.
pub fn encode(request: &Request) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    Ok(line)
}

/// Cuts what arrives into answers.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Decoder {
    /// Takes what was received.
    pub fn push(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        self.bytes.extend_from_slice(bytes);
        self.fds.extend(fds);
    }

    /// The next whole answer, if there is one, with the descriptor that came with it.
    ///
    /// # Errors
    /// The line is no answer.
    #[allow(clippy::should_implement_trait, reason = "it can fail, and an end is not an end")]
    pub fn next(&mut self) -> io::Result<Option<(Reply, Option<OwnedFd>)>> {
        let Some(end) = self.bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        let reply = serde_json::from_slice(&line)?;
        // Only a started exec brings one; it must not wait for a line that expects none.
        let fd = if matches!(reply, Reply::ExecStarted { .. }) { self.fds.pop() } else { None };
        Ok(Some((reply, fd)))
    }
}
