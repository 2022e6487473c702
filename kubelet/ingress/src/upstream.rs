//! Connections to endpoints: kept while nobody uses them, never shared by two requests at once (HTTP/1.1) or shared by all (HTTP/2).

use crate::body::Payload;
use crate::endpoints::Protocol;
use crate::stream::Stream;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use skiff_client::trusting_tls;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection may take to be made: an endpoint is in the cluster's network.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How many unused connections one endpoint keeps; a page of memory or two each.
const IDLE_MAX: usize = 256;
/// How long one is kept: less than what servers usually keep their side (Node.js: 5 s, but it says so by closing; Go: none; nginx: 75 s).
const IDLE_FOR: Duration = Duration::from_secs(60);
/// How long a connection may take to be ready again after an answer: it has nothing left to do but to notice.
const READY_MAX: Duration = Duration::from_secs(5);
/// How long an endpoint that could not be reached is asked only if no other is left.
const AVOID_FOR: Duration = Duration::from_secs(2);
/// Digits of the cookie's value for an endpoint.
const COOKIE_DIGITS: usize = 16;

/// One address, with its connections.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    /// What leads a client here again.
    pub(crate) cookie: String,
    idle: Mutex<Vec<(http1::SendRequest<Payload>, Instant)>>,
    shared: Mutex<Option<http2::SendRequest<Payload>>>,
    /// Until when it is avoided, in milliseconds of [`Endpoint::clock`]; zero: it is not.
    avoided_until: AtomicU64,
}

/// What a request is sent on.
pub(crate) enum Sender {
    Http1(http1::SendRequest<Payload>),
    Http2(http2::SendRequest<Payload>),
}

/// A sender, and whether it has carried a request before: then the other side may have closed it meanwhile.
pub(crate) struct Connection {
    sender: Sender,
    pub(crate) is_used: bool,
}

/// A connection whose answer is under way; when that has ended, others can use it.
pub(crate) struct Lease {
    endpoint: Arc<Endpoint>,
    sender: http1::SendRequest<Payload>,
}

impl Lease {
    /// The answer has come to its end.
    pub(crate) fn give_back(self) {
        let Self { endpoint, mut sender } = self;
        if sender.is_closed() {
            return;
        }
        if sender.is_ready() {
            return endpoint.keep(sender);
        }
        tokio::spawn(async move {
            if matches!(timeout(READY_MAX, sender.ready()).await, Ok(Ok(()))) {
                endpoint.keep(sender);
            }
        });
    }
}

/// Why a request has no answer.
pub(crate) enum Failure {
    /// Nothing of it was sent: here it is again.
    Unsent(Box<Request<Payload>>),
    /// It was sent, in part at least.
    Sent,
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddr, protocol: Protocol) -> Self {
        let mut cookie = hex::encode(Sha256::digest(address.to_string()));
        cookie.truncate(COOKIE_DIGITS);
        Self {
            address,
            protocol,
            cookie,
            idle: Mutex::default(),
            shared: Mutex::default(),
            avoided_until: AtomicU64::new(0),
        }
    }

    /// Milliseconds since this process first asked.
    fn clock() -> u64 {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it could not be reached a moment ago.
    pub(crate) fn is_avoided(&self) -> bool {
        let until = self.avoided_until.load(Ordering::Relaxed);
        until != 0 && Self::clock() < until
    }

    fn avoid(&self) {
        let until = Self::clock() + u64::try_from(AVOID_FOR.as_millis()).unwrap_or_default();
        self.avoided_until.store(until, Ordering::Relaxed);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(http1::SendRequest<Payload>, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, sender: http1::SendRequest<Payload>) {
        let mut idle = self.idle();
        // The oldest stand first; what the other side has closed is of no use.
        let stale = idle.iter().take_while(|(sender, since)| sender.is_closed() || since.elapsed() > IDLE_FOR).count();
        idle.drain(..stale);
        if idle.len() < IDLE_MAX {
            idle.push((sender, Instant::now()));
        }
    }

    /// One that was used before, or a new one.
    ///
    /// # Errors
    /// None can be made.
    pub(crate) async fn connect(&self, fresh: bool) -> io::Result<Connection> {
        let used = if fresh { None } else { self.used() };
        if let Some(sender) = used {
            return Ok(Connection { sender, is_used: true });
        }
        let made = timeout(CONNECT_MAX, self.make()).await;
        let made = made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match made {
            Ok(sender) => {
                self.avoided_until.store(0, Ordering::Relaxed);
                Ok(Connection { sender, is_used: false })
            }
            Err(error) => {
                self.avoid();
                Err(error)
            }
        }
    }

    fn used(&self) -> Option<Sender> {
        if self.protocol == Protocol::H2c {
            let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            let open = shared.as_ref().filter(|sender| !sender.is_closed());
            return open.cloned().map(Sender::Http2);
        }
        let mut idle = self.idle();
        while let Some((sender, since)) = idle.pop() {
            if sender.is_ready() && since.elapsed() <= IDLE_FOR {
                return Some(Sender::Http1(sender));
            }
        }
        None
    }

    async fn make(&self) -> io::Result<Sender> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let io = match self.protocol {
            Protocol::Https => {
                let name = self.address.ip().into();
                let stream = TlsConnector::from(trusting_tls()).connect(name, stream).await?;
                TokioIo::new(Stream::Tls(Box::new(stream.into())))
            }
            Protocol::Http | Protocol::H2c => TokioIo::new(Stream::Plain(stream)),
        };
        if self.protocol == Protocol::H2c {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).adaptive_window(true);
            let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
            tokio::spawn(watched(connection));
            *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
            return Ok(Sender::Http2(sender));
        }
        let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
        tokio::spawn(watched(connection.with_upgrades()));
        Ok(Sender::Http1(sender))
    }
}

async fn watched(connection: impl Future<Output = hyper::Result<()>>) {
    // Whoever waits for an answer on it is told by that.
    if let Err(error) = connection.await {
        tracing::debug!(error = skiff_client::sentence(&error), "connection to an endpoint ended");
    }
}

impl Connection {
    /// Sends a request and waits for the head of the answer. The lease is for the answer's body.
    pub(crate) async fn send(
        self,
        endpoint: &Arc<Endpoint>,
        request: Request<Payload>,
    ) -> Result<(Response<Incoming>, Option<Lease>), Failure> {
        match self.sender {
            Sender::Http1(mut sender) => {
                // A connection that was just made becomes ready when its task has run once.
                if sender.ready().await.is_err() {
                    return Err(Failure::Unsent(Box::new(request)));
                }
                let answer = sender.try_send_request(request).await.map_err(failure)?;
                Ok((answer, Some(Lease { endpoint: Arc::clone(endpoint), sender })))
            }
            Sender::Http2(mut sender) => {
                if sender.ready().await.is_err() {
                    return Err(Failure::Unsent(Box::new(request)));
                }
                Ok((sender.try_send_request(request).await.map_err(failure)?, None))
            }
        }
    }
}

fn failure(mut error: TrySendError<Request<Payload>>) -> Failure {
    match error.take_message() {
        Some(request) => Failure::Unsent(Box::new(request)),
        None => {
            tracing::debug!(error = skiff_client::sentence(&error.into_error()), "no answer from an endpoint");
            Failure::Sent
        }
    }
}
