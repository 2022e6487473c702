//! TLS: what the server shows, whom it believes, and who is at the other end.

use crate::caller::Authentication;
use crate::pki::{CertKey, Pki};
use crate::server::ApiError;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use skiff_client::{Identity, Presented};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// HTTP/2 first: kubectl and gRPC speak it; upgrades ask for HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

fn unusable(error: impl std::fmt::Display) -> ApiError {
    ApiError::Tls(error.to_string())
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, ApiError> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(unusable)
}

/// The cluster's authority as the only one to trust.
pub(crate) fn authorities(pki: &Pki) -> Result<RootCertStore, ApiError> {
    roots(&[pki.authority_certificate()])
}

fn roots(pems: &[&str]) -> Result<RootCertStore, ApiError> {
    let mut store = RootCertStore::empty();
    for pem in pems {
        for certificate in certificates(pem)? {
            store.add(certificate).map_err(unusable)?;
        }
    }
    Ok(store)
}

/// What the other end of a connection has shown. It ends while the connection lasts, so each request looks at it anew.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Whether it may say in headers for whom it asks.
    pub(crate) is_front_proxy: bool,
    /// Whether an authority for clients vouches for it.
    pub(crate) is_client: bool,
    /// Whom the certificate is made out to.
    pub(crate) subject: Identity,
    /// When it ends, seconds since 1970.
    ends: i64,
}

impl Shown {
    /// Whether it holds at `now`, seconds since 1970.
    pub(crate) fn holds(&self, now: i64) -> bool {
        now <= self.ends
    }
}

/// Who may be at the other end, by who vouches for it.
#[derive(Debug)]
pub(crate) struct Peers {
    clients: Arc<dyn ClientCertVerifier>,
    proxies: Arc<dyn ClientCertVerifier>,
    both: Arc<dyn ClientCertVerifier>,
    proxy_names: Vec<String>,
}

impl Peers {
    /// Believes the cluster's authorities, and what `options` add to one or name in the other's place.
    pub(crate) fn new(pki: &Pki, options: &Authentication) -> Result<Self, ApiError> {
        let clients: Vec<&str> =
            [pki.authority_certificate()].into_iter().chain(options.client_authority.as_deref()).collect();
        let proxies = [options.front_proxy.authority.as_deref().unwrap_or(pki.front_proxy_authority())];
        Ok(Self {
            both: verifier(&[&clients[..], &proxies].concat())?,
            clients: verifier(&clients)?,
            proxies: verifier(&proxies)?,
            proxy_names: options.front_proxy.names.clone(),
        })
    }

    /// What the other end has shown; `None`: no certificate.
    pub(crate) fn shown(&self, connection: &rustls::ServerConnection) -> Option<Shown> {
        let all = connection.peer_certificates()?;
        let (first, others) = all.split_first()?;
        let vouches =
            |who: &Arc<dyn ClientCertVerifier>| who.verify_client_cert(first, others, UnixTime::now()).is_ok();
        let (_, certificate) = X509Certificate::from_der(first).ok()?;
        let subject = identity_of(&certificate);
        let named = self.proxy_names.is_empty() || self.proxy_names.contains(&subject.user);
        Some(Shown {
            is_front_proxy: named && vouches(&self.proxies),
            is_client: vouches(&self.clients),
            subject,
            ends: certificate.validity().not_after.timestamp(),
        })
    }
}

/// Checks client certificates by the authorities in `pems`, and does without one (health checks come without).
fn verifier(pems: &[&str]) -> Result<Arc<dyn ClientCertVerifier>, ApiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pems)?), provider);
    builder.allow_unauthenticated().build().map_err(unusable)
}

/// A certificate that is shown until another takes its place.
pub(crate) fn presented(pair: &CertKey) -> Result<Arc<Presented>, ApiError> {
    Presented::new(&pair.certificate, &pair.private_key).map(Arc::new).map_err(unusable)
}

/// Serves `own`; asks for a certificate of those whom `peers` believe.
pub(crate) fn server_config(own: Arc<Presented>, peers: &Peers) -> Result<rustls::ServerConfig, ApiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_client_cert_verifier(peers.both.clone())
        .with_cert_resolver(own);
    config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// User and groups as Kubernetes reads them from a client certificate: the common name and the organizations.
pub(crate) fn identity_of(certificate: &X509Certificate<'_>) -> Identity {
    let subject = certificate.subject();
    let text =
        |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(ToOwned::to_owned);
    Identity {
        user: subject.iter_common_name().find_map(text).unwrap_or_default(),
        groups: subject.iter_organization().filter_map(text).collect(),
        ..Identity::default()
    }
}
