//! Which certificate is shown to whom, by the name that a client asks for (SNI).

use crate::plan::SecretRef;
use crate::route::Host;
use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// The keys of a secret of the type `kubernetes.io/tls`.
const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";

/// The certificates of a port.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    by_suffix: HashMap<String, Vec<(Host, Arc<CertifiedKey>)>>,
    /// For whoever names nobody that is known.
    rest: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Of the first certificate that is there for each host.
    pub(crate) fn new(wanted: &[(Host, SecretRef)], keys: &HashMap<SecretRef, Arc<CertifiedKey>>) -> Self {
        let mut all = Self::default();
        for (host, secret) in wanted {
            let Some(key) = keys.get(secret) else { continue };
            match host {
                Host::Any => drop(all.rest.get_or_insert_with(|| Arc::clone(key))),
                Host::Exact(name) => drop(all.by_name.entry(name.clone()).or_insert_with(|| Arc::clone(key))),
                Host::OneBelow(rest) | Host::AllBelow(rest) => {
                    all.by_suffix.entry(rest.clone()).or_default().push((host.clone(), Arc::clone(key)));
                }
            }
        }
        all
    }

    /// The certificate for a name; `None`: there is none, and the handshake is refused.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| self.by_name.get(name).or_else(|| self.below(name)));
        named.or(self.rest.as_ref()).cloned()
    }

    fn below(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let suffixes = std::iter::successors(name.split_once('.'), |(_, rest)| rest.split_once('.'));
        let mut all = suffixes.filter_map(|(_, rest)| self.by_suffix.get(rest)).flatten();
        all.find(|(host, _)| host.is_for(name)).map(|(_, key)| key)
    }
}

/// Reads certificate and key of a secret.
///
/// # Errors
/// One is missing, cannot be read, or they do not belong together: a sentence.
pub(crate) fn read(secret: &Secret) -> Result<CertifiedKey, String> {
    let data = |key: &str| {
        let found = secret.data.as_ref().and_then(|data| data.get(key));
        found.map(|bytes| bytes.0.as_slice()).ok_or_else(|| format!("it has no {key}"))
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(data(CERTIFICATE)?).collect();
    let chain = chain.map_err(|error| format!("{CERTIFICATE}: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{CERTIFICATE}: holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(data(PRIVATE_KEY)?);
    let key = key.map_err(|error| format!("{PRIVATE_KEY}: {error}"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    pub(crate) fn secret(name: &str) -> Secret {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let data = [
            (CERTIFICATE.to_owned(), ByteString(made.cert.pem().into_bytes())),
            (PRIVATE_KEY.to_owned(), ByteString(made.signing_key.serialize_pem().into_bytes())),
        ];
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    #[test]
    fn names_before_wildcards_before_the_rest() {
        let named = |name: &str| SecretRef { namespace: "n".into(), name: name.into() };
        let keys: HashMap<SecretRef, Arc<CertifiedKey>> =
            ["a", "b", "c"].into_iter().map(|name| (named(name), Arc::new(read(&secret(name)).unwrap()))).collect();
        let wanted = [
            (Host::Exact("x.y".into()), named("gone")),
            (Host::Exact("x.y".into()), named("a")),
            (Host::OneBelow("y".into()), named("b")),
        ];
        let all = Certificates::new(&wanted, &keys);
        let is = |found: Option<Arc<CertifiedKey>>, name: &str| {
            found.is_some_and(|it| Arc::ptr_eq(&it, &keys[&named(name)]))
        };
        assert!(is(all.find(Some("x.y")), "a") && is(all.find(Some("z.y")), "b"));
        assert!(all.find(Some("a.z.y")).is_none() && all.find(None).is_none());
        let all = Certificates::new(&[(Host::Any, named("c"))], &keys);
        assert!(is(all.find(None), "c") && is(all.find(Some("x.y")), "c"));
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said() {
        let mut one = secret("a");
        one.data.as_mut().unwrap().remove("tls.key");
        assert_eq!(read(&one).unwrap_err(), "it has no tls.key");
        one.data.as_mut().unwrap().insert("tls.crt".into(), ByteString(b"x".to_vec()));
        assert_eq!(read(&one).unwrap_err(), "tls.crt: holds no certificate");
        let mut other = secret("b");
        other.data.as_mut().unwrap().insert("tls.key".into(), secret("c").data.unwrap()["tls.key"].clone());
        assert!(!read(&other).unwrap_err().is_empty());
    }
}
