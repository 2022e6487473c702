//! How long a connection lives, by a clock that the test moves.

use super::*;
use hyper::rt::Sleep;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// A clock that stands until it is moved.
#[derive(Clone)]
struct Clock(Arc<Mutex<(Instant, Vec<Waker>)>>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((Instant::now(), Vec::new()))))
    }

    fn time(&self) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn advance(&self, by: Duration) {
        let mut clock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clock.0 += by;
        clock.1.drain(..).for_each(Waker::wake);
    }
}

struct Until(Instant, Clock);

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut clock = self.1.0.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.0 >= self.0 {
            return Poll::Ready(());
        }
        clock.1.push(cx.waker().clone());
        Poll::Pending
    }
}

impl Sleep for Until {}

impl Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.time() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until(deadline, self.clone()))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        *sleep = self.sleep_until(deadline);
    }

    fn now(&self) -> Instant {
        self.time()
    }
}

fn connect(clock: &Clock) -> DuplexStream {
    let (near, far) = duplex(64 * 1024);
    let router = Router::new().fallback(async || "here");
    let service = service_fn(move |request: Request<Incoming>| router.clone().oneshot(request));
    let limit = Until(clock.time() + HEAD_TIMEOUT, clock.clone());
    let (builder, stream) = (builder(clock.clone()), TokioIo::new(Opening::until(limit, far)));
    tokio::spawn(async move { builder.serve_connection_with_upgrades(stream, service).await.map_err(|_| ()) });
    near
}

async fn ask(stream: &mut DuplexStream) {
    stream.write_all(REQUEST).await.expect("the connection is open");
    let mut answer = [0; 1024];
    let mut text = String::new();
    while !text.ends_with("here") {
        let length = stream.read(&mut answer).await.expect("an answer");
        assert!(length > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&answer[..length]).expect("text"));
    }
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

/// Lets the server come to rest.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn hangs_up(mut stream: DuplexStream) {
    let mut rest = Vec::new();
    let closed = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    closed.expect("the server hangs up").expect("read");
}

/// Fault N21: hyper's limit for heads of requests, 30 s by default, counts while a connection is idle.
#[tokio::test]
async fn an_idle_connection_lives_as_long_as_clients_keep_it() {
    let clock = Clock::new();
    let mut stream = connect(&clock);
    for _ in 0..3 {
        ask(&mut stream).await;
        settle().await;
        clock.advance(IDLE_TIMEOUT + Duration::from_secs(5));
        settle().await;
    }
    ask(&mut stream).await;
    settle().await;
    clock.advance(IDLE_TIMEOUT + HEAD_TIMEOUT);
    hangs_up(stream).await;
}

#[tokio::test]
async fn a_slow_sender_is_cut_off() {
    for beginning in [&b""[..], b"PRI * HTTP/2.0", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let clock = Clock::new();
        let mut stream = connect(&clock);
        stream.write_all(beginning).await.expect("open");
        settle().await;
        clock.advance(IDLE_TIMEOUT);
        settle().await;
        // One more byte buys no time. Whoever has not even begun is gone by now.
        let _ = stream.write_all(b"x").await;
        settle().await;
        clock.advance(HEAD_TIMEOUT);
        hangs_up(stream).await;
    }
}
