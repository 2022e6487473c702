//! One stream of a session: a reader and a writer, each usable alone.

use super::Headers;
use super::session::Out;
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// Bytes of one data frame that we send: small enough that streams take turns.
pub(super) const CHUNK_BYTES_MAX: usize = 16 << 10;

/// A stream. Both halves may be taken apart; the stream lasts as long as either.
pub struct Stream {
    /// Its number, odd for those that clients open.
    pub id: u32,
    /// What it is for.
    pub headers: Headers,
    /// What the peer sends.
    pub reader: StreamReader,
    /// What the peer takes.
    pub writer: StreamWriter,
}

/// The data that the peer sends on a stream; ends when the peer closes its half.
pub struct StreamReader {
    incoming: mpsc::Receiver<Bytes>,
    current: Bytes,
}

/// Sends data on a stream; shutting down or dropping it closes our half.
pub struct StreamWriter {
    id: u32,
    outgoing: PollSender<Out>,
    reset: Arc<AtomicBool>,
    finished: bool,
}

impl StreamReader {
    pub(super) fn new(incoming: mpsc::Receiver<Bytes>) -> Self {
        Self { incoming, current: Bytes::new() }
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.incoming.poll_recv(cx)) {
                Some(bytes) => self.current = bytes,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl StreamWriter {
    pub(super) fn new(id: u32, outgoing: mpsc::Sender<Out>, reset: Arc<AtomicBool>) -> Self {
        Self { id, outgoing: PollSender::new(outgoing), reset, finished: false }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frame: impl FnOnce() -> Out) -> Poll<io::Result<()>> {
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.outgoing.poll_reserve(cx)).map_err(closed)?;
        Poll::Ready(self.outgoing.send_item(frame()).map_err(closed))
    }
}

impl AsyncWrite for StreamWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.finished || self.reset.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let (id, piece) = (self.id, &data[..data.len().min(CHUNK_BYTES_MAX)]);
        if piece.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_send(cx, || Out::Data { id, bytes: Bytes::copy_from_slice(piece), fin: false }))?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The session's writer flushes whenever it has nothing else to write.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        let id = self.id;
        ready!(self.poll_send(cx, || Out::Data { id, bytes: Bytes::new(), fin: true }))?;
        self.finished = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.outgoing.abort_send();
        let (false, Some(outgoing)) = (self.finished, self.outgoing.get_ref().cloned()) else { return };
        let last = Out::Data { id: self.id, bytes: Bytes::new(), fin: true };
        // The queue is full when the client is slow; then the last frame waits for its turn in a task.
        if let Err(mpsc::error::TrySendError::Full(last)) = outgoing.try_send(last)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                let _client_left = outgoing.send(last).await;
            });
        }
    }
}
