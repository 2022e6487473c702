//! A registry, assembled: files that its configuration names, who is believed, sockets.

use super::components::Components;
use super::store::read_text;
use crate::cli::UpRegistryArgs;
use crate::folders::Folders;
use anyhow::{Context, anyhow};
use kube::Client;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use skiff_apiserver::pki::signing_key;
use skiff_image::{AuthFile, Credentials, Registries};
use skiff_registry::access::Caller;
use skiff_registry::config::{Authentication, Config};
use skiff_registry::htpasswd::Htpasswd;
use skiff_registry::{
    Cluster, Listeners, Login, Pace, Registry, Remembered, Replication, Replicator, Review, Store, Terms, Tokens,
    Upstream, Upstreams, keep, keep_scanned, replicate, serve,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A registry beside a node: its sockets are opened where each has to be.
pub(crate) struct UpRegistry {
    config: Config,
    listeners: Vec<std::net::TcpListener>,
}

impl UpRegistry {
    /// Opens the host's socket, before the node is in a box.
    pub(crate) fn open(args: &UpRegistryArgs) -> anyhow::Result<Option<Self>> {
        let Some(address) = args.registry else { return Ok(None) };
        let config = read_registry_config(args.registry_config.as_deref()).context("--registry-config")?;
        let listener = std::net::TcpListener::bind(address);
        let listener =
            listener.with_context(|| format!("listen on {address} for images (another: --registry ADDR:PORT)"))?;
        Ok(Some(Self { config, listeners: vec![listener] }))
    }

    /// Opens the same address within the box, where the node pulls from.
    pub(crate) fn open_within(&mut self) -> anyhow::Result<()> {
        let address = self.listeners[0].local_addr().context("address of the registry")?;
        let within = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port());
        let listener = std::net::TcpListener::bind(within);
        self.listeners.push(listener.with_context(|| format!("listen on {within} in the box"))?);
        Ok(())
    }
}

/// Serves images beside a node.
pub(super) fn start_registry(
    components: &mut Components,
    asked: Option<UpRegistry>,
    folders: &Folders,
    client: Client,
) -> anyhow::Result<()> {
    let Some(UpRegistry { config, listeners }) = asked else { return Ok(()) };
    let config = Arc::new(config);
    let registry = open_registry(&folders.registry(), &config, Some(client))?;
    let mut sockets = Vec::new();
    for listener in listeners {
        listener.set_nonblocking(true).context("registry")?;
        sockets.push((TcpListener::from_std(listener).context("registry")?, None));
    }
    components.spawn("registry", |token| run_registry(registry, config, sockets, token));
    Ok(())
}

/// Reads a configuration; none is the empty one.
pub(crate) fn read_registry_config(path: Option<&Path>) -> anyhow::Result<Config> {
    let Some(path) = path else { return Ok(Config::default()) };
    let text = read_text(path)?;
    let config: Config = serde_norway::from_str(&text).with_context(|| path.display().to_string())?;
    config.check().map_err(|problem| anyhow!("{}: {problem}", path.display()))?;
    Ok(config)
}

/// Opens the registry of a folder.
pub(crate) fn open_registry(
    folder: &Path,
    config: &Arc<Config>,
    cluster: Option<Client>,
) -> anyhow::Result<Arc<Registry>> {
    let store = Store::open(folder, super::engine("registry")?);
    let store = store.with_context(|| format!("open the registry in {}", folder.display()))?;
    let login = config.authentication.as_ref().map(|asked| login(asked, folder, cluster.map(review)));
    let terms = Terms {
        config: config.clone(),
        login: login.transpose()?.map(Arc::new),
        pace: Pace::default(),
        listeners: Listeners::new(config.audit.as_deref(), config.webhooks.clone())?,
        upstreams: upstreams(config, folder)?,
    };
    Ok(Arc::new(Registry::new(store, terms)))
}

/// Serves on all of `listeners`, and keeps the folder clean, until `stop`.
pub(crate) async fn run_registry(
    registry: Arc<Registry>,
    config: Arc<Config>,
    listeners: Vec<(TcpListener, Option<TlsAcceptor>)>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let replicators = replicators(&config, registry.store().folder())?;
    let scanning = tokio::spawn(keep_scanned(registry.clone(), stop.clone()));
    let replicating: Vec<_> =
        replicators.into_iter().map(|one| tokio::spawn(replicate(registry.clone(), one, stop.clone()))).collect();
    let keeping = tokio::spawn(keep(registry.store().clone(), config, stop.clone()));
    let serving = listeners.into_iter().map(|(listener, tls)| serve(listener, tls, registry.clone(), stop.clone()));
    futures::future::try_join_all(serving).await.context("serve images")?;
    scanning.await.context("scan")?;
    futures::future::try_join_all(replicating).await.context("replicate")?;
    keeping.await.context("housekeeping")
}

