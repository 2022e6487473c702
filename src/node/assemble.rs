//! One function per component, in the order in which they need each other.
//!
//! ```text
//!  store ─► API server ─► scheduler, controllers, proxy
//!                    └──► kubelet ─► CRI service ─► images, pod networks, skiff-oci
//! ```

use super::clients::Clients;
use super::{BRIDGE, INTERFACE_PREFIX, NET_TABLE, NODE_PORTS, PROXY_TABLE, Published, engine};
use crate::embedded::Programs;
use crate::folders::Folders;
use anyhow::{Context, anyhow, bail};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::runtime::watcher;
use kube::{Api, Client};
use skiff_apiserver::{ApiServer, Pki};
use skiff_cri::{Cri, CriConfig};
use skiff_image::{Builtin, ImageStore};
use skiff_kubelet::{Kubelet, KubeletConfig, KubeletTls};
use skiff_net::{CniConfig, NetConfig, PodNetworks};
use skiff_proxy::ProxyConfig;
use skiff_store::backend::Backend;
use skiff_store::etcd::{Listen, Remote, ServeOptions};
use skiff_store::{Options, Store};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long the components get to end. Pods go on without them, so nothing is lost after it.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// Watchers that lost their place resume from history; kube-apiserver keeps five minutes of it in etcd.
const HISTORY_KEPT: Duration = Duration::from_secs(300);

/// What a node is made of.
pub(crate) struct NodeConfig {
    pub(crate) folders: Folders,
    /// Sockets of the API: the first is the one that the kubeconfig names.
    pub(crate) api: Vec<TcpListener>,
    pub(crate) published: Vec<Published>,
    pub(crate) node_name: String,
    pub(crate) node_ip: IpAddr,
    pub(crate) kubelet_port: u16,
    pub(crate) cgroup_root: String,
    pub(crate) pod_cidr: String,
    pub(crate) service_cidr: String,
    pub(crate) etcd_listen: Vec<String>,
    pub(crate) etcd_servers: Vec<String>,
    pub(crate) oci_runtime: Option<PathBuf>,
}

/// A running node.
pub(crate) struct Node {
    /// A client with every right.
    pub(crate) client: Client,
    pub(crate) name: String,
    tasks: JoinSet<anyhow::Result<&'static str>>,
    shutdown: CancellationToken,
    store: Option<Store>,
}

impl Node {
    /// Starts every component; returns when the node is registered.
    pub(crate) async fn start(config: NodeConfig) -> anyhow::Result<Self> {
        let programs = Programs::install(&config.folders.bin())?;
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        // The CRI service and the API server need nothing of each other, and both read their folders first.
        let cri = tokio::spawn(bind_cri(cri_config(&config, &programs)?));
        let (backend, store) = open_store(&config).await?;
        if let Some(store) = &store {
            serve_etcd(&mut tasks, store, &config.etcd_listen, &shutdown)?;
        }
        let pki = open_pki(&config)?;
        let server = start_api(&mut tasks, &config, backend, pki.clone(), &shutdown).await?;
        let clients = Clients::new(server.router());
        let cri = cri.await.context("start the CRI service")??;
        spawn(&mut tasks, "cri", &shutdown, |token| async move { Ok(cri.run(token).await?) });
        start_kubelet(&mut tasks, &config, &pki, &clients, &shutdown).await?;
        start_control_loops(&mut tasks, &config, &clients, &shutdown)?;
        for published in config.published {
            let address = config.node_ip;
            spawn(&mut tasks, "published port", &shutdown, move |token| published.run(address, token));
        }
        Ok(Self { client: clients.component("admin"), name: config.node_name, tasks, shutdown, store })
    }

    /// Waits until the node's condition Ready is True.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let nodes: Api<NodeObject> = Api::all(self.client.clone());
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut changes = std::pin::pin!(watcher(nodes, only));
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => return Err(ended_early(ended)),
                change = changes.try_next() => match change {
                    Ok(Some(watcher::Event::Apply(node) | watcher::Event::InitApply(node))) if is_ready(&node) => return Ok(()),
                    Ok(Some(_)) => {}
                    Ok(None) => bail!("the watch on the node ended"),
                    Err(error) => return Err(error).context("watch the node"),
                },
            }
        }
    }

    /// Runs until `stop` resolves, or until a component fails.
    pub(crate) async fn run(&mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::select! {
            () = stop => Ok(()),
            ended = self.tasks.join_next() => Err(ended_early(ended)),
        }
    }

    /// Ends the components; pods go on.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok(Err(error)) = ended {
                    tracing::warn!(error = format!("{error:#}"), "component ended");
                }
            }
        };
        if tokio::time::timeout(SHUTDOWN_MAX, all).await.is_err() {
            tracing::warn!("some components did not end within {} s", SHUTDOWN_MAX.as_secs());
            self.tasks.abort_all();
        }
        if let Some(store) = self.store {
            store.close().await;
        }
        Ok(())
    }
}

