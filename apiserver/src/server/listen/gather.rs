//! A connection whose streams write together: events to fifty watches of one connection are one write, not fifty.
//!
//! Each stream of HTTP/2 is a task of its own, and wakes that of its connection as soon as it has something to send; that would run next,
//! and write the one event. So it holds what it is given, lets those run that were woken with it, and writes everything in its next turn.

use skiff_store::etcd::Cork;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// See the module.
pub(super) struct Gather<C, S> {
    connection: C,
    cork: Cork<S>,
    /// Whether others have had their turn since something was held.
    waited: bool,
}

impl<C, S> Gather<C, S> {
    /// Of a connection that writes to what `cork` holds back.
    pub(super) fn new(connection: C, cork: Cork<S>) -> Self {
        Self { connection, cork, waited: false }
    }
}

impl<C: Future + Unpin, S: AsyncWrite + Unpin> Future for Gather<C, S> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        if let Poll::Ready(output) = Pin::new(&mut this.connection).poll(cx) {
            return Poll::Ready(output);
        }
        if this.cork.holds() && !std::mem::replace(&mut this.waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // That it cannot be written the connection learns from its next write.
        if let Err(error) = ready!(this.cork.poll_flush(cx)) {
            tracing::debug!(%error, "write to a connection");
        }
        this.waited = false;
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_store::etcd::corked;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn what_is_written_by_turns_goes_out_together() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (mut corked, cork) = corked(ours);
        let mut turn = 0_u8;
        let connection = poll_fn(move |cx| {
            turn += 1;
            if turn <= 2 {
                assert!(Pin::new(&mut corked).poll_write(cx, &[turn]).is_ready());
            }
            Poll::<()>::Pending
        });
        let gathering = tokio::spawn(Gather::new(Box::pin(connection), cork));
        let mut read = [0; 8];
        let count = theirs.read(&mut read).await.expect("a pipe");
        assert_eq!(read[..count], [1, 2]);
        gathering.abort();
    }
}
