//! Keys and certificates for servers and clients on the loopback.

// Each test program uses a part of this; and helpers of tests may unwrap as tests do.
#![allow(dead_code, clippy::unwrap_used)]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use skiff_store::etcd::ClientTls;

/// Who signs.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

impl Authority {
    /// A certificate for 127.0.0.1 and its key, PEM: good for either side.
    pub(crate) fn issued(&self) -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem().into(), key.serialize_pem().into())
    }

    /// A client that this authority vouches for.
    pub(crate) fn client(&self) -> ClientTls {
        ClientTls { ca: self.pem.clone().into(), identity: Some(self.issued()) }
    }
}
