//! One function per component, in the order in which they need each other.
//!
//! ```text
//!  store ─► API server ─► scheduler, controllers, proxy
//!                    └──► kubelet ─► CRI service ─► images, pod networks, skiff-oci
//! ```

use super::clients::Clients;
use super::components::Components;
use super::dns::{Place, lead_to_members, start_dns};
use super::ingress::{UpIngress, start_ingress};
use super::kubelet::start_kubelet;
use super::memory;
use super::registry::start_registry;
use super::routes::start_routes;
use super::watching::await_node;
use super::{
    NODE_PORTS, Names, NodeSettings, OpenStore, POLICY_TABLE, PROXY_TABLE, Published, Site, UpRegistry, engine,
    hand_over, kubelet_tls, open_backend, present_kubelet,
};
use crate::cli::{EtcdArgs, RangeArgs, standing};
use crate::embedded::Programs;
use anyhow::{Context, anyhow};
use kube::Client;
use skiff_apiserver::{AdmissionFile, AdmissionPlugins, ApiServer, Audit, Authentication, Encryption, Pki, encrypted};
use skiff_authn::certificate::Authority;
use skiff_authn::key::SigningKey;
use skiff_client::{Caches, Identity, Presented, lead_if};
use skiff_controllers::{
    Actor, BalancerRange, ControllerError, NodeRanges, Options, Provisioner, Signer, Trust, allocate_node_ranges,
    balance_services,
};
use skiff_cri::{Cri, CriConfig};
use skiff_kubelet::PodCidr;
use skiff_net::NetError;
use skiff_netpol::{Gate, NetpolConfig, enforcer};
use skiff_proxy::ProxyConfig;
use skiff_store::Store;
use skiff_store::backend::Backend;
use skiff_store::etcd::{Listen, ServeOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long certificates last that are signed on request (kube-controller-manager: a year).
const CERTIFICATE_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// The class of claims that name none.
const STORAGE_CLASS: &str = "local";

/// What a node is made of.
pub(crate) struct NodeConfig {
    pub(crate) site: Site,
    /// Who is making the rules of the pods' network; they are there before the kubelet is.
    pub(crate) network: Option<JoinHandle<Result<(), NetError>>>,
    pub(crate) names: Names,
    /// Whether network policies are enforced.
    pub(crate) policies: bool,
    /// Whether claims get volumes of this machine.
    pub(crate) storage: bool,
    /// Sockets of the API: the first is the one that the kubeconfig names.
    pub(crate) api: Vec<TcpListener>,
    /// Where pods reach it.
    pub(crate) advertise: SocketAddr,
    pub(crate) published: Vec<Published>,
    pub(crate) settings: NodeSettings,
    pub(crate) node_ip: IpAddr,
    pub(crate) etcd_listen: Vec<String>,
    pub(crate) etcd: EtcdArgs,
    /// Whom the API server believes.
    pub(crate) authentication: Authentication,
    /// Who encrypts what is stored; `None`: nobody.
    pub(crate) encryption: Option<Encryption>,
    /// What is recorded; `None`: nothing.
    pub(crate) audit: Option<Audit>,
    /// How ingresses are served; `None`: somebody else does it.
    pub(crate) ingress: Option<UpIngress>,
    /// A registry beside it.
    pub(crate) registry: Option<UpRegistry>,
    /// Whether scheduler and controllers work only while they lead.
    pub(crate) leader_elect: bool,
    /// Addresses for load balancers, if there are any.
    pub(crate) balancers: Option<BalancerRange>,
    /// Whether services may name addresses of their own choice.
    pub(crate) external_ips: bool,
}

/// A running node.
pub(crate) struct Node {
    /// A client with every right.
    pub(crate) client: Client,
    pub(crate) name: String,
    /// The cluster's authority, PEM.
    pub(crate) authority: String,
    components: Components,
    store: Option<Store>,
}

impl Node {
    /// Starts every component; returns when the node is registered.
    pub(crate) async fn start(mut config: NodeConfig) -> anyhow::Result<Self> {
        let programs = Programs::install(&config.site.folders.bin())?.shown_at(&config.site.folders.programs());
        let mut components = Components::default();
        // The CRI service and the API server need nothing of each other, and both read their folders first.
        let (runtime, cdi) = (config.settings.oci_runtime.as_deref(), &config.settings.cdi_spec_dirs);
        let cri = tokio::spawn(bind_cri(config.site.cri(config.site.folders.cri_socket(), &programs, runtime, cdi)?));
        let (backend, store) = start_store(&mut components, &config).await?;
        let pki = open_pki(&config)?;
        let (server, url) = start_api(&mut components, &config, backend, pki.clone()).await?;
        let clients = Clients::new(server.router());
        let cri = cri.await.context("start the CRI service")??;
        components.spawn("cri", |token| async move { Ok(cri.run(token).await?) });
        // What the scheduler, the proxy, the DNS server and whoever enforces policies read the controllers read too, and Kubernetes'
        // roles allow it to all of them: they share one identity's caches. Each writes as itself. The kubelet may see its own
        // node's pods only, and has caches of its own.
        let shared = Caches::new(clients.of(Identity::controller_manager()));
        let gate = start_policies(&mut components, (&config.settings.name, config.policies), shared.clone())?;
        await_network(&mut config).await?;
        let shown = start_own_kubelet(&mut components, &config, &pki, &clients, gate).await?;
        start_control_loops(&mut components, &config, &pki, &clients, shared.clone())?;
        if config.storage {
            start_storage(&mut components, &config, &clients, shared.clone())?;
        }
        start_between_nodes(&mut components, &config, &clients, &shared);
        let ingress = config.ingress.take();
        start_ingress(&mut components, ingress, config.node_ip, clients.administrator(), shared.clone());
        let ranges = [&config.site.ranges.service_cidr, config.site.ranges.of_all_pods()].map(Clone::clone);
        let place = Place {
            names: &config.names,
            node_name: &config.settings.name,
            ranges: ranges.into(),
            client: clients.administrator(),
            caches: shared,
        };
        start_dns(&mut components, place).await?;
        let authority = pki.authority_certificate().to_owned();
        start_registry(&mut components, config.registry, &config.site.folders, clients.administrator())?;
        keep_certificates(&mut components, pki, (server, url), shown, config.site.folders.kubeconfig());
        components.spawn("memory", memory::keep);
        start_published(&mut components, config.published, config.node_ip);
        Ok(Self { client: clients.administrator(), name: config.settings.name, authority, components, store })
    }

    /// Waits until the node's condition Ready is True.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let client = self.client.clone();
        tokio::select! {
            error = self.components.ended_early() => Err(error),
            ready = await_node(&client, &self.name) => ready,
        }
    }

    /// Runs until `stop` resolves, or until a component fails.
    pub(crate) async fn run(&mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::select! {
            () = stop => Ok(()),
            error = self.components.ended_early() => Err(error),
        }
    }

    /// Ends the components; pods go on.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.components.stop().await;
        if let Some(store) = self.store {
            store.close().await;
        }
        Ok(())
    }
}

