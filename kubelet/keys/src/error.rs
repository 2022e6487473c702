//! Why a node has no certificate.

use skiff_client::ConnectError;
use std::io;
use std::path::PathBuf;

/// Errors of [`crate::Keys`].
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// There is neither a certificate nor a token to ask for one with.
    #[error(
        "{path} holds no client certificate that is in force, and no bootstrap kubeconfig is named to ask for one with"
    )]
    Nothing {
        /// The kubeconfig.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{operation} {path}")]
    File {
        /// What was to be done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A kubeconfig lacks something.
    #[error("kubeconfig {path}: {problem}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A client cannot be made.
    #[error("talk to the cluster")]
    Client(#[source] Box<ConnectError>),
    /// A key or a request cannot be made.
    #[error("make a key and a request for a certificate: {0}")]
    Make(String),
    /// The API server refuses.
    #[error("{operation} certificate signing request {name}")]
    Api {
        /// What was to be done.
        operation: &'static str,
        /// The request, or the beginning of its name.
        name: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// The request was refused.
    #[error("certificate signing request {name} was {how}: {why}")]
    Refused {
        /// The request.
        name: String,
        /// Denied, or failed.
        how: String,
        /// What was said.
        why: String,
    },
    /// Nobody decided.
    #[error(
        "certificate signing request {name} was not approved and signed within {seconds} s: kubectl certificate approve {name}"
    )]
    Silence {
        /// The request.
        name: String,
        /// How long was waited.
        seconds: u64,
    },
    /// What was issued does not fit.
    #[error("the certificate that was issued: {0}")]
    Unusable(String),
}

impl KeysError {
    pub(crate) fn client(error: ConnectError) -> Self {
        Self::Client(Box::new(error))
    }
}