fn is_ready(node: &NodeObject) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

type Ended = Option<Result<anyhow::Result<&'static str>, tokio::task::JoinError>>;

fn ended_early(ended: Ended) -> anyhow::Error {
    match ended {
        Some(Ok(Ok(name))) => anyhow!("component {name} ended by itself"),
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => anyhow!(error).context("a component panicked"),
        None => anyhow!("no component runs"),
    }
}

fn spawn<F>(
    tasks: &mut JoinSet<anyhow::Result<&'static str>>,
    name: &'static str,
    shutdown: &CancellationToken,
    component: impl FnOnce(CancellationToken) -> F,
) where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let running = component(shutdown.clone());
    tasks.spawn(async move { running.await.context(name).map(|()| name) });
}

/// The store that the configuration asks for; the second part is the embedded one, if it is that.
async fn open_store(config: &NodeConfig) -> anyhow::Result<(Arc<dyn Backend>, Option<Store>)> {
    if !config.etcd_servers.is_empty() {
        let backend = Remote::connect(&config.etcd_servers, None).await;
        return Ok((backend.with_context(|| format!("connect to etcd at {}", config.etcd_servers.join(",")))?, None));
    }
    let folder = config.folders.store();
    let opened = tokio::task::spawn_blocking(move || {
        Store::open(&folder, Options { history_kept: Some(HISTORY_KEPT), ..Options::default() })
    })
    .await;
    let store = opened.context("open the store")?.context("open the store")?;
    Ok((store.backend(), Some(store)))
}

fn serve_etcd(
    tasks: &mut JoinSet<anyhow::Result<&'static str>>,
    store: &Store,
    urls: &[String],
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    if urls.is_empty() {
        return Ok(());
    }
    let listen = urls.iter().map(|url| url.parse::<Listen>()).collect::<Result<_, _>>().context("--etcd-listen")?;
    let (store, options) = (store.clone(), ServeOptions { listen, tls: None });
    spawn(tasks, "store", shutdown, |token| async move { Ok(skiff_store::etcd::serve(store, options, token).await?) });
    Ok(())
}

fn open_pki(config: &NodeConfig) -> anyhow::Result<Pki> {
    let first_service = first_address(&config.service_cidr)?;
    let mut names: Vec<String> =
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).into();
    names.push("kubernetes.default.svc.cluster.local".to_owned());
    names.push(config.node_name.clone());
    names.extend([Ipv4Addr::LOCALHOST.to_string(), config.node_ip.to_string(), first_service.to_string()]);
    names.extend(config.api.iter().filter_map(|listener| Some(listener.local_addr().ok()?.ip().to_string())));
    Pki::open_or_create(&config.folders.pki(), &names).context("keys of the cluster")
}

/// The first usable address of an IPv4 range: the `kubernetes` service's.
fn first_address(cidr: &str) -> anyhow::Result<Ipv4Addr> {
    let base = cidr.split_once('/').and_then(|(base, _)| base.parse::<Ipv4Addr>().ok());
    let base = base.with_context(|| format!("service range {cidr}: want an IPv4 range such as 10.96.0.0/16"))?;
    Ok(Ipv4Addr::from(u32::from(base).saturating_add(1)))
}

async fn start_api(
    tasks: &mut JoinSet<anyhow::Result<&'static str>>,
    config: &NodeConfig,
    backend: Arc<dyn Backend>,
    pki: Pki,
    shutdown: &CancellationToken,
) -> anyhow::Result<Arc<ApiServer>> {
    let addresses = config.api.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
    let addresses = addresses.context("address of the API")?;
    let public = *addresses.first().context("the API needs an address")?;
    // Pods reach the API at an address of the node, not at the host's loopback.
    let advertise = *addresses.last().unwrap_or(&public);
    pki.write_kubeconfig(&config.folders.kubeconfig(), &format!("https://{public}")).context("write the kubeconfig")?;
    let server = skiff_apiserver::Config {
        backend,
        service_cidr: config.service_cidr.clone(),
        node_port_range: NODE_PORTS,
        pki,
        advertise,
        engine: engine("apiserver")?,
    };
    let server = Arc::new(ApiServer::new(server).await.context("start the API server")?);
    for listener in &config.api {
        let listener = listener.try_clone().context("socket of the API")?;
        let server = server.clone();
        spawn(tasks, "apiserver", shutdown, |token| async move { Ok(server.serve(listener, token).await?) });
    }
    Ok(server)
}