fn login(asked: &Authentication, folder: &Path, review: Option<Review>) -> anyhow::Result<Login> {
    let passwords = match &asked.htpasswd {
        None => Htpasswd::default(),
        Some(path) => Htpasswd::parse(&read_text(path)?).map_err(|problem| anyhow!("{}: {problem}", path.display()))?,
    };
    let mut clusters = Vec::new();
    for one in &asked.service_accounts {
        let keys: Value =
            serde_json::from_str(&read_text(&one.keys)?).with_context(|| one.keys.display().to_string())?;
        let cluster = Cluster::new(&one.issuer, &one.audience, &keys);
        clusters.push(cluster.map_err(|problem| anyhow!("{}: {problem}", one.keys.display()))?);
    }
    Ok(Login {
        passwords,
        tokens: tokens(folder)?,
        clusters,
        review,
        realm: asked.realm.clone(),
        service: asked.service.clone(),
        remembered: Remembered::new().map_err(anyhow::Error::msg)?,
    })
}

/// Who is asked for what is not here; hosts files are the node's.
fn upstreams(config: &Config, folder: &Path) -> anyhow::Result<Option<Upstreams>> {
    let one = |upstream: &Upstream| {
        Ok((upstream.clone(), credentials(upstream.username.as_deref(), upstream.password_file.as_deref())?))
    };
    let all: Vec<_> = config.upstreams.iter().map(one).collect::<anyhow::Result<_>>()?;
    Ok((!all.is_empty()).then(|| Upstreams::new(all, registries(folder))))
}

/// Where other registries are, as the node's hosts files say.
fn registries(folder: &Path) -> Registries {
    Registries::new(folder.parent().map(|data| data.join("certs.d")), AuthFile::default())
}

/// A user, with the password that a file holds.
fn credentials(user: Option<&str>, password_file: Option<&Path>) -> anyhow::Result<Option<Credentials>> {
    let password = password_file.map(read_text).transpose()?;
    Ok(user.zip(password).map(|(user, password)| Credentials::Password {
        user: user.to_owned(),
        password: password.trim_end_matches(['\r', '\n']).to_owned(),
    }))
}

/// The rules of replication, with whom to go where.
fn replicators(config: &Config, folder: &Path) -> anyhow::Result<Vec<Replicator>> {
    let registries = registries(folder);
    let one = |rule: &Replication| {
        let credentials = credentials(rule.username.as_deref(), rule.password_file.as_deref())?;
        Ok(Replicator::new(rule.clone(), credentials, registries.clone()))
    };
    config.replication.iter().map(one).collect()
}

/// The key that signs tokens; it is made if there is none, and tokens hold on after a restart.
fn tokens(folder: &Path) -> anyhow::Result<Tokens> {
    let path = folder.join("token.key");
    Tokens::from_pem(&signing_key(&path)?).map_err(|problem| anyhow!("{}: {problem}", path.display()))
}

/// Asks a cluster whose token it is.
fn review(client: Client) -> Review {
    Arc::new(move |token| {
        let client = client.clone();
        Box::pin(async move {
            match reviewed(&client, &token).await {
                Ok(caller) => caller,
                Err(error) => {
                    tracing::warn!(error = crate::exit::sentence(&error), "ask the cluster whose token it is");
                    None
                }
            }
        })
    })
}

async fn reviewed(client: &Client, token: &str) -> anyhow::Result<Option<Caller>> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let request = http::Request::post("/apis/authentication.k8s.io/v1/tokenreviews")
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&review)?)?;
    let answer: Value = client.request(request).await?;
    let status = &answer["status"];
    if status["authenticated"] != true {
        return Ok(None);
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let groups = status["user"]["groups"].as_array().into_iter().flatten().filter_map(text).collect();
    Ok(Some(Caller { user: text(&status["user"]["username"]), groups, scopes: None }))
}

/// What encrypts connections.
pub(crate) fn tls_acceptor(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.with_context(|| format!("read the certificate {}", certificate.display()))?;
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| format!("read the key {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| format!("use {} with {}", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
