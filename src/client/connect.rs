//! From a kubeconfig to our gRPC API. The same file that kubectl takes.

use crate::cli::ServerArgs;
use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use secrecy::ExposeSecret;
use skiff_proto::api::v1::objects_client::ObjectsClient;
use skiff_proto::api::v1::pods_client::PodsClient;
use std::path::Path;
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A list of everything is one message; etcd's clients take 2 GiB for the same reason.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// A connection to an API server.
#[derive(Clone)]
pub(crate) struct Server {
    channel: Channel,
    /// The namespace that commands use when none is given.
    pub(crate) namespace: String,
}

impl Server {
    /// The objects service.
    pub(crate) fn objects(&self) -> ObjectsClient<Channel> {
        ObjectsClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The pods service.
    pub(crate) fn pods(&self) -> PodsClient<Channel> {
        PodsClient::new(self.channel.clone())
    }
}

/// Says what to do if there is no kubeconfig at `path`.
///
/// # Errors
/// There is none.
pub(crate) fn must_exist(path: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        path.exists(),
        "kubeconfig {}: no such file; start a node with `skiff up`, or name a kubeconfig with --kubeconfig",
        path.display()
    );
    Ok(())
}

/// Connects as `args` say.
pub(crate) async fn connect(args: &ServerArgs) -> anyhow::Result<Server> {
    let path = &args.kubeconfig;
    must_exist(path)?;
    let file = Kubeconfig::read_from(path).with_context(|| format!("kubeconfig {}", path.display()))?;
    let (cluster, user, namespace) = current(&file).with_context(|| format!("kubeconfig {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let address =
        cluster.server.clone().with_context(|| format!("kubeconfig {}: the cluster has no server", path.display()))?;
    let tls = tls(&cluster, &user, folder).with_context(|| format!("kubeconfig {}", path.display()))?;
    let endpoint = Endpoint::from_shared(address.clone()).with_context(|| format!("server address {address}"))?;
    let endpoint = endpoint.tls_config(tls).context("TLS")?.connect_timeout(CONNECT_MAX);
    let channel =
        endpoint.connect().await.with_context(|| format!("connect to the API server at {address}; is the node up?"))?;
    Ok(Server { channel, namespace: args.namespace.clone().or(namespace).unwrap_or_else(|| "default".to_owned()) })
}

fn current(file: &Kubeconfig) -> anyhow::Result<(Cluster, AuthInfo, Option<String>)> {
    let name = file.current_context.as_deref().context("no current-context")?;
    let context = file.contexts.iter().find(|context| context.name == name).and_then(|context| context.context.clone());
    let context = context.with_context(|| format!("no context {name}"))?;
    let cluster =
        file.clusters.iter().find(|cluster| cluster.name == context.cluster).and_then(|named| named.cluster.clone());
    let user = context.user.clone().unwrap_or_default();
    let auth = file.auth_infos.iter().find(|auth| auth.name == user).and_then(|named| named.auth_info.clone());
    let cluster = cluster.with_context(|| format!("no cluster {}", context.cluster))?;
    Ok((cluster, auth.with_context(|| format!("no user {user}"))?, context.namespace))
}

fn tls(cluster: &Cluster, user: &AuthInfo, folder: &Path) -> anyhow::Result<ClientTlsConfig> {
    let ca = pem(
        "certificate-authority",
        cluster.certificate_authority_data.as_deref(),
        cluster.certificate_authority.as_deref(),
        folder,
    )?;
    let certificate =
        pem("client-certificate", user.client_certificate_data.as_deref(), user.client_certificate.as_deref(), folder)?;
    let key = pem(
        "client-key",
        user.client_key_data.as_ref().map(|key| key.expose_secret()),
        user.client_key.as_deref(),
        folder,
    )?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).identity(Identity::from_pem(certificate, key)))
}

/// A PEM text that stands in the kubeconfig in base64, or in a file that it names.
fn pem(what: &str, data: Option<&str>, file: Option<&str>, folder: &Path) -> anyhow::Result<Vec<u8>> {
    match (data, file) {
        (Some(data), _) => STANDARD.decode(data.trim()).with_context(|| format!("{what}-data is not base64")),
        (None, Some(file)) => {
            let path = folder.join(file);
            std::fs::read(&path).with_context(|| format!("{what} {}", path.display()))
        }
        (None, None) => bail!("no {what}"),
    }
}
