//! One client: an HTTP/2 connection over TLS with a client certificate or a token, as client-go and kubectl have it.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Whom to trust, and as whom to come: an administrator with a certificate, or whoever a token names.
#[derive(Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    trusted: Arc<rustls::RootCertStore>,
    tls: TlsConnector,
    bearer: Option<String>,
}

impl Door {
    /// The server at `address`, whose keys stand in `pki`.
    pub(crate) fn new(address: SocketAddr, pki: &Path) -> Self {
        let certificate = |name: &str| CertificateDer::from_pem_file(pki.join(name)).unwrap();
        let mut trusted = rustls::RootCertStore::empty();
        trusted.add(certificate("ca.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(pki.join("admin.key")).unwrap();
        let trusted = Arc::new(trusted);
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(Arc::clone(&trusted))
            .with_client_auth_cert(vec![certificate("admin.crt")], key)
            .unwrap();
        Self { address, trusted, tls: connector(config), bearer: None }
    }

    /// The same server for whoever shows this token, and no certificate.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        let config =
            rustls::ClientConfig::builder().with_root_certificates(Arc::clone(&self.trusted)).with_no_client_auth();
        Self { tls: connector(config), bearer: Some(format!("Bearer {token}")), ..self.clone() }
    }

    /// A connection to a server that is there.
    pub(crate) async fn must(&self) -> Client {
        self.connect().await.unwrap()
    }

    /// A connection of its own; `None`: nobody answers.
    pub(crate) async fn connect(&self) -> Option<Client> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = self.tls.connect(name, stream).await.ok()?;
        let (sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(Client { sender, authority: self.address.to_string(), bearer: self.bearer.clone() })
    }
}

fn connector(mut config: rustls::ClientConfig) -> TlsConnector {
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// A connection.
#[derive(Clone)]
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    bearer: Option<String>,
}

/// What is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) accept: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl Ask {
    /// A read in a form.
    pub(crate) fn get(path: impl Into<String>, accept: &'static str) -> Self {
        Self { method: "GET", path: path.into(), accept, ..Self::default() }
    }

    /// A write.
    pub(crate) fn send(
        method: &'static str,
        path: impl Into<String>,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        // Clients ask for what they send.
        let accept = if content_type == PROTOBUF { PROTOBUF } else { JSON };
        Self { method, path: path.into(), accept, content_type, body: body.into() }
    }
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

impl Client {
    /// Begins a request; the body of the answer is still to come.
    pub(crate) async fn begin(&mut self, ask: &Ask) -> Response<Incoming> {
        let mut request = Request::builder()
            .method(ask.method)
            .uri(format!("https://{}{}", self.authority, ask.path))
            .header("accept", ask.accept);
        if !ask.content_type.is_empty() {
            request = request.header("content-type", ask.content_type);
        }
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", bearer);
        }
        let request = request.body(Full::new(ask.body.clone())).unwrap();
        self.sender.ready().await.unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    /// Asks and reads the whole answer.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> (StatusCode, Bytes) {
        let answer = self.begin(ask).await;
        let code = answer.status();
        (code, answer.into_body().collect().await.unwrap().to_bytes())
    }

    /// Asks for what must work.
    pub(crate) async fn must(&mut self, ask: &Ask) -> Bytes {
        let (code, body) = self.ask(ask).await;
        assert!(code.is_success(), "{} {}: {code} {}", ask.method, ask.path, String::from_utf8_lossy(&body));
        body
    }
}
