//! A certificate that is shown at the other end of connections, and in whose place another comes before it ends: connections that are open stay
//! as they are, those that come see the new one.

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, PoisonError, RwLock};

/// The certificate that is shown now, of a server or a client.
#[derive(Debug)]
pub struct Presented(RwLock<Arc<CertifiedKey>>);

impl Presented {
    /// Shows a certificate (chain) with its private key, PEM.
    ///
    /// # Errors
    /// One of the two cannot be read, or they do not belong together: a sentence.
    pub fn new(certificate: &str, private_key: &str) -> Result<Self, String> {
        Ok(Self(RwLock::new(Arc::new(read(certificate, private_key)?))))
    }

    /// Shows another from now on.
    ///
    /// # Errors
    /// As [`Self::new`]; then the one before it is shown still.
    pub fn replace(&self, certificate: &str, private_key: &str) -> Result<(), String> {
        let next = Arc::new(read(certificate, private_key)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    fn now(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(certificate: &str, private_key: &str) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("certificate: {error}"))?;
    if chain.is_empty() {
        return Err("certificate: the file holds none".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(private_key.as_bytes()).map_err(|error| format!("private key: {error}"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| error.to_string())
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        for (certificate, key, why) in [("", "", "certificate: the file holds none"), ("nonsense", "x", "certificate")]
        {
            let error = Presented::new(certificate, key).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
