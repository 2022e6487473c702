//! One client of the supervisor: requests in with their descriptors, replies out.

use crate::wire::{Reply, Request};
use nix::errno::Errno;
use skiff_sys::pass::{recv_with_fds, send_with_fds};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The longest request: an OCI process with a large environment stays far below.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A connected client.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// Whether exits are reported here.
    pub(crate) watching: bool,
}

/// Descriptors that may wait for the end of their request: an exec or attach has three.
const FDS_MAX: usize = 3;

/// What a readable connection gave.
pub(crate) enum Received {
    /// Requests with their descriptors, possibly none yet.
    Requests(Vec<(Request, Vec<OwnedFd>)>),
    /// The client is gone, or does not speak our protocol.
    Closed,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, received: Vec::new(), fds: Vec::new(), watching: false })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads what is there.
    pub(crate) fn receive(&mut self) -> Received {
        let mut buffer = [0; 16 * 1024];
        match recv_with_fds(self.stream.as_fd(), &mut buffer) {
            Ok((0, _)) => return Received::Closed,
            Ok((count, fds)) => {
                self.received.extend_from_slice(&buffer[..count]);
                self.fds.extend(fds);
                if self.fds.len() > FDS_MAX {
                    return Received::Closed;
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => return Received::Closed,
        }
        self.requests()
    }

    fn requests(&mut self) -> Received {
        let mut requests = Vec::new();
        while let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(request) => requests.push((request, std::mem::take(&mut self.fds))),
                Err(_) => return Received::Closed,
            }
        }
        if self.received.len() > REQUEST_BYTES_MAX {
            return Received::Closed;
        }
        Received::Requests(requests)
    }

    /// Sends one line. A client that does not read its replies loses the connection rather than holding up the pod.
    pub(crate) fn reply(&self, reply: &Reply, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        let mut sent = send_with_fds(self.stream.as_fd(), &line, &fds)?;
        while sent < line.len() {
            sent += send_with_fds(self.stream.as_fd(), &line[sent..], &[])?;
        }
        Ok(())
    }
}
