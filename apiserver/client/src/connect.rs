//! Makes clients.

use crate::Identity;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
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
    /// The certificate authority that the kubeconfig names cannot be read.
    #[error("certificate authority of kubeconfig {path}: {problem}")]
    Authority {
        /// The kubeconfig.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A client for the server and user that the kubeconfig at `path` names as current.
///
/// # Errors
/// The file is missing, unreadable or incomplete, or its certificates are not usable.
pub async fn from_kubeconfig(path: &Path) -> Result<kube::Client, ConnectError> {
    client(path, configuration(path).await?)
}

/// The same for nobody: without what the kubeconfig says of the user.
pub(crate) async fn nobody_of_kubeconfig(path: &Path) -> Result<kube::Client, ConnectError> {
    let mut config = configuration(path).await?;
    config.auth_info = kube::config::AuthInfo::default();
    client(path, config)
}

/// What the kubeconfig at `path` says of the server and the user that are current.
async fn configuration(path: &Path) -> Result<kube::Config, ConnectError> {
    let at = || path.to_owned();
    let written =
        kube::config::Kubeconfig::read_from(path).map_err(|source| ConnectError::Kubeconfig { path: at(), source })?;
    kube::Config::from_custom_kubeconfig(written, &kube::config::KubeConfigOptions::default())
        .await
        .map_err(|source| ConnectError::Kubeconfig { path: at(), source })
}

/// A client for what was read from `path`.
fn client(path: &Path, config: kube::Config) -> Result<kube::Client, ConnectError> {
    kube::Client::try_from(config).map_err(|source| ConnectError::Client { path: path.to_owned(), source })
}

/// The certificate authority (PEM) by which clients of the kubeconfig at `path` know their server; `None`: it names none,
/// and the machine's own authorities are trusted.
///
/// # Errors
/// The kubeconfig or the file that it names cannot be read, or holds no text.
pub fn authority_of_kubeconfig(path: &Path) -> Result<Option<String>, ConnectError> {
    let written = kube::config::Kubeconfig::read_from(path)
        .map_err(|source| ConnectError::Kubeconfig { path: path.to_owned(), source })?;
    let wrong = |problem: String| ConnectError::Authority { path: path.to_owned(), problem };
    let context = written.contexts.iter().find(|one| Some(&one.name) == written.current_context.as_ref());
    let name = context.and_then(|one| Some(&one.context.as_ref()?.cluster));
    let cluster = written.clusters.iter().find(|one| Some(&one.name) == name).and_then(|one| one.cluster.as_ref());
    let Some(cluster) = cluster else { return Ok(None) };
    if let Some(data) = &cluster.certificate_authority_data {
        let bytes = BASE64.decode(data).map_err(|error| wrong(error.to_string()))?;
        return String::from_utf8(bytes).map(Some).map_err(|error| wrong(error.to_string()));
    }
    let Some(file) = &cluster.certificate_authority else { return Ok(None) };
    std::fs::read_to_string(file).map(Some).map_err(|error| wrong(format!("read {file}: {error}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_that_of_the_current_context() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let of = |cluster: &str| {
            let text = format!(
                "{{current-context: b, contexts: [{{name: a, context: {{cluster: x}}}}, {{name: b, context: {{cluster: y}}}}],
                  clusters: [{{name: x, cluster: {{certificate-authority-data: eA==}}}}, {{name: y, cluster: {cluster}}}]}}"
            );
            std::fs::write(&path, text).unwrap();
            authority_of_kubeconfig(&path)
        };
        assert_eq!(of("{certificate-authority-data: cGVt}").unwrap().as_deref(), Some("pem"));
        std::fs::write(folder.path().join("ca.crt"), "file").unwrap();
        assert_eq!(of("{certificate-authority: ca.crt}").unwrap().as_deref(), Some("file"));
        assert_eq!(of("{server: 'https://here'}").unwrap(), None);
        assert!(of("{certificate-authority: absent.crt}").unwrap_err().to_string().contains("absent.crt"));
        assert!(of("{certificate-authority-data: '%'}").is_err());
    }
}
