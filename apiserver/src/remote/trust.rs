//! Whom we believe, and as whom we come: the authorities of a `caBundle` or of the machine, and what a kubeconfig file says about users
//! (`--admission-control-config-file`, "Authenticate apiservers").

use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use skiff_client::Presented;
use std::sync::{Arc, OnceLock};

/// Whose certificates are believed.
pub(crate) enum Trust<'a> {
    /// Those of these authorities (PEM).
    Bundle(&'a [u8]),
    /// Those that the machine believes.
    Machine,
    /// Whoever answers (`insecureSkipTLSVerify`).
    Anyone,
}

/// A client certificate with its key (PEM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientPair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// As whom we come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) pair: Option<ClientPair>,
    /// The header of that name.
    pub(crate) authorization: Option<String>,
}

/// As whom we come to which server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials(Vec<(String, User)>);

impl Credentials {
    /// By names of servers as a kubeconfig's users are named: `host:port`, `host`, `*.domain`, `*`.
    pub(crate) fn of(users: Vec<(String, User)>) -> Self {
        Self(users)
    }

    /// Those for a server; the most exact name counts.
    pub(crate) fn for_server(&self, host: &str, port: u16) -> Option<&User> {
        let named = |name: &str| self.0.iter().find(|(named, _)| named == name).map(|(_, user)| user);
        let exact = named(&format!("{host}:{port}")).or_else(|| named(host).filter(|_| port == 443));
        let mut rest = host;
        let by_domain = std::iter::from_fn(|| {
            rest = rest.split_once('.')?.1;
            Some(format!("*.{rest}"))
        });
        let domains: Vec<String> = by_domain.collect();
        exact
            .or_else(|| domains.iter().find_map(|domain| named(&format!("{domain}:{port}")).or_else(|| named(domain))))
            .or_else(|| named("*"))
    }
}

impl<'a> Trust<'a> {
    /// Of a bundle; one of nothing but spaces is none.
    pub(crate) fn of(bundle: &'a [u8]) -> Self {
        if bundle.trim_ascii().is_empty() { Self::Machine } else { Self::Bundle(bundle) }
    }

    /// A client that believes it, for HTTP/1.1: an HTTP/2 connection would lead all calls to one of several servers.
    ///
    /// # Errors
    /// A certificate or a key cannot be read: a sentence.
    pub(crate) fn client(self, user: Option<&ClientPair>) -> Result<Arc<ClientConfig>, String> {
        let builder = self.builder()?;
        let Some(user) = user else { return Ok(Arc::new(builder.with_no_client_auth())) };
        let own = Presented::new(&user.certificate, &user.key).map_err(|why| format!("client certificate: {why}"))?;
        Ok(Arc::new(builder.with_client_cert_resolver(Arc::new(own))))
    }

    /// The same, coming with a certificate in whose place others come.
    pub(crate) fn client_of(self, own: Arc<Presented>) -> Result<Arc<ClientConfig>, String> {
        Ok(Arc::new(self.builder()?.with_client_cert_resolver(own)))
    }

    fn builder(self) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(match self {
            Self::Bundle(bundle) => builder.with_root_certificates(of_bundle(bundle)?),
            Self::Machine => builder.with_root_certificates(of_machine()),
            Self::Anyone => builder.dangerous().with_custom_certificate_verifier(skiff_client::anyone()),
        })
    }
}

fn of_bundle(bundle: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|error| format!("caBundle: {error}"))?;
        roots.add(certificate).map_err(|error| format!("caBundle: {error}"))?;
    }
    if roots.is_empty() {
        return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
    }
    Ok(Arc::new(roots))
}

/// What cannot be read of them is left out, as everywhere.
fn of_machine() -> Arc<RootCertStore> {
    static MACHINE: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(MACHINE.get_or_init(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_name_counts() {
        let pair = |name: &str| User { authorization: Some(name.to_owned()), ..User::default() };
        let names = ["*", "*.svc", "a.n.svc", "a.n.svc:8443"];
        let all = Credentials::of(names.iter().map(|name| ((*name).to_owned(), pair(name))).collect());
        for (host, port, expected) in [
            ("a.n.svc", 443, "a.n.svc"),
            ("a.n.svc", 8443, "a.n.svc:8443"),
            ("a.n.svc", 1, "*.svc"),
            ("b.n.svc", 443, "*.svc"),
            ("b.example", 443, "*"),
        ] {
            let found = all.for_server(host, port).and_then(|user| user.authorization.as_deref());
            assert_eq!(found, Some(expected), "{host}:{port}");
        }
        assert_eq!(Credentials::default().for_server("a", 443), None);
    }

    #[test]
    fn a_bundle_that_is_none_is_named() {
        assert!(Trust::of(b" \n").client(None).is_ok(), "spaces are no bundle");
        let why = Trust::of(b"nonsense").client(None).expect_err("no certificates");
        assert!(why.contains("unable to parse bytes as PEM block"), "{why}");
    }
}
