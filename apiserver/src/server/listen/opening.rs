//! The first bytes of a connection, which must come soon.
//!
//! Before the first bytes are there it isn't known which HTTP is spoken, and hyper waits for them without a limit: a client
//! that sends nothing would hold its connection for ever.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As many bytes as HTTP/2's preface has. No request of HTTP/1.1 is shorter: it has a method, a path, a version and a host.
const OPENING_BYTES: usize = 24;

/// A stream whose first bytes must come within a time.
pub(super) struct Opening<S> {
    stream: S,
    /// How many bytes are missing, and what happens when the time for them is over; `None`: all are there.
    missing: Option<(usize, Limit)>,
}

type Limit = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<S> Opening<S> {
    /// `stream`, whose first bytes must come before `limit`.
    pub(super) fn until(limit: impl Future<Output = ()> + Send + 'static, stream: S) -> Self {
        Self { stream, missing: Some((OPENING_BYTES, Box::pin(limit))) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some((missing, limit)) = &mut self.missing else { return read };
        match read {
            Poll::Ready(_) => {
                *missing = missing.saturating_sub(buffer.filled().len() - before);
                if *missing == 0 {
                    self.missing = None;
                }
                read
            }
            Poll::Pending => match limit.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the first request doesn't come"))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
