//! A terminal's master as an async stream, and a dial from inside a pod's network.

use crate::error::{CriError, During};
use crate::exec::nonblocking;
use nix::sched::{CloneFlags, setns};
use skiff_streams::{Input, Output, TerminalSize};
use skiff_sys::pass::set_window_size;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long a terminal without output is believed to have more, after its process has ended.
const QUIET_AFTER_END: Duration = Duration::from_millis(100);

/// The master side of a terminal.
pub(crate) struct Terminal(AsyncFd<File>);

impl Terminal {
    pub(crate) fn new(master: OwnedFd) -> io::Result<Self> {
        let file = File::from(nonblocking(master)?);
        // The replacement is unsafe because a type may lie about its descriptor; a File owns its own until it is dropped.
        #[allow(deprecated, reason = "its successor is unsafe, which only runtime/sys may say")]
        Ok(Self(AsyncFd::new(file)?))
    }

    /// Copies what the terminal shows until its last user is gone (the master then reads EIO), or the process has ended
    /// and nothing more comes: children in the background may keep a terminal for ever.
    pub(crate) async fn copy_out(&self, mut to: Option<Output>, ended: &CancellationToken) {
        let mut buffer = vec![0; 16 * 1024];
        while let Some(count) = self.read_until(&mut buffer, ended).await {
            // A client that is gone must not stop the process from writing.
            if let Some(output) = &mut to
                && output.write_all(&buffer[..count]).await.is_err()
            {
                to = None;
            }
        }
        if let Some(mut output) = to {
            let _gone = output.shutdown().await;
        }
    }

    async fn read_until(&self, buffer: &mut [u8], ended: &CancellationToken) -> Option<usize> {
        let quiet = async {
            ended.cancelled().await;
            // The kernel moves what was written to the master in its own time (a work queue).
            tokio::time::sleep(QUIET_AFTER_END).await;
        };
        tokio::pin!(quiet);
        loop {
            let mut guard = tokio::select! {
                guard = self.0.readable() => guard.ok()?,
                () = &mut quiet => return None,
            };
            if let Ok(read) = guard.try_io(|file| file.get_ref().read(buffer)) {
                return read.ok().filter(|&count| count > 0);
            }
        }
    }

    /// Types what the client sends; never returns, since the end of input is not the end of a terminal.
    pub(crate) async fn copy_in(&self, from: Option<Input>) -> Infallible {
        if let Some(mut input) = from {
            let mut buffer = vec![0; 4096];
            while let Ok(count @ 1..) = input.read(&mut buffer).await {
                if self.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
        }
        std::future::pending().await
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut guard = self.0.writable().await?;
            if let Ok(written) = guard.try_io(|file| file.get_ref().write(bytes)) {
                bytes = &bytes[written?..];
            }
        }
        Ok(())
    }

    /// Passes the client's sizes on; never returns.
    pub(crate) async fn follow_sizes(&self, sizes: &mut mpsc::Receiver<TerminalSize>) -> Infallible {
        while let Some(TerminalSize { width, height }) = sizes.recv().await {
            if let Err(error) = set_window_size(self.0.get_ref().as_fd(), width, height) {
                tracing::debug!("resize a terminal: {error}");
            }
        }
        std::future::pending().await
    }
}

/// Connects to a port of the loopback in the network namespace of process `pid`.
///
/// A thread of its own moves there and ends afterwards: setns(2) moves a single thread, and the runtime's threads must
/// stay where they are. The connection stays in the namespace in which it was made.
pub(crate) async fn dial_in_namespace(pid: i32, port: u16) -> Result<tokio::net::TcpStream, CriError> {
    let (answer, dialled) = tokio::sync::oneshot::channel();
    let dial = move || -> io::Result<TcpStream> {
        setns(File::open(format!("/proc/{pid}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let operation = || format!("connect to port {port} in the pod");
    let spawned = std::thread::Builder::new().name("dial".to_owned()).spawn(move || answer.send(dial()));
    spawned.during(operation)?;
    let stream = dialled.await.map_err(io::Error::other).during(operation)?.during(operation)?;
    tokio::net::TcpStream::from_std(stream).during(operation)
}