fn serve_etcd(components: &mut Components, store: &Store, urls: &[String]) -> anyhow::Result<()> {
    if urls.is_empty() {
        return Ok(());
    }
    let listen: Vec<Listen> = urls.iter().map(|url| url.parse()).collect::<Result<_, _>>().context("--etcd-listen")?;
    let (store, options) = (store.clone(), ServeOptions::at(listen));
    components.spawn("store", |token| async move { Ok(skiff_store::etcd::serve(store, options, token).await?) });
    Ok(())
}

fn open_pki(config: &NodeConfig) -> anyhow::Result<Pki> {
    let first_service = first_address(&config.site.ranges.service_cidr)?;
    let mut names: Vec<String> =
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).into();
    names.push(format!("kubernetes.default.svc.{}", config.names.domain));
    names.push(config.settings.name.clone());
    names.extend([Ipv4Addr::LOCALHOST.to_string(), config.node_ip.to_string(), first_service.to_string()]);
    names.push(config.advertise.ip().to_string());
    names.extend(config.api.iter().filter_map(|listener| Some(listener.local_addr().ok()?.ip().to_string())));
    Pki::open_or_create(&config.site.folders.pki(), &names).context("keys of the cluster")
}

/// Certificates are issued again before they end; whoever shows or reads them gets them.
fn keep_certificates(
    components: &mut Components,
    pki: Pki,
    (server, url): (Arc<ApiServer>, String),
    kubelet: Arc<Presented>,
    kubeconfig: PathBuf,
) {
    components.spawn("certificates", |token| async move {
        let renewed = move |next: &Pki| {
            hand_over(&server, next, &kubeconfig, &url);
            present_kubelet(&kubelet, next);
        };
        pki.keep(token, renewed).await;
        Ok(())
    });
}

/// The first usable address of an IPv4 range: the `kubernetes` service's.
fn first_address(cidr: &str) -> anyhow::Result<Ipv4Addr> {
    let base = cidr.split_once('/').and_then(|(base, _)| base.parse::<Ipv4Addr>().ok());
    let base = base.with_context(|| format!("service range {cidr}: want an IPv4 range such as 10.96.0.0/16"))?;
    Ok(Ipv4Addr::from(u32::from(base).saturating_add(1)))
}

