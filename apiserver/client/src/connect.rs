//! Makes clients.

use crate::Identity;
use http::{Request, Response};
use http_body::Body;
use kube::client::Body as RequestBody;
use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use tower::{Service, ServiceExt};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read or does not parse.
    #[error("kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
    /// The kubeconfig is sound but no TLS client can be made of it.
    #[error("client for kubeconfig {path}")]
    Client {
        /// The file.
        path: PathBuf,
        /// Why.
        source: kube::Error,
    },
}

/// A client for the server and user that the kubeconfig at `path` names as current.
///
/// # Errors
/// The file is missing, unreadable or incomplete, or its certificates are not usable.
pub async fn from_kubeconfig(path: &Path) -> Result<kube::Client, ConnectError> {
    let at = || path.to_owned();
    let written =
        kube::config::Kubeconfig::read_from(path).map_err(|source| ConnectError::Kubeconfig { path: at(), source })?;
    let config = kube::Config::from_custom_kubeconfig(written, &kube::config::KubeConfigOptions::default())
        .await
        .map_err(|source| ConnectError::Kubeconfig { path: at(), source })?;
    kube::Client::try_from(config).map_err(|source| ConnectError::Client { path: at(), source })
}

/// A client that calls `server` (an axum Router, say) in this process, as `identity`.
pub fn in_process<S, B>(server: S, identity: Identity) -> kube::Client
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let service = server.map_request(move |mut request: Request<RequestBody>| {
        request.extensions_mut().insert(identity.clone());
        request
    });
    kube::Client::new(service, "default")
}
