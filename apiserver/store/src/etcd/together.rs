//! A connection and the calls on it as one task.
//!
//! hyper hands each call to an executor, and the usual one makes a task of each. A call here mostly does little and then waits for the
//! same commit as its neighbours: as tasks, 16 calls are woken one by one, each wakes the connection's task to have its answer
//! written, and threads wake each other to share them out. In one task, all that is ready is done in one turn, and written at once
//! (see [`super::cork`]).
//!
//! ```text
//!  socket ──► connection ──begins──► calls ──answers──► connection ──► socket
//!                 ▲                    ▲ woken by the writer, the hub, ...
//!                 └────── Bell ────────┘ whoever is woken in a turn is looked at again before the turn ends
//! ```
//!
//! So calls of one connection do not run in parallel, and must not compute for long: what does (a list) has threads of its own.

use super::cork::Cork;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use futures::task::AtomicWaker;
use hyper::rt::Executor;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::AsyncWrite;
use tokio::task::coop;

/// Rounds in one turn, at most: then other tasks have theirs.
const ROUNDS_MAX: usize = 16;

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Calls that their connection has begun; hyper's executor.
#[derive(Clone, Default)]
pub(super) struct Begun(Arc<Mutex<Vec<Call>>>);

impl Begun {
    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Begun {
    fn execute(&self, call: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(call));
    }
}

/// See the module. Ends with the connection; calls that were not answered by then are dropped.
pub(super) struct Together<C, S> {
    connection: Pin<Box<C>>,
    begun: Begun,
    cork: Cork<S>,
    calls: FuturesUnordered<Call>,
    bell: Arc<Bell>,
    waker: Waker,
}

impl<C: Future, S: AsyncWrite + Unpin> Together<C, S> {
    /// Of a connection that hands its calls to `begun`, and writes to what `cork` holds back.
    pub(super) fn new(connection: C, begun: Begun, cork: Cork<S>) -> Self {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        Together { connection: Box::pin(connection), begun, cork, calls: FuturesUnordered::new(), bell, waker }
    }

    /// Looks at everything that was woken; ready when the connection has ended.
    fn round(&mut self) -> Poll<()> {
        let mut context = Context::from_waker(&self.waker);
        let ended = self.connection.as_mut().poll(&mut context);
        // Taken in any case: a call knows its executor, and would keep itself alive in there.
        self.calls.extend(self.begun.take());
        if ended.is_ready() {
            return Poll::Ready(());
        }
        while let Poll::Ready(Some(())) = self.calls.poll_next_unpin(&mut context) {}
        Poll::Pending
    }

    /// Ready when nobody can be told any more.
    fn flush(&mut self) -> Poll<()> {
        match self.cork.poll_flush(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<C: Future, S: AsyncWrite + Unpin> Future for Together<C, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.bell.listen(context.waker());
        for _ in 0..ROUNDS_MAX {
            self.bell.silence();
            if self.round().is_ready() {
                return Poll::Ready(());
            }
            if self.bell.is_silent() && self.flush().is_ready() {
                return Poll::Ready(());
            }
            if self.bell.hand_over() {
                return Poll::Pending;
            }
            if !coop::has_budget_remaining() {
                break;
            }
        }
        context.waker().wake_by_ref();
        self.flush()
    }
}

/// Nobody rang, and who rings wakes the task.
const QUIET: u8 = 0;
/// The task is looking at everything; who rings makes it look once more.
const BUSY: u8 = 1;
/// Somebody rang.
const RUNG: u8 = 2;

/// What wakes the connection and its calls.
#[derive(Default)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Bell {
    fn listen(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Before a round.
    fn silence(&self) {
        self.state.swap(BUSY, Ordering::AcqRel);
    }

    /// Whether nobody rang since.
    fn is_silent(&self) -> bool {
        self.state.load(Ordering::Acquire) == BUSY
    }

    /// After a round: from now on the task must be woken. `false`: somebody rang meanwhile.
    fn hand_over(&self) -> bool {
        self.state.compare_exchange(BUSY, QUIET, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::AcqRel) == QUIET {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::cork::corked;
    use tokio::sync::oneshot;

    fn together<C: Future>(connection: C, begun: Begun) -> Together<C, tokio::io::Sink> {
        Together::new(connection, begun, corked(tokio::io::sink()).1)
    }

    /// A connection that begins `calls`, and ends when all of them have answered.
    async fn connection(begun: Begun, calls: Vec<oneshot::Receiver<()>>) {
        let all = calls.len();
        let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel();
        for call in calls {
            let answers = answers.clone();
            begun.execute(async move {
                // Dropped: the call was given up.
                let _may_be_given_up = call.await;
                let _nobody_may_wait = answers.send(());
            });
        }
        drop(answers);
        let mut count = 0;
        while answered.recv().await.is_some() {
            count += 1;
        }
        assert_eq!(count, all);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn calls_woken_from_other_threads_are_all_answered() {
        for _ in 0..200 {
            let (ends, calls): (Vec<_>, Vec<_>) = (0..40).map(|_| oneshot::channel()).unzip();
            let begun = Begun::default();
            let served = tokio::spawn(together(connection(begun.clone(), calls), begun));
            std::thread::spawn(move || ends.into_iter().for_each(|end| assert_eq!(end.send(()), Ok(()))));
            served.await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_end_of_a_connection_drops_its_calls() {
        let (dropped, begun) = (Arc::new(()), Begun::default());
        let (kept, executor) = (dropped.clone(), begun.clone());
        let connection = async move {
            for _ in 0..3 {
                let (kept, executor) = (kept.clone(), executor.clone());
                executor.clone().execute(async move {
                    let _held = (kept, executor);
                    std::future::pending::<()>().await;
                });
                tokio::task::yield_now().await;
            }
        };
        together(connection, begun).await;
        assert_eq!(Arc::strong_count(&dropped), 1);
    }
}