fn cri_config(config: &NodeConfig, programs: &Programs) -> anyhow::Result<CriConfig> {
    let builtin = Builtin { web: Some(programs.web.clone()) };
    let images =
        ImageStore::open(&config.folders.images(), builtin, engine("image")?).context("open the image store")?;
    Ok(CriConfig {
        listen: config.folders.cri_socket(),
        state_dir: config.folders.run.clone(),
        root_dir: config.folders.data.clone(),
        oci_runtime: config.oci_runtime.clone().unwrap_or_else(|| programs.oci.clone()),
        supervisor: programs.oci.clone(),
        images,
        networks: PodNetworks::new(net_config(&config.folders, &config.pod_cidr, &config.service_cidr)?)?,
        cgroup_root: config.cgroup_root.clone(),
        stream_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        engine: engine("cri")?,
    })
}

/// How pods of a node with these folders are connected.
pub(crate) fn net_config(folders: &Folders, pod_cidr: &str, service_cidr: &str) -> anyhow::Result<NetConfig> {
    Ok(NetConfig {
        state_dir: folders.network_state(),
        pod_cidr: pod_cidr.to_owned(),
        service_cidr: Some(service_cidr.to_owned()),
        bridge: BRIDGE.to_owned(),
        interface_prefix: INTERFACE_PREFIX.to_owned(),
        cni: Some(CniConfig {
            conf_dir: folders.data.join("cni/net.d"),
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
        }),
        masquerade: true,
        table: NET_TABLE.to_owned(),
        engine: engine("net")?,
    })
}

async fn bind_cri(config: CriConfig) -> anyhow::Result<Cri> {
    Cri::bind(config).await.context("start the CRI service")
}

async fn start_kubelet(
    tasks: &mut JoinSet<anyhow::Result<&'static str>>,
    config: &NodeConfig,
    pki: &Pki,
    clients: &Clients,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let serving = pki.kubelet_serving();
    let kubelet = KubeletConfig {
        node_name: config.node_name.clone(),
        client: clients.node(&config.node_name),
        container_runtime_endpoint: format!("unix://{}", config.folders.cri_socket().display()),
        root_dir: config.folders.pods(),
        cgroup_root: config.cgroup_root.clone(),
        node_ip: config.node_ip,
        pod_cidr: config.pod_cidr.clone(),
        listen: SocketAddr::new(config.node_ip, config.kubelet_port),
        tls: KubeletTls {
            certificate: serving.certificate.clone(),
            private_key: serving.private_key.clone(),
            client_ca: pki.authority_certificate().to_owned(),
        },
        cluster_dns: Vec::new(),
        cluster_domain: "cluster.local".to_owned(),
        max_pods: 110,
        engine: engine("kubelet")?,
    };
    let kubelet = Kubelet::start(kubelet).await.context("start the kubelet")?;
    spawn(tasks, "kubelet", shutdown, |token| async move { Ok(kubelet.run(token).await?) });
    Ok(())
}

fn start_control_loops(
    tasks: &mut JoinSet<anyhow::Result<&'static str>>,
    config: &NodeConfig,
    clients: &Clients,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let (client, steps) = (clients.component("kube-scheduler"), engine("scheduler")?);
    spawn(tasks, "scheduler", shutdown, |token| async move {
        skiff_scheduler::run(client, steps, token).await;
        Ok(())
    });
    let client = clients.component("kube-controller-manager");
    spawn(tasks, "controllers", shutdown, |token| async move { Ok(skiff_controllers::run(client, token).await?) });
    let proxy = ProxyConfig {
        node_name: config.node_name.clone(),
        client: clients.component("kube-proxy"),
        table: PROXY_TABLE.to_owned(),
        pod_cidr: config.pod_cidr.clone(),
        engine: engine("proxy")?,
    };
    spawn(tasks, "proxy", shutdown, |token| async move { Ok(skiff_proxy::run(proxy, token).await?) });
    Ok(())
}
