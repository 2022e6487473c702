//! `skiff kubelet`: only the node agent, against any API server and CRI runtime.

use super::stop;
use crate::cli::KubeletArgs;
use crate::folders::Folders;
use crate::node::{
    PODS_MAX, PressureDefaults, Ranges, announce, engine, host_address, host_name, log_limits, present_kubelet,
    pressure_limits, read,
};
use crate::out::tell;
use anyhow::Context;
use skiff_apiserver::Pki;
use skiff_client::{Presented, from_kubeconfig};
use skiff_keys::{Keys, Places};
use skiff_kubelet::{Kubelet, KubeletConfig, KubeletTls, PodCidr};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

pub(crate) async fn run(args: KubeletArgs) -> anyhow::Result<()> {
    args.without_effect.warn();
    let shutdown = stop::token()?;
    let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
    folders.create()?;
    let node_ip = args.node_ip.or_else(host_address).unwrap_or(Ipv4Addr::LOCALHOST.into());
    if let Some(range) = &args.pod_cidr {
        Ranges { asked: &[("--pod-cidr", range)], node_ip: Some(node_ip) }.check(&[])?;
    }
    let node_name = args.hostname_override.clone().unwrap_or_else(host_name);
    let pki = Pki::open_or_create(&folders.pki(), &[node_ip.to_string(), node_name.clone()])
        .context("keys of the kubelet")?;
    let mut tls = tls(&args, &pki)?;
    let shown = tls.serving.clone();
    let (kubeconfig, bootstrap) = (&args.client.kubeconfig, args.bootstrap_kubeconfig.as_deref());
    let mut keys = match bootstrap.is_some() || args.rotate_server_certificates {
        true => Some(Keys::open(&node_name, kubeconfig, bootstrap, &folders.pki()).await.context("join the cluster")?),
        false => None,
    };
    let client = if let Some(keys) = &keys { keys.client() } else { from_kubeconfig(kubeconfig).await? };
    if let Some(keys) = keys.as_mut().filter(|_| args.rotate_server_certificates) {
        announce(&client, &node_name, node_ip).await?;
        let places = Places { names: vec![node_name.clone()], ips: vec![node_ip] };
        tls.serving = keys.serving(places).await.context("serving certificate of the kubelet")?;
    }
    let config = KubeletConfig {
        node_name,
        client,
        container_runtime_endpoint: args.container_runtime_endpoint,
        root_dir: folders.pods(),
        cgroup_root: folders.settle_cgroup_root(args.cgroup_root.as_deref())?,
        node_ip,
        pod_cidr: PodCidr::FromNode(args.pod_cidr.clone()),
        listen: SocketAddr::new(node_ip, args.port),
        tls,
        cluster_dns: args.names.cluster_dns.clone(),
        cluster_domain: args.names.cluster_domain.clone(),
        max_pods: PODS_MAX,
        static_pod_path: args.pod_manifest_path.clone(),
        allowed_unsafe_sysctls: args.allowed_unsafe_sysctls.clone(),
        users: args.users.settings(),
        logs: log_limits(&args.logs)?,
        pressure: pressure_limits(&args.pressure, PressureDefaults::of_the_kubelet())?,
        pulls: args.pulls.settings()?,
        // Whoever connects the pods there enforces policies, too.
        on_addresses: None,
        engine: engine("kubelet")?,
    };
    let kubelet = Kubelet::start(config).await.context("start the kubelet")?;
    tell!("kubelet listens on https://{}", kubelet.address());
    // A certificate of our own is issued again before it ends; one that was named is the business of whoever named it.
    if let Some(keys) = keys {
        tokio::spawn(keys.keep(shutdown.clone()));
    }
    if args.tls_cert_file.is_none() && !args.rotate_server_certificates {
        tokio::spawn(pki.keep(shutdown.clone(), move |next| present_kubelet(&shown, next)));
    }
    Ok(kubelet.run(shutdown).await?)
}

/// The keys of the HTTPS API: from the files that were named, otherwise our own.
fn tls(args: &KubeletArgs, pki: &Pki) -> anyhow::Result<KubeletTls> {
    let pem = |file: Option<&Path>, own: &str| match file {
        Some(file) => String::from_utf8(read(file)?).with_context(|| format!("read {}: it is not PEM", file.display())),
        None => Ok(own.to_owned()),
    };
    let own = pki.kubelet_serving();
    let certificate = pem(args.tls_cert_file.as_deref(), &own.certificate)?;
    let private_key = pem(args.tls_private_key_file.as_deref(), &own.private_key)?;
    let serving = Presented::new(&certificate, &private_key).map_err(anyhow::Error::msg);
    let serving = Arc::new(serving.context("serving certificate of the kubelet")?);
    Ok(KubeletTls { serving, client_ca: pem(args.client_ca_file.as_deref(), pki.authority_certificate())? })
}
