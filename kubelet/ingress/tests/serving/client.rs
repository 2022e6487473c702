//! Clients, plain and encrypted, of HTTP/1.1 and HTTP/2.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// An answer that has come to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    /// What a backend told.
    pub(crate) fn told(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {:?}", self.status, self.body))
    }

    pub(crate) fn by(&self) -> String {
        self.told()["by"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) async fn whole(answer: Response<Incoming>) -> Fallible<Answer> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers })
}

/// A connection of HTTP/1.1.
pub(crate) async fn connect(to: SocketAddr) -> Fallible<http1::SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(to).await?)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

pub(crate) fn request(
    method: &str,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static [u8],
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from_static(body))).unwrap()
}

pub(crate) async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> Fallible<Answer> {
    whole(connect(to).await?.send_request(request).await?).await
}

pub(crate) async fn get(to: SocketAddr, host: &str, path: &str) -> Fallible<Answer> {
    send(to, request("GET", host, path, &[], b"")).await
}

/// An encrypted connection for a name, whose certificate may be anybody's.
pub(crate) async fn tls(to: SocketAddr, name: &str, alpn: &[u8]) -> Fallible<TlsStream<TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(skiff_client::anyone());
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from(name.to_owned())?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(to).await?).await?)
}

/// The certificate that is shown for a name.
pub(crate) async fn shown(to: SocketAddr, name: &str) -> Fallible<Vec<u8>> {
    let stream = tls(to, name, b"http/1.1").await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.first().map(|one| one.to_vec()).unwrap_or_default())
}

/// A request by HTTP/2, encrypted.
pub(crate) async fn get_h2(to: SocketAddr, host: &str, path: &str, headers: &[(&str, &str)]) -> Fallible<Answer> {
    let io = TokioIo::new(tls(to, host, b"h2").await?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    let mut request = Request::builder().method("POST").uri(format!("https://{host}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    whole(sender.send_request(request.body(Full::new(Bytes::from_static(b"hello")))?).await?).await
}
