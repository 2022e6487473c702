//! The cluster's keys: an authority, and the certificates it signs for the server, the administrator and the kubelet.
//!
//! ```text
//!  ca ──┬── apiserver                  serving, for the names and addresses the caller gives
//!       ├── admin                      client, system:masters
//!       ├── apiserver-kubelet-client   client, system:masters: how the server shows itself to a kubelet
//!       ├── kubelet                    serving
//!       └── kubelet-client-<node>      client, system:node:<node> in system:nodes
//!  sa                                  no certificate: signs the tokens of service accounts
//! ```
//!
//! Each is a pair of PEM files, `<name>.crt` and `<name>.key`, in one folder. A key is made once; its certificate is issued
//! again when it is missing, does not fit the key, the authority or the names asked for, or has seen most of its life, at a start and while
//! the program runs ([`Pki::keep`]).
//!
//! What it leaves to others: revocation, and rotation of the authority (remove the folder while nothing runs).

mod file; // private files, written whole or not at all
mod issue; // what stands in a certificate
mod kubeconfig; // how an administrator finds the server
mod renewal; // when certificates are issued again

pub use issue::SERVING_NAME;

use issue::{Authority, Role};
use skiff_authn::key::SigningKey;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A certificate and its private key, as PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct CertKey {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS #8).
    pub private_key: String,
}

impl fmt::Debug for CertKey {
    /// Leaves the private key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertKey").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or folder of keys could not be read or written.
    #[error("{operation} {path}")]
    File {
        /// `read`, `write`, `create folder`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of ours does not hold what its name says.
    #[error("{path}: {problem}; restore it, or remove it to have it made again")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate could not be made.
    #[error("issue certificate {name}")]
    Issue {
        /// `apiserver`, `admin`, …
        name: String,
        /// Why.
        source: rcgen::Error,
    },
}

/// The keys of one cluster, on disk and in memory.
#[derive(Debug, Clone)]
pub struct Pki {
    directory: PathBuf,
    sans: Vec<String>,
    authority: CertKey,
    server: CertKey,
    admin: CertKey,
    kubelet_serving: CertKey,
    apiserver_kubelet_client: CertKey,
    front_proxy_authority: String,
    front_proxy: CertKey,
    service_account_key: Secret,
}

/// A text that no debug form shows.
#[derive(Clone)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Pki {
    /// Reads the keys in `directory`, making those that are missing; `sans` are the names and addresses under which clients
    /// reach the server, besides `localhost`, `127.0.0.1` and the names of the `kubernetes` service.
    ///
    /// # Errors
    /// A file cannot be read or written, or holds something else than its name says.
    pub fn open_or_create(directory: &Path, sans: &[String]) -> Result<Self, PkiError> {
        file::create_private_directory(directory)?;
        let authority = Authority::open_or_create(directory)?;
        let server = authority.leaf(directory, "apiserver", &Role::Server { sans: server_names(sans) })?;
        let kubelet_sans = [SERVING_NAME.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
        let kubelet_sans = Role::Server { sans: kubelet_sans.iter().chain(sans).cloned().collect() };
        let (front_proxy_authority, front_proxy) = front_proxy(directory)?;
        let masters = |user: &str| Role::Client { user: user.to_owned(), group: "system:masters".to_owned() };
        Ok(Self {
            admin: authority.leaf(directory, "admin", &masters("kubernetes-admin"))?,
            apiserver_kubelet_client: authority.leaf(
                directory,
                "apiserver-kubelet-client",
                &masters("kube-apiserver-kubelet-client"),
            )?,
            kubelet_serving: authority.leaf(directory, "kubelet", &kubelet_sans)?,
            service_account_key: Secret(signing_key(&directory.join("sa.key"))?),
            server,
            authority: authority.pair(),
            front_proxy_authority,
            front_proxy,
            sans: sans.to_vec(),
            directory: directory.to_owned(),
        })
    }

    /// The authority's certificate as PEM: what clients and kubelets trust.
    #[must_use]
    pub fn authority_certificate(&self) -> &str {
        &self.authority.certificate
    }

    /// Certificate and key of the authority, for whoever signs on request.
    #[must_use]
    pub fn authority(&self) -> &CertKey {
        &self.authority
    }

    /// What the API server shows its clients.
    #[must_use]
    pub fn server(&self) -> &CertKey {
        &self.server
    }

    /// The administrator: `kubernetes-admin` in `system:masters`.
    #[must_use]
    pub fn admin(&self) -> &CertKey {
        &self.admin
    }

    /// What the kubelet shows the API server; it carries the name [`SERVING_NAME`], which the server insists on.
    #[must_use]
    pub fn kubelet_serving(&self) -> &CertKey {
        &self.kubelet_serving
    }

    /// What the API server shows the kubelet.
    #[must_use]
    pub fn apiserver_kubelet_client(&self) -> &CertKey {
        &self.apiserver_kubelet_client
    }

    /// What the API server shows API servers behind it: they believe what comes with it about users.
    #[must_use]
    pub fn front_proxy(&self) -> &CertKey {
        &self.front_proxy
    }

    /// The authority of front proxies, as PEM.
    #[must_use]
    pub fn front_proxy_authority(&self) -> &str {
        &self.front_proxy_authority
    }

    /// From when until when certificates hold that [`Self::keep`] issues again.
    fn validities(&self) -> Vec<renewal::Validity> {
        let all = [&self.server, &self.admin, &self.kubelet_serving, &self.apiserver_kubelet_client, &self.front_proxy];
        // One that cannot be read has ended.
        let of = |pair: &CertKey| skiff_authn::certificate::validity(pair.certificate.as_bytes()).unwrap_or_default();
        all.into_iter().map(of).collect()
    }

    /// The private key that signs the tokens of service accounts, as PEM.
    #[must_use]
    pub fn service_account_key(&self) -> &str {
        &self.service_account_key.0
    }

    /// What the kubelet of `node` shows the API server: `system:node:<node>` in `system:nodes`.
    ///
    /// # Errors
    /// The files cannot be read or written.
    pub fn kubelet_client(&self, node: &str) -> Result<CertKey, PkiError> {
        let role = Role::Client { user: format!("system:node:{node}"), group: "system:nodes".to_owned() };
        Authority::of(&self.directory, &self.authority)?.leaf(&self.directory, &format!("kubelet-client-{node}"), &role)
    }

    /// Writes a kubeconfig (mode 0600) with which kubectl reaches `server_url` as [`Pki::admin`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path, server_url: &str) -> Result<(), PkiError> {
        let text = kubeconfig::text(server_url, "kubernetes-admin", self.authority_certificate(), &self.admin);
        file::write_private(path, &text)
    }