async fn start_api(
    components: &mut Components,
    config: &NodeConfig,
    backend: Arc<dyn Backend>,
    pki: Pki,
) -> anyhow::Result<(Arc<ApiServer>, String)> {
    let mut public =
        config.api.first().context("the API needs an address")?.local_addr().context("address of the API")?;
    if public.ip().is_unspecified() {
        public.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let url = format!("https://{public}");
    pki.write_kubeconfig(&config.site.folders.kubeconfig(), &url).context("write the kubeconfig")?;
    let server = skiff_apiserver::Config {
        backend,
        service_cidr: config.site.ranges.service_cidr.clone(),
        node_port_range: NODE_PORTS,
        pki,
        advertise: config.advertise,
        // There are no bootstrap tokens unless an administrator makes them.
        authentication: Authentication { bootstrap_tokens: true, ..config.authentication.clone() },
        engine: engine("apiserver")?,
    };
    let server = ApiServer::new(server).await.context("start the API server")?;
    let server = server.with_metrics().await.context("start the API server")?;
    let server = match config.external_ips {
        true => server,
        // CVE-2020-8554: whoever may write a service could take the traffic for any address.
        false => {
            let plugins = AdmissionPlugins { enabled: vec!["DenyServiceExternalIPs".to_owned()], disabled: Vec::new() };
            let denying = server.with_admission(&AdmissionFile::default(), &plugins).await;
            denying.context("start the API server")?
        }
    };
    let server = Arc::new(match &config.audit {
        Some(audit) => server.audited(audit).await?,
        None => server,
    });
    for listener in &config.api {
        let listener = listener.try_clone().context("socket of the API")?;
        let server = server.clone();
        components.spawn("apiserver", |token| async move { Ok(server.serve(listener, token).await?) });
    }
    Ok((server, url))
}

fn start_published(components: &mut Components, all: Vec<Published>, address: IpAddr) {
    for published in all {
        components.spawn("published port", move |token| published.run(address, token));
    }
}

/// Opens what objects are kept in, and serves and tends it.
async fn start_store(
    components: &mut Components,
    config: &NodeConfig,
) -> anyhow::Result<(Arc<dyn Backend>, Option<Store>)> {
    let OpenStore { backend, embedded: store, compaction } = open_backend(&config.site.folders, &config.etcd).await?;
    if let Some(store) = &store {
        serve_etcd(components, store, &config.etcd_listen)?;
    }
    if let Some((compactor, every)) = compaction {
        components.spawn("compaction of etcd", |token| async move {
            compactor.run(every, token).await;
            Ok(())
        });
    }
    let backend = match config.encryption.clone() {
        Some(encryption) => encrypted(backend, encryption, components.stopping()).await,
        None => backend,
    };
    Ok((backend, store))
}

/// The network of pods is made beside what starts before it is needed.
async fn await_network(config: &mut NodeConfig) -> anyhow::Result<()> {
    let Some(network) = config.network.take() else { return Ok(()) };
    let made = tokio::task::spawn_blocking(|| network.join()).await?;
    made.map_err(|_panic| anyhow!("making the network of pods was cut off"))?.context("prepare the network of pods")
}

pub(super) async fn bind_cri(config: CriConfig) -> anyhow::Result<Cri> {
    Cri::bind(config).await.context("start the CRI service")
}

/// What pods wait for before their first packet, if policies are enforced here.
pub(super) fn start_policies(
    components: &mut Components,
    (node_name, are_enforced): (&str, bool),
    caches: Caches,
) -> anyhow::Result<Option<Gate>> {
    if !are_enforced {
        skiff_netpol::remove(POLICY_TABLE).context("turn network policies off")?;
        return Ok(None);
    }
    let (gate, enforcer) = enforcer();
    let netpol = NetpolConfig {
        node_name: node_name.to_owned(),
        caches,
        table: POLICY_TABLE.to_owned(),
        engine: engine("netpol")?,
    };
    components.spawn("network policies", |token| async move { Ok(enforcer.run(netpol, token).await?) });
    Ok(Some(gate))
}

async fn start_own_kubelet(
    components: &mut Components,
    config: &NodeConfig,
    pki: &Pki,
    clients: &Clients,
    gate: Option<Gate>,
) -> anyhow::Result<Arc<Presented>> {
    let tls = kubelet_tls(pki)?;
    let shown = tls.serving.clone();
    let client = clients.of(Identity::node(&config.settings.name));
    let (node, range) = ((&config.settings, config.node_ip), PodCidr::Ours(config.site.ranges.pod_cidr.clone()));
    start_kubelet(components, node, &config.site, &config.names, (client, tls), range, gate).await?;
    Ok(shown)
}

/// What leads to other nodes, if there may be some.
fn start_between_nodes(components: &mut Components, config: &NodeConfig, clients: &Clients, shared: &Caches) {
    if config.site.ranges.cluster_cidr.is_some() {
        start_routes(components, &config.settings.name, shared);
        lead_to_members(components, &config.settings.name, config.names.server, clients.administrator(), shared);
    }
}

/// The driver of volumes of this machine, and who asks it for them.
fn start_storage(
    components: &mut Components,
    config: &NodeConfig,
    clients: &Clients,
    shared: Caches,
) -> anyhow::Result<()> {
    let driver = skiff_csi_local::Config {
        folder: config.site.folders.volumes(),
        registry: config.site.folders.plugins(),
        node: config.settings.name.clone(),
    };
    let provisioner = Provisioner {
        driver: skiff_csi_local::NAME.to_owned(),
        socket: driver.socket(),
        class: Some(STORAGE_CLASS.to_owned()),
    };
    let driver = skiff_csi_local::Driver::bind(&driver).context("start the driver of local volumes")?;
    components.spawn("local volumes", |token| async move { Ok(driver.run(token).await?) });
    let client = clients.of(Identity::controller_manager());
    components.spawn("provisioner", |token| async move {
        skiff_controllers::provision(client, shared, provisioner, token).await;
        Ok(())
    });
    Ok(())
}

fn start_control_loops(
    components: &mut Components,
    config: &NodeConfig,
    pki: &Pki,
    clients: &Clients,
    shared: Caches,
) -> anyhow::Result<()> {
    let stand = |name: &str| config.leader_elect.then(|| standing(name)).transpose();
    let (client, caches, steps) = (clients.of(Identity::scheduler()), shared.clone(), engine("scheduler")?);
    let election = stand("kube-scheduler")?;
    components.spawn("scheduler", |token| async move {
        let work = |token| {
            let config = skiff_scheduler::Config::default();
            skiff_scheduler::run(client.clone(), caches.clone(), steps.clone(), config, token)
        };
        lead_if(election.as_ref(), &client, &token, work).await;
        Ok(())
    });
    let client = clients.of(Identity::controller_manager());
    let caches = shared.clone();
    let signer = SigningKey::from_pem(pki.service_account_key()).context("sa.key")?;
    let authority = Authority::from_pem(&pki.authority().certificate, &pki.authority().private_key);
    let authority = authority.map_err(anyhow::Error::msg).context("ca.crt and ca.key")?;
    let trust = Trust {
        authority: Some(pki.authority_certificate().into()),
        signer: Some(Arc::new(signer)),
        certificates: Some(Signer::new(authority, CERTIFICATE_LIFE)),
    };
    let ranges = (node_ranges(&config.site.ranges)?, config.balancers.clone());
    let election = stand("kube-controller-manager")?;
    components.spawn("controllers", |token| async move {
        let work = |token| control(client.clone().into(), caches.clone(), trust.clone().into(), ranges.clone(), token);
        Ok(lead_if(election.as_ref(), &client, &token, work).await.unwrap_or(Ok(()))?)
    });
    let proxy = ProxyConfig {
        node_name: config.settings.name.clone(),
        client: clients.of(Identity::proxy()),
        caches: shared,
        table: PROXY_TABLE.to_owned(),
        pod_cidr: config.site.ranges.pod_cidr.clone(),
        engine: engine("proxy")?,
    };
    components.spawn("proxy", |token| async move { Ok(skiff_proxy::run(proxy, token).await?) });
    Ok(())
}

/// The ranges that other nodes get theirs of, each as large as this one's; `None`: there are no others.
fn node_ranges(ranges: &RangeArgs) -> anyhow::Result<Option<NodeRanges>> {
    let Some(all) = &ranges.cluster_cidr else { return Ok(None) };
    let bits = ranges.pod_cidr.split_once('/').and_then(|(_, bits)| bits.parse().ok()).unwrap_or_default();
    NodeRanges::parse(all, bits, 64).map(Some).map_err(anyhow::Error::msg).context("--cluster-cidr")
}

/// The controllers, with what gives nodes their ranges and services their load balancers' addresses, if there are any to give.
pub(crate) async fn control(
    actor: Actor,
    caches: Caches,
    options: Options,
    (ranges, balancers): (Option<NodeRanges>, Option<BalancerRange>),
    shutdown: CancellationToken,
) -> Result<(), ControllerError> {
    let all = || (actor.clone(), caches.clone(), shutdown.clone());
    let to_nodes = async {
        let (actor, caches, shutdown) = all();
        if let Some(ranges) = ranges {
            allocate_node_ranges(actor, caches, ranges, shutdown).await;
        }
    };
    let to_services = async {
        let (actor, caches, shutdown) = all();
        if let Some(range) = balancers {
            balance_services(actor, caches, range, shutdown).await;
        }
    };
    let controllers = skiff_controllers::run(actor.clone(), caches.clone(), options, shutdown.clone());
    tokio::join!(controllers, to_nodes, to_services).0
}
