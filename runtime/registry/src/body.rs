//! Bodies of answers: bytes, or parts of a file, one piece read ahead of the client.

use crate::range::Span;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::{JoinHandle, spawn_blocking};

/// What is read at once: a thread is woken for each piece, and a slow client holds two of them.
const PIECE_BYTES: u64 = 512 * 1024;

/// A body.
pub enum Body {
    /// Bytes that are there.
    Bytes(Bytes),
    /// Parts of a file.
    Parts(Parts),
}

/// What is still to be sent of a file, with texts between its parts.
pub struct Parts {
    file: Arc<File>,
    left: VecDeque<Part>,
    bytes: u64,
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

/// A piece of an answer.
pub(crate) enum Part {
    Text(Bytes),
    Span(Span),
}

impl Body {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    /// Parts of `file`, in order.
    pub(crate) fn parts(file: File, parts: Vec<Part>) -> Self {
        let length = |part: &Part| match part {
            Part::Text(text) => text.len() as u64,
            Part::Span(span) => span.len(),
        };
        let bytes = parts.iter().map(length).sum();
        Self::Parts(Parts { file: Arc::new(file), left: parts.into(), bytes, ahead: None })
    }

    /// Its length.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Parts(parts) => parts.bytes,
        }
    }
}

impl Parts {
    /// Begins to read the next piece; `None`: there is none.
    fn next(&mut self) -> Option<JoinHandle<io::Result<Bytes>>> {
        let file = self.file.clone();
        match self.left.pop_front()? {
            Part::Text(text) => Some(spawn_blocking(move || Ok(text))),
            Part::Span(span) => {
                let count = span.len().min(PIECE_BYTES);
                if count < span.len() {
                    self.left.push_front(Part::Span(Span { first: span.first + count, last: span.last }));
                }
                Some(spawn_blocking(move || {
                    let mut piece = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
                    file.read_exact_at(&mut piece, span.first)?;
                    Ok(piece.into())
                }))
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let parts = match self.get_mut() {
            Self::Bytes(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Bytes(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Parts(parts) => parts,
        };
        if parts.ahead.is_none() {
            parts.ahead = parts.next();
        }
        let Some(ahead) = &mut parts.ahead else { return Poll::Ready(None) };
        let piece = ready!(Pin::new(ahead).poll(context)).map_err(io::Error::other).flatten()?;
        parts.bytes -= piece.len() as u64;
        parts.ahead = parts.next();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
