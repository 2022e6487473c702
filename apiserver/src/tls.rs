//! TLS: what the server shows, whom it believes, and who is at the other end.

use crate::pki::Pki;
use crate::server::ApiError;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use skiff_client::Identity;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// HTTP/2 first: kubectl and gRPC speak it; upgrades ask for HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

fn unusable(error: impl std::fmt::Display) -> ApiError {
    ApiError::Tls(error.to_string())
}

pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, ApiError> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(unusable)
}

pub(crate) fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, ApiError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(unusable)
}

/// The cluster's authority as the only one to trust.
pub(crate) fn authorities(pki: &Pki) -> Result<RootCertStore, ApiError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pki.authority_certificate())? {
        store.add(certificate).map_err(unusable)?;
    }
    Ok(store)
}

/// Serves our certificate; asks for one of the cluster's, but does without (health checks come without).
pub(crate) fn server_config(pki: &Pki) -> Result<rustls::ServerConfig, ApiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(authorities(pki)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(unusable)?;
    let pair = pki.server();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&pair.certificate)?, private_key(&pair.private_key)?)
        .map_err(unusable)?;
    config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// Who the verified peer is; `None`: it showed no certificate.
pub(crate) fn peer(connection: &rustls::ServerConnection) -> Option<Identity> {
    let certificate = connection.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(identity_of(&certificate)).filter(|identity| !identity.user.is_empty())
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
