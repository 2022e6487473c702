//! Connections: HTTP/1.1 and HTTP/2, bounded in number and in how long they may be idle.

use crate::serve::Registry;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Connections at a time; more wait to be accepted. Each may have two files open, and the limit of open files is usually higher.
const CONNECTIONS_MAX: usize = 2048;
/// How long a connection may wait for its next request, and a client may take for the head of one.
const NEXT_REQUEST: Duration = Duration::from_secs(120);
/// How long a stranger may take to finish the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long open requests may take once the registry stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Rest after accepting fails, with all descriptors in use for example: trying at once would only burn time.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// What the kernel is asked to hold for a client before we wait for it.
const H2_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Remote {
    /// The other end.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub secure: bool,
}

/// Serves until `stop`, then lets open requests finish.
///
/// # Errors
/// None at present: what goes wrong with one connection ends that one.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    registry: Arc<Registry>,
    stop: CancellationToken,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((socket, address)) => {
                let (registry, stop, tls) = (registry.clone(), stop.clone(), tls.clone());
                let remote = Remote { address, secure: tls.is_some() };
                connections.spawn(async move {
                    connection(socket, tls, (registry, remote), stop).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::info!("open requests are cut");
    }
    connections.shutdown().await;
    Ok(())
}

async fn connection(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    whom: (Arc<Registry>, Remote),
    stop: CancellationToken,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let Some(tls) = tls else { return converse(socket, whom, stop).await };
    match tokio::time::timeout(HANDSHAKE, tls.accept(socket)).await {
        Ok(Ok(stream)) => converse(stream, whom, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
        Err(_) => tracing::debug!("TLS handshake timed out"),
    }
}

async fn converse<S>(stream: S, (registry, remote): (Arc<Registry>, Remote), stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        let registry = registry.clone();
        request.extensions_mut().insert(remote);
        // Boxed: the answer's future is large, and hyper would move it about.
        let answer: Pin<Box<dyn Future<Output = Result<_, Infallible>> + Send>> =
            Box::pin(async move { Ok(registry.answer(request).await) });
        answer
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(NEXT_REQUEST);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(NEXT_REQUEST)
        .initial_stream_window_size(H2_WINDOW_BYTES)
        .initial_connection_window_size(H2_WINDOW_BYTES);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &*error, "connection");
    }
}
