//! `--pidfd-socket`: the descriptor of the new process for who listens there, as runc sends it.

use super::path;
use crate::cli::Words;
use crate::error::{On, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Connects to the socket of `--pidfd-socket`, if it is given.
///
/// # Errors
/// Nobody listens there.
pub(super) fn connect(words: &Words) -> Result<Option<UnixStream>> {
    let Some(socket) = path(words, "pidfd-socket")? else { return Ok(None) };
    UnixStream::connect(&socket).on("connect to pidfd socket", socket.display()).map(Some)
}

/// Sends `pidfd` through `stream`, beside the word `kind`.
///
/// # Errors
/// Nobody listens there any more.
pub(super) fn send(stream: Option<UnixStream>, kind: &str, pidfd: &OwnedFd) -> Result<()> {
    let Some(stream) = stream else { return Ok(()) };
    skiff_sys::pass::send_with_fds(stream.as_fd(), kind.as_bytes(), &[pidfd.as_fd()]).on("send", "pidfd").map(drop)
}
