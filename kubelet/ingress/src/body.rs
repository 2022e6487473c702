//! Bodies on their way through, in one type: what arrives is passed on frame by frame, so that events of a stream are not held back.

use crate::finish::Finish;
use crate::upstream::Lease;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

/// What ends a body early.
pub(crate) type Broken = Box<dyn Error + Send + Sync>;

/// A body longer than it may be.
#[derive(Debug)]
pub(crate) struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the request's body is longer than its route allows")
    }
}

impl Error for TooLong {}

/// How long a body may be still.
pub(crate) struct Limit {
    left: u64,
    /// Set when it was longer: the answer is another one then than for an endpoint that broke off.
    pub(crate) is_exceeded: Arc<AtomicBool>,
}

impl Limit {
    pub(crate) fn of(bytes_max: u64) -> Self {
        Self { left: bytes_max, is_exceeded: Arc::default() }
    }

    fn take(&mut self, bytes: usize) -> Result<(), TooLong> {
        match self.left.checked_sub(bytes as u64) {
            Some(rest) => self.left = rest,
            None => {
                self.is_exceeded.store(true, Ordering::Relaxed);
                return Err(TooLong);
            }
        }
        Ok(())
    }
}

/// A body.
pub(crate) enum Payload {
    /// None.
    Empty,
    /// One that is known.
    Known(Option<Bytes>),
    /// A client's, with how long it may be if that is limited.
    FromClient(Incoming, Option<Limit>),
    /// An endpoint's; with its end the connection is free for others, and the end is noted.
    FromEndpoint(Incoming, Option<Lease>, Option<Finish>),
}

impl Payload {
    /// The body of a text.
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::Known(Some(text.into()))
    }

    fn end(lease: &mut Option<Lease>, finish: &mut Option<Finish>) {
        if let Some(lease) = lease.take() {
            lease.give_back();
        }
        drop(finish.take());
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Known(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::FromClient(body, left) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                let Some(frame) = frame.transpose()? else { return Poll::Ready(None) };
                if let (Some(limit), Some(data)) = (left, frame.data_ref()) {
                    limit.take(data.len())?;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Self::FromEndpoint(body, lease, finish) => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(context)).transpose()?;
                if let (Some(finish), Some(data)) = (finish.as_mut(), frame.as_ref().and_then(Frame::data_ref)) {
                    finish.sent(data.len());
                }
                if frame.is_none() || body.is_end_stream() {
                    Self::end(lease, finish);
                }
                Poll::Ready(frame.map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Known(bytes) => bytes.is_none(),
            Self::FromClient(body, _) | Self::FromEndpoint(body, ..) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Known(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::FromClient(body, _) | Self::FromEndpoint(body, ..) => body.size_hint(),
        }
    }
}