    /// The same for the kubelet of `node`, for a kubelet that runs as a program of its own.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_kubelet_kubeconfig(&self, path: &Path, server_url: &str, node: &str) -> Result<(), PkiError> {
        let user = format!("system:node:{node}");
        let text = kubeconfig::text(server_url, &user, self.authority_certificate(), &self.kubelet_client(node)?);
        file::write_private(path, &text)
    }
}

/// The authority of front proxies, and the certificate that it signs for this server.
fn front_proxy(directory: &Path) -> Result<(String, CertKey), PkiError> {
    let directory = directory.join("front-proxy");
    file::create_private_directory(&directory)?;
    let authority = Authority::open_or_create(&directory)?;
    let role = Role::Client { user: crate::caller::FRONT_PROXY.to_owned(), group: "front-proxy".to_owned() };
    let client = authority.leaf(&directory, "client", &role)?;
    Ok((authority.pair().certificate, client))
}

/// Reads the key at `path` that signs tokens, as PEM, or makes it: a new key would end every token that was issued.
///
/// # Errors
/// The file cannot be read or written, or holds no key.
pub fn signing_key(path: &Path) -> Result<String, PkiError> {
    let unreadable = |problem| PkiError::Unreadable { path: path.to_owned(), problem };
    if let Some(text) = file::read(path)? {
        SigningKey::from_pem(&text).map_err(|error| unreadable(error.to_string()))?;
        return Ok(text);
    }
    let text = SigningKey::generate().map_err(unreadable)?;
    file::write_private(path, &text)?;
    Ok(text)
}

/// The names the API server answers to (kubeadm's list, "PKI certificates and requirements").
fn server_names(sans: &[String]) -> Vec<String> {
    let service =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let mut names: Vec<String> = service.iter().chain(&["localhost", "127.0.0.1"]).map(ToString::to_string).collect();
    for san in sans {
        // An address in brackets or with leading zeros is the same address.
        let san = san.parse::<IpAddr>().map_or_else(|_| san.clone(), |address| address.to_string());
        if !names.contains(&san) {
            names.push(san);
        }
    }
    names
}
