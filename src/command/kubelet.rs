//! `skiff kubelet`: only the node agent, against any API server and CRI runtime.

use super::stop;
use crate::cli::KubeletArgs;
use crate::folders::Folders;
use crate::node::{CLUSTER_DOMAIN, PODS_MAX, Ranges, engine, host_address, host_name, kubelet_tls, log_limits};
use crate::out::tell;
use anyhow::Context;
use skiff_apiserver::Pki;
use skiff_client::from_kubeconfig;
use skiff_kubelet::{Kubelet, KubeletConfig};
use std::net::SocketAddr;

pub(crate) async fn run(args: KubeletArgs) -> anyhow::Result<()> {
    let shutdown = stop::token()?;
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    folders.create()?;
    let node_ip = args.node_ip.unwrap_or_else(host_address);
    Ranges { asked: &[("--pod-cidr", &args.pod_cidr)], node_ip: Some(node_ip) }.check(&[])?;
    let node_name = args.hostname_override.unwrap_or_else(host_name);
    let pki = Pki::open_or_create(&folders.pki(), &[node_ip.to_string(), node_name.clone()])
        .context("keys of the kubelet")?;
    let config = KubeletConfig {
        node_name,
        client: from_kubeconfig(&args.client.kubeconfig).await?,
        container_runtime_endpoint: args.container_runtime_endpoint,
        root_dir: folders.pods(),
        cgroup_root: folders.settle_cgroup_root(args.cgroup_root.as_deref())?,
        node_ip,
        pod_cidr: args.pod_cidr,
        listen: SocketAddr::new(node_ip, args.port),
        tls: kubelet_tls(&pki),
        cluster_dns: Vec::new(),
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        max_pods: PODS_MAX,
        logs: log_limits(&args.logs)?,
        engine: engine("kubelet")?,
    };
    let kubelet = Kubelet::start(config).await.context("start the kubelet")?;
    tell!("kubelet listens on https://{}", kubelet.address());
    Ok(kubelet.run(shutdown).await?)
}
