//! Connections: TLS, then HTTP/1.1 or HTTP/2 with upgrades, each request carrying its peer's identity.

mod crowd; // how many there may be
mod gather; // what its streams write together
mod opening; // the first bytes of a connection

use super::ApiError;
use crate::caller::Peer;
use crate::tls::Peers;
use axum::Router;
use axum::extract::Request;
use crowd::Crowd;
use gather::Gather;
use http::Extensions;
use hyper::body::Incoming;
use hyper::rt::Timer;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use opening::Opening;
use skiff_store::etcd::{corked, notice_gone};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long a stranger may take to finish the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may take once the server stops. Watches end at once; the whole stop stays below a second.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(700);
/// Rest after the listener fails, with all descriptors in use for example: trying at once would only burn time.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// A client whose machine has been silent for so long, or has not taken what was sent, is gone: over HTTP/1.1 there are no pings.
const SILENCE: Duration = Duration::from_secs(60);
/// A client that answers no ping for this long is gone, and its watches with it. HTTP/2 needs no other limit for idle
/// connections: who answers is there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long an HTTP/1 connection may wait for its next request (kube-apiserver: 90 s, which is client-go's limit too).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a client may take for the head of a request (kube-apiserver: 32 s). hyper counts idleness and the head together,
/// from the end of the request before.
const HEAD_TIMEOUT: Duration = Duration::from_secs(32);

/// Accepts connections until `shutdown`, then cancels `stopping` and lets open requests finish.
pub(super) async fn serve(
    listener: TcpListener,
    (config, peers): (Arc<rustls::ServerConfig>, Arc<Peers>),
    router: Router,
    shutdown: CancellationToken,
    stopping: &CancellationToken,
) -> Result<(), ApiError> {
    let address = listener.local_addr().map_or_else(|_| "an unknown address".to_owned(), |address| address.to_string());
    let failed = |source| ApiError::Listen { address: address.clone(), source };
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let acceptor = TlsAcceptor::from(config);
    let graceful = Arc::new(GracefulShutdown::new());
    let mut connections = JoinSet::new();
    let mut crowd = Crowd::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((socket, _)) => {
                let tls = (acceptor.clone(), peers.clone());
                if crowd.admits(connections.len()) {
                    connections.spawn(connection(socket, tls, router.clone(), graceful.clone()));
                } else {
                    crowd.send_away(connection(socket, tls, crowd.router(), graceful.clone()));
                }
            }
            // The peer went away before we came to it.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                tracing::warn!(%error, %address, "accept failed");
                sleep(ACCEPT_REST).await;
            }
        }
    }
    drop((listener, crowd));
    stopping.cancel();
    drain(graceful, connections).await;
    Ok(())
}

/// Gives open requests a moment, then cuts.
async fn drain(graceful: Arc<GracefulShutdown>, mut connections: JoinSet<()>) {
    let finished = timeout(DRAIN_TIMEOUT, async {
        // Connections in their handshake hold the other references; they are cut below.
        if let Ok(graceful) = Arc::try_unwrap(graceful) {
            graceful.shutdown().await;
        }
        while connections.join_next().await.is_some() {}
    });
    if finished.await.is_err() {
        tracing::debug!(open = connections.len(), "connections cut");
    }
    connections.shutdown().await;
}

async fn connection(
    socket: TcpStream,
    (acceptor, peers): (TlsAcceptor, Arc<Peers>),
    router: Router,
    graceful: Arc<GracefulShutdown>,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    if let Err(error) = notice_gone(&socket, SILENCE) {
        tracing::debug!(%error, "keep-alive");
    }
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return tracing::debug!("TLS handshake timed out"),
    };
    let mut known = Extensions::new();
    let (socket, session) = stream.get_ref();
    // What is upgraded, which HTTP/2 knows not here, goes on where nobody gathers.
    let gathers = session.alpn_protocol() == Some(&b"h2"[..]);
    if let Some(shown) = peers.shown(session) {
        known.insert(shown);
    }
    if let Ok(address) = socket.peer_addr() {
        known.insert(Peer(address.ip().to_canonical()));
    }
    if gathers {
        let (stream, cork) = corked(stream);
        Gather::new(Box::pin(converse(stream, known, router, graceful)), cork).await;
    } else {
        converse(stream, known, router, graceful).await;
    }
}

/// Serves the requests of one connection, each with what is `known` of its other end, until it ends, or is idle for too long.
async fn converse<S>(stream: S, known: Extensions, router: Router, graceful: Arc<GracefulShutdown>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().extend(known.clone());
        router.clone().oneshot(request)
    });
    let stream = TokioIo::new(Opening::until(sleep(HEAD_TIMEOUT), stream));
    let serving = builder(TokioTimer::new()).serve_connection_with_upgrades(stream, service).into_owned();
    let watched = graceful.watch(serving);
    drop(graceful);
    if let Err(error) = watched.await {
        tracing::debug!(%error, "connection ended");
    }
}

/// What serves connections, with `timer` as its clock.
fn builder(timer: impl Timer + Clone + Send + Sync + 'static) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(timer.clone()).header_read_timeout(IDLE_TIMEOUT + HEAD_TIMEOUT);
    builder.http2().timer(timer).keep_alive_interval(KEEP_ALIVE).adaptive_window(true);
    builder
}

#[cfg(test)]
mod tests;
