//! A node of a cluster whose API server is elsewhere: the node's own components, with the rights of a node.
//!
//! ```text
//!  token ─► client certificate ─► node object ─► range of its pods ─► serving certificate ─► CRI service, kubelet, proxy,
//!                                                                                            network policies, DNS, routes
//! ```

use super::assemble::{bind_cri, start_policies};
use super::components::Components;
use super::dns::{Place, start_dns_of_member};
use super::kubelet::start_kubelet;
use super::routes::{pod_range, start_routes};
use super::watching::{await_node, await_what};
use super::{Names, NodeSettings, PROXY_TABLE, Site, engine, memory};
use crate::cli::{DnsArgs, Part, RangeArgs};
use crate::embedded::Programs;
use crate::folders::Folders;
use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use skiff_client::Caches;
use skiff_keys::{Keys, Places};
use skiff_kubelet::{KubeletTls, PodCidr};
use skiff_proxy::ProxyConfig;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long the control plane may take to give a node its range.
const RANGE_MAX: Duration = Duration::from_secs(60);

/// How long a node that starts sooner than its control plane, after a power cut say, waits for it.
const SERVER_MAX: Duration = Duration::from_secs(60);
/// How often it tries meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// What such a node is made of.
pub(crate) struct MemberConfig {
    pub(crate) folders: Folders,
    pub(crate) ranges: RangeArgs,
    /// The cgroup below which everything lives.
    pub(crate) cgroup_root: String,
    pub(crate) settings: NodeSettings,
    pub(crate) node_ip: IpAddr,
    pub(crate) dns: DnsArgs,
    /// A kubeconfig with a token, for a node that has no certificate yet.
    pub(crate) bootstrap: Option<PathBuf>,
}

/// Such a node, running.
pub(crate) struct Member {
    client: Client,
    pub(crate) name: String,
    components: Components,
}

impl Member {
    /// Joins, and starts every component; returns when the node is registered.
    pub(crate) async fn start(config: MemberConfig) -> anyhow::Result<Self> {
        let mut components = Components::default();
        let (folders, name) = (&config.folders, &config.settings.name);
        let kubeconfig = folders.node_kubeconfig();
        let keys = Keys::open(name, &kubeconfig, config.bootstrap.as_deref(), &folders.pki()).await;
        let mut keys = keys.context("join the cluster")?;
        let client = keys.client();
        announce(&client, name, config.node_ip).await?;
        let range = given_range(&client, name).await?;
        let places = Places { names: vec![name.clone()], ips: vec![config.node_ip] };
        let serving = keys.serving(places).await.context("serving certificate of the kubelet")?;
        let tls = KubeletTls { serving, client_ca: skiff_keys::authority(&kubeconfig)? };
        let ranges = RangeArgs { pod_cidr: range.clone(), ..config.ranges.clone() };
        let site = Site::new(folders.clone(), ranges, config.cgroup_root.clone());
        let bridge = site.networks()?.prepare().context("prepare the network of pods")?.map(IpAddr::V4);
        let names = Names::choose(&config.dns, &config.ranges.service_cidr, bridge.unwrap_or(config.node_ip))?;
        let programs = Programs::install(&folders.bin())?.shown_at(&folders.programs());
        let (runtime, cdi) = (config.settings.oci_runtime.as_deref(), &config.settings.cdi_spec_dirs);
        let cri = bind_cri(site.cri(folders.cri_socket(), &programs, runtime, cdi)?).await?;
        components.spawn("cri", |token| async move { Ok(cri.run(token).await?) });
        let caches = Caches::new(client.clone());
        let are_enforced = !config.dns.disable.contains(&Part::NetworkPolicy);
        let gate = start_policies(&mut components, (name, are_enforced), caches.clone())?;
        let (node, given) = ((&config.settings, config.node_ip), PodCidr::FromNode(Some(range.clone())));
        start_kubelet(&mut components, node, &site, &names, (client.clone(), tls), given, gate).await?;
        start_network(&mut components, &config, (&names, range), client.clone(), caches).await?;
        components.spawn("certificates", |token| async move {
            keys.keep(token).await;
            Ok(())
        });
        components.spawn("memory", memory::keep);
        Ok(Self { client, name: config.settings.name, components })
    }

    /// Waits until the node's condition Ready is True.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            error = self.components.ended_early() => Err(error),
            ready = await_node(&self.client, &self.name) => ready,
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
    pub(crate) async fn stop(self) {
        self.components.stop().await;
    }
}

/// Makes the node object before there is a kubelet: its range and its serving certificate depend on it, and no pod comes to a node that is
/// not ready.
pub(crate) async fn announce(client: &Client, name: &str, ip: IpAddr) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = Node {
        metadata: kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..Node::default()
    };
    let plainly = PostParams::default();
    match patiently(|| nodes.create(&plainly, &node)).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        created => drop(created.with_context(|| format!("register node {name}"))?),
    }
    let addresses = json!([{"type": "InternalIP", "address": ip.to_string()}, {"type": "Hostname", "address": name}]);
    let patch = Patch::Merge(json!({"status": {"addresses": addresses}}));
    let written = nodes.patch_status(name, &PatchParams::default(), &patch).await;
    written.map(drop).with_context(|| format!("write the addresses of node {name}"))
}

/// The first answer of the API server, once it can be reached.
async fn patiently<T, F>(ask: impl Fn() -> F) -> kube::Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    let until = Instant::now() + SERVER_MAX;
    loop {
        match ask().await {
            Err(kube::Error::Service(_) | kube::Error::HyperError(_)) if Instant::now() < until => {
                sleep(TRY_EVERY).await
            }
            answered => return answered,
        }
    }
}

/// The range that the control plane gives the node.
async fn given_range(client: &Client, name: &str) -> anyhow::Result<String> {
    match timeout(RANGE_MAX, await_what(client, name, pod_range)).await {
        Ok(range) => range,
        Err(_) => bail!(
            "node {name} was given no addresses for its pods within {} s: start the first node with --cluster-cidr, or the \
             controllers with --allocate-node-cidrs",
            RANGE_MAX.as_secs()
        ),
    }
}

async fn start_network(
    components: &mut Components,
    config: &MemberConfig,
    (names, range): (&Names, String),
    client: Client,
    caches: Caches,
) -> anyhow::Result<()> {
    start_routes(components, &config.settings.name, &caches);
    let proxy = ProxyConfig {
        node_name: config.settings.name.clone(),
        client: client.clone(),
        caches: caches.clone(),
        table: PROXY_TABLE.to_owned(),
        pod_cidr: range,
        engine: engine("proxy")?,
    };
    components.spawn("proxy", |token| async move { Ok(skiff_proxy::run(proxy, token).await?) });
    let ranges = vec![config.ranges.service_cidr.clone(), config.ranges.of_all_pods().clone()];
    start_dns_of_member(components, Place { names, node_name: &config.settings.name, ranges, client, caches }).await
}
