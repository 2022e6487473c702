//! Sockets and the connections on them. A port that goes takes no new connections; those that are open end with the request that they are in.

use crate::body::Payload;
use crate::forward::{Core, answer};
use crate::heads::Peer;
use crate::live::{Door, Slot};
use crate::stream::Stream;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::ring;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections of clients there may be: some 20 KiB each while they are quiet.
const CONNECTIONS_MAX: usize = 16_384;
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long a connection may be without one (nginx: 60 s and 75 s).
const HEAD_MAX: Duration = Duration::from_secs(75);
/// How long requests may go on when a port goes.
const GRACE: Duration = Duration::from_secs(10);
/// How many requests one HTTP/2 connection may have at a time (nginx: 128).
const STREAMS_MAX: u32 = 256;
/// How long nothing is accepted after accepting failed: descriptors are short.
const PAUSE: Duration = Duration::from_millis(50);

/// The ports that are open.
pub(crate) struct Server {
    core: Arc<Core>,
    addresses: Vec<IpAddr>,
    ports: HashMap<u16, Listening>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

struct Listening {
    slot: Arc<Slot>,
    stop: CancellationToken,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    pub(crate) fn new(core: Arc<Core>, addresses: Vec<IpAddr>) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { core, addresses, ports: HashMap::new(), places, tasks: TaskTracker::new() }
    }

    /// Does what these say from now on; answers which ports cannot be opened. Those are tried again at the next change.
    pub(crate) async fn put(&mut self, doors: BTreeMap<u16, Arc<Door>>) -> BTreeMap<u16, io::Error> {
        let stays = |port: &u16, listening: &Listening| {
            doors.get(port).is_some_and(|door| door.is_tls() == listening.slot.now().is_tls())
        };
        self.ports.retain(|port, listening| stays(port, listening));
        let mut refused = BTreeMap::new();
        for (port, door) in doors {
            if let Some(listening) = self.ports.get(&port) {
                listening.slot.put(door);
                continue;
            }
            match self.open(port, door).await {
                Ok(listening) => drop(self.ports.insert(port, listening)),
                Err(error) => drop(refused.insert(port, error)),
            }
        }
        self.core.metrics.changes.fetch_add(1, Ordering::Relaxed);
        refused
    }

    async fn open(&self, port: u16, door: Arc<Door>) -> io::Result<Listening> {
        let mut listeners = Vec::new();
        for address in &self.addresses {
            listeners.push(TcpListener::bind(SocketAddr::new(*address, port)).await?);
        }
        let tls = door.is_tls();
        let slot = Arc::new(Slot::new(door));
        let acceptor = if tls { Some(acceptor(Arc::clone(&slot))?) } else { None };
        let stop = CancellationToken::new();
        for listener in listeners {
            let accepting = Accepting {
                core: Arc::clone(&self.core),
                slot: Arc::clone(&slot),
                acceptor: acceptor.clone(),
                stop: stop.clone(),
                places: Arc::clone(&self.places),
                tasks: self.tasks.clone(),
                port,
            };
            self.tasks.spawn(accepting.run(listener));
        }
        Ok(Listening { slot, stop })
    }

    /// Closes all ports, and waits for the requests that are under way.
    pub(crate) async fn close(mut self) {
        self.ports.clear();
        self.tasks.close();
        let _those_that_take_longer_end_with_the_process = timeout(GRACE, self.tasks.wait()).await;
    }
}

/// TLS with whatever certificate is right for the name that is asked for, and HTTP/2 for who can.
fn acceptor(slot: Arc<Slot>) -> io::Result<TlsAcceptor> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut config = config.with_no_client_auth().with_cert_resolver(slot);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What a listening socket's task has.
#[derive(Clone)]
struct Accepting {
    core: Arc<Core>,
    slot: Arc<Slot>,
    acceptor: Option<TlsAcceptor>,
    stop: CancellationToken,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    port: u16,
}

impl Accepting {
    async fn run(self, listener: TcpListener) {
        loop {
            let next = async {
                let place = Arc::clone(&self.places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = self.stop.cancelled() => return,
                next = next => next,
            };
            let Ok(place) = place else { return };
            match accepted {
                Ok((stream, address)) => drop(self.tasks.spawn(self.clone().connected(stream, address, place))),
                Err(error) => {
                    tracing::debug!(error = skiff_client::sentence(&error), port = self.port, "connection not taken");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn connected(self, stream: TcpStream, address: SocketAddr, place: OwnedSemaphorePermit) {
        let metrics = Arc::clone(&self.core.metrics);
        metrics.accepted.fetch_add(1, Ordering::Relaxed);
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        let peer = Peer { address, port: self.port, tls: self.acceptor.is_some() };
        let _only_latency = stream.set_nodelay(true);
        let stream = match &self.acceptor {
            None => Some(Stream::Plain(stream)),
            Some(acceptor) => match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream.into()))),
                _ => {
                    metrics.refused_handshakes.fetch_add(1, Ordering::Relaxed);
                    None
                }
            },
        };
        if let Some(stream) = stream {
            self.serve(stream, peer).await;
        }
        metrics.connections.fetch_sub(1, Ordering::Relaxed);
        drop(place);
    }

    async fn serve(self, stream: Stream, peer: Peer) {
        let Self { core, slot, stop, .. } = self;
        let service = service_fn(move |request: Request<Incoming>| {
            let (core, door) = (Arc::clone(&core), slot.now());
            async move { Ok::<http::Response<Payload>, Infallible>(answer(&core, &door, &peer, request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
        builder.http2().timer(TokioTimer::new()).adaptive_window(true).max_concurrent_streams(STREAMS_MAX);
        let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                timeout(GRACE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = error.to_string(), "connection of a client ended");
        }
    }
}
