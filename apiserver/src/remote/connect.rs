//! A connection to somebody who is asked: TCP, then TLS with a certificate for the name that we know them by, whatever their address is.

use super::{host_of, port_of};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long somebody may take to accept a connection and to shake hands (Go's dialer: 30 s, its handshake: 10 s).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection; reads as Go says it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Through(pub(crate) String);

/// Makes connections.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    tls: TlsConnector_,
    /// What the certificate must say; without it, the host of the URL.
    server: Option<Arc<str>>,
}

/// `TlsConnector` shows nothing of itself.
#[derive(Clone)]
struct TlsConnector_(TlsConnector);

impl std::fmt::Debug for TlsConnector_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl Connector {
    pub(crate) fn new(tls: Arc<ClientConfig>, server: Option<String>) -> Self {
        Self { tls: TlsConnector_(TlsConnector::from(tls)), server: server.map(Into::into) }
    }

    /// Connects to `authority`, `10.88.0.7:8443`.
    pub(crate) async fn dial(&self, authority: &str) -> Result<Secured, Through> {
        let host = host_of(authority);
        let dialed = timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port_of(authority)))).await;
        let failed = |why: &str| Through(format!("dial tcp {authority}: {why}"));
        let stream = match dialed {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(&of_dial(&error))),
            Err(_) => return Err(failed("i/o timeout")),
        };
        stream.set_nodelay(true).map_err(|error| failed(&error.to_string()))?;
        let named = self.server.as_deref().unwrap_or(host);
        let name = ServerName::try_from(named.to_owned()).map_err(|error| failed(&error.to_string()))?;
        match timeout(HANDSHAKE_TIMEOUT, self.tls.0.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Secured(TokioIo::new(stream))),
            Ok(Err(error)) => Err(Through(of_handshake(&error, named))),
            Err(_) => Err(Through("net/http: TLS handshake timeout".to_owned())),
        }
    }
}

fn of_dial(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}

/// Go's words for what is wrong with a certificate: people look for them.
fn of_handshake(error: &std::io::Error, name: &str) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let unverified = |why: &str| format!("tls: failed to verify certificate: x509: {why}");
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            // Of an authority with the name of one that we know, but not its key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                unverified("certificate signed by unknown authority")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } | CertificateError::NotValidYet => {
                unverified("certificate has expired or is not yet valid")
            }
            CertificateError::NotValidForName => unverified(&format!("certificate is not valid for {name}")),
            CertificateError::NotValidForNameContext { presented, .. } => match &presented[..] {
                [] => unverified(&format!("certificate is not valid for any names, but wanted to match {name}")),
                presented => unverified(&format!("certificate is valid for {}, not {name}", presented.join(", "))),
            },
            other => unverified(&other.to_string()),
        },
        Some(other) => format!("tls: {other}"),
        None => error.to_string(),
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Secured;
    type Error = Through;
    type Future = Pin<Box<dyn Future<Output = Result<Secured, Through>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Through>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
            this.dial(&authority).await
        })
    }
}

/// A connection with TLS.
#[derive(Debug)]
pub(crate) struct Secured(TokioIo<TlsStream<TcpStream>>);

impl Connection for Secured {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
