//! What a connection writes in one turn, written at once.
//!
//! h2 asks for a write, and for a flush, for each piece of 256 bytes or more: an event to a hundred watches of one connection would be a
//! hundred system calls. So what it writes is held here, and its flushes are not obeyed; whoever has the [`Cork`] flushes when the
//! turn ends. Large pieces are not copied: they go out at once, together with what was held.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are held, about: those of a connection, which keeps the room for them.
const HELD_MAX: usize = 32 << 10;
/// From so many bytes on a piece is not copied.
const LARGE_BYTES: usize = 8 << 10;
/// Parts of one write: h2 brings two, the head of a frame and its data.
const PARTS_MAX: usize = 8;

/// A stream that holds what is written to it. Shutting it down writes everything.
pub struct Corked<S>(Arc<Mutex<Held<S>>>);

/// Lets go what its [`Corked`] holds.
pub struct Cork<S>(Arc<Mutex<Held<S>>>);

struct Held<S> {
    stream: S,
    bytes: Vec<u8>,
    /// So many of them are written.
    written: usize,
}

/// Corks a stream.
pub fn corked<S>(stream: S) -> (Corked<S>, Cork<S>) {
    let held = Arc::new(Mutex::new(Held { stream, bytes: Vec::new(), written: 0 }));
    (Corked(held.clone()), Cork(held))
}

fn lock<S>(held: &Mutex<Held<S>>) -> MutexGuard<'_, Held<S>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin> Held<S> {
    /// Writes what is held.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            let wrote = ready!(Pin::new(&mut self.stream).poll_write(context, &self.bytes[self.written..]))?;
            self.wrote(wrote)?;
        }
        self.bytes.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, wrote: usize) -> io::Result<()> {
        self.written += wrote;
        if wrote == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    fn hold(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        if bytes >= LARGE_BYTES {
            return self.pass(context, parts);
        }
        if self.bytes.len() + bytes > HELD_MAX {
            ready!(self.drain(context))?;
        }
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        Poll::Ready(Ok(bytes))
    }

    /// Writes what is held and then some of `parts`.
    fn pass(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let held = self.bytes.len() - self.written;
            let mut all = [IoSlice::new(&[]); PARTS_MAX];
            all[0] = IoSlice::new(&self.bytes[self.written..]);
            let mut count = 1;
            for (place, part) in all[1..].iter_mut().zip(parts) {
                *place = IoSlice::new(part);
                count += 1;
            }
            let wrote = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &all[..count]))?;
            if wrote > held {
                self.bytes.clear();
                self.written = 0;
                return Poll::Ready(Ok(wrote - held));
            }
            self.wrote(wrote)?;
        }
    }
}

impl<S> Cork<S> {
    /// Whether anything waits to be written.
    pub fn holds(&self) -> bool {
        !lock(&self.0).bytes.is_empty()
    }
}

impl<S: AsyncWrite + Unpin> Cork<S> {
    /// Writes everything and flushes.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let held = &mut *lock(&self.0);
        if held.bytes.is_empty() {
            // A stream that encrypts may have kept some of what it was given.
            return Pin::new(&mut held.stream).poll_flush(context);
        }
        ready!(held.drain(context))?;
        Pin::new(&mut held.stream).poll_flush(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).stream).poll_read(context, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).hold(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).hold(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let held = &mut *lock(&self.0);
        ready!(held.drain(context))?;
        Pin::new(&mut held.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Writes pieces of these sizes, through a pipe that takes few bytes at a time; what arrives is what was written.
    fn check(sizes: Vec<usize>, pipe_bytes: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pieces: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(at, &size)| vec![at as u8; size]).collect();
        let arrived = runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(pipe_bytes);
            let (mut corked, cork) = corked(ours);
            let written = pieces.clone();
            let writing = async move {
                for (at, piece) in written.iter().enumerate() {
                    corked.write_all(piece).await.unwrap();
                    corked.flush().await.unwrap();
                    if at % 5 == 4 {
                        poll_fn(|context| cork.poll_flush(context)).await.unwrap();
                    }
                }
                corked.shutdown().await.unwrap();
            };
            let mut arrived = Vec::new();
            tokio::join!(writing, async { theirs.read_to_end(&mut arrived).await.unwrap() });
            arrived
        });
        assert_eq!(arrived, pieces.concat());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_arrives_in_order(
            sizes in proptest::collection::vec(prop_oneof![0..600_usize, 0..40_000_usize], 0..30),
            pipe_bytes in prop_oneof![1..50_usize, 1000..70_000_usize],
        ) {
            check(sizes, pipe_bytes);
        }
    }

    #[tokio::test]
    async fn little_is_held_until_the_cork_is_drawn() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (mut corked, cork) = corked(ours);
        corked.write_all(b"one ").await.unwrap();
        corked.flush().await.unwrap();
        corked.write_all(b"two").await.unwrap();
        let mut out = [0; 7];
        assert!(futures::poll!(Box::pin(theirs.read(&mut out))).is_pending());
        poll_fn(|context| cork.poll_flush(context)).await.unwrap();
        theirs.read_exact(&mut out).await.unwrap();
        assert_eq!(&out, b"one two");
    }
}
