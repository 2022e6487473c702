//! The kubelet's HTTPS API: logs, exec, attach and port-forward for the API server.
//!
//! Everybody but `/healthz` needs a client certificate of the cluster's authority or a token, and has to be allowed: see [`auth`].

mod attributes; // what a request is, for those who allow it; no I/O
mod auth; // who may
mod known; // what no other interface tells
mod log_lines; // what a CRI log line says; no I/O
mod logs; // reads CRI log files
mod metrics; // figures for Prometheus; no I/O
mod routes; // which path does what
mod streams; // exec, attach, port-forward
mod usage; // what is used at the moment

use crate::agent::Agent;
use crate::config::KubeletTls;
use crate::error::KubeletError;
use auth::Caller;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may be idle (a real kubelet: 90 s) and then take for the head of a request (32 s). Without a limit, a client
/// that sends nothing, or a byte now and then, would hold it for ever.
const NEXT_REQUEST: Duration = Duration::from_secs(90 + 32);
/// See [`notice_gone`].
const SILENCE_SECONDS: u32 = 60;

/// A bound server.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
}

impl Server {
    /// Binds `address` with the keys of `tls`.
    pub(crate) async fn bind(address: SocketAddr, tls: &KubeletTls) -> Result<Self, KubeletError> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(tls)?));
        let refused = |source| KubeletError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, acceptor })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever.
    pub(crate) async fn serve(self, agent: Arc<Agent>) {
        let router = routes::router(agent);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(connection(self.acceptor.clone(), stream, router.clone()))),
                    Err(error) => {
                        // Out of descriptors, say: accepting again at once would spin.
                        tracing::warn!(error = skiff_client::sentence(&error), "kubelet API: accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_ended) = connections.join_next() => {}
            }
        }
    }
}

fn server_config(tls: &KubeletTls) -> Result<ServerConfig, KubeletError> {
    let wrong =
        |what: &'static str| move |error: &dyn std::fmt::Display| KubeletError::Tls { what, reason: error.to_string() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut authorities = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(tls.client_ca.as_bytes()) {
        let authority = authority.map_err(|error| wrong("client CA")(&error))?;
        authorities.add(authority).map_err(|error| wrong("client CA")(&error))?;
    }
    // Anonymous clients get as far as /healthz; everything else asks for the certificate itself.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| wrong("client CA")(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("protocol versions")(&error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(tls.serving.clone());
    // Only HTTP/1.1 can be upgraded to what exec and port-forward speak.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Lets the kernel end a connection whose other end was silent, or has not taken what was sent, for [`SILENCE_SECONDS`]: an API server
/// that vanished without a word would leave its streams of logs open for ever.
fn notice_gone(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &SILENCE_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &(SILENCE_SECONDS / 3))?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &(SILENCE_SECONDS * 1000))
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, router: axum::Router) {
    if let Err(error) = notice_gone(&stream) {
        tracing::debug!(error = skiff_client::sentence(&error), "kubelet API: keep-alive");
    }
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(error = skiff_client::sentence(&error), "kubelet API: handshake"),
        Err(_) => return,
    };
    let caller = Caller::of(stream.get_ref().1.peer_certificates());
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(caller.clone());
        request.map(axum::body::Body::new)
    });
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(NEXT_REQUEST);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    if let Err(error) = served.await {
        tracing::debug!(error = skiff_client::sentence(&*error), "kubelet API: connection");
    }
}
