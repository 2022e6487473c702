//! A connection to one kubelet: TLS with our certificate, HTTP/1.1 (the only version that upgrades), one request each.

use super::place::Place;
use crate::pki::{CertKey, Pki, SERVING_NAME};
use crate::remote::host_of;
use crate::server::ApiError;
use crate::status::Status;
use crate::tls::{authorities, presented};
use axum::body::Body;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use skiff_client::Presented;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a kubelet may take to accept a connection. It is on this machine or in the next rack.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Believes a kubelet with a certificate of the cluster's authority: for the host that was dialed, as nodes that join are given it, or
/// for the name that our own kubelets have wherever they are ([`SERVING_NAME`]), which no node is given on request.
#[derive(Debug)]
struct KubeletVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    own_name: ServerName<'static>,
}

impl KubeletVerifier {
    fn new(pki: &Pki) -> Result<Self, ApiError> {
        let wrong = |error: &dyn std::fmt::Display| ApiError::Tls(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(authorities(pki)?);
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let own_name = ServerName::try_from(SERVING_NAME).map_err(|error| wrong(&error))?;
        Ok(Self { webpki: webpki.map_err(|error| wrong(&error))?, own_name })
    }
}

impl ServerCertVerifier for KubeletVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = |name: &ServerName<'_>| self.webpki.verify_server_cert(certificate, others, name, ocsp, now);
        verified(host).or_else(|error| verified(&self.own_name).map_err(|_| error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Dials kubelets.
#[derive(Clone)]
pub(crate) struct Kubelets {
    tls: TlsConnector,
    own: Arc<Presented>,
}

/// A request for the kubelet at `place`.
pub(super) fn request(method: &str, place: &Place, path: &str) -> Result<Request<Body>, Status> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, &place.authority)
        .body(Body::empty())
        .map_err(|error| Status::bad_request(format!("request to the kubelet: {error}")))
}

impl Kubelets {
    pub(crate) fn new(pki: &Pki) -> Result<Self, ApiError> {
        let own = presented(pki.apiserver_kubelet_client())?;
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ApiError::Tls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(KubeletVerifier::new(pki)?))
            .with_client_cert_resolver(own.clone());
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), own })
    }

    /// Shows another certificate from now on.
    pub(crate) fn present(&self, pair: &CertKey) -> Result<(), String> {
        self.own.replace(&pair.certificate, &pair.private_key)
    }

    pub(super) async fn dial(&self, authority: &str) -> Result<TlsStream<TcpStream>, Status> {
        let failed =
            |error: String| Status::bad_gateway(format!("error dialing backend: dial tcp {authority}: {error}"));
        let dialed = timeout(CONNECT_TIMEOUT, async {
            let socket = TcpStream::connect(authority).await?;
            socket.set_nodelay(true)?;
            let named =
                ServerName::try_from(host_of(authority).to_owned()).or_else(|_| ServerName::try_from(SERVING_NAME));
            let name = named.map_err(std::io::Error::other)?;
            self.tls.connect(name, socket).await
        });
        match dialed.await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer in {} seconds", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    /// Sends one request; the connection lives as long as the answer's body or upgrade.
    pub(crate) async fn send(&self, authority: &str, request: Request<Body>) -> Result<Response<Incoming>, Status> {
        let failed = |error: hyper::Error| Status::bad_gateway(format!("error talking to {authority}: {error}"));
        let stream = self.dial(authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to a kubelet ended");
            }
        });
        sender.send_request(request).await.map_err(failed)
    }
}
