//! `skiff scheduler`, `controllers`, `proxy` and `ingress`: each needs an API server and nothing else.

use super::{figures, stop};
use crate::cli::{ControllersArgs, IngressArgs, ProxyArgs, SchedulerArgs};
use crate::node::{PROXY_TABLE, control, engine, host_address, host_name, ingress_config, pod_range};
use crate::out::tell;
use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use skiff_authn::certificate::Authority;
use skiff_authn::key::SigningKey;
use skiff_client::{Accounts, Caches, authority_of_kubeconfig, from_kubeconfig, lead_if};
use skiff_controllers::{Actor, NodeRanges, Options, Signer, Trust};
use skiff_ingress::Ports;
use skiff_proxy::ProxyConfig;
use std::path::Path;
use std::sync::Arc;

pub(crate) async fn scheduler(args: SchedulerArgs) -> anyhow::Result<()> {
    args.without_effect.warn();
    let election = args.election.election("kube-scheduler")?;
    let shutdown = stop::token()?;
    figures::serve(args.metrics_listen, &shutdown).await?;
    let (client, steps) = (from_kubeconfig(&args.client.kubeconfig).await?, engine("scheduler")?);
    let config = configured(args.config.as_deref(), args.seed)?;
    tell!("scheduling for {}", args.client.kubeconfig.display());
    let caches = Caches::new(client.clone());
    let work = |token| skiff_scheduler::run(client.clone(), caches.clone(), steps.clone(), config.clone(), token);
    lead_if(election.as_ref(), &client, &shutdown, work).await;
    Ok(())
}

/// What `--config` says of the scheduler.
fn configured(file: Option<&Path>, seed: u64) -> anyhow::Result<skiff_scheduler::Config> {
    let Some(file) = file else { return Ok(skiff_scheduler::Config::default().with_seed(seed)) };
    let named = || format!("--config {}", file.display());
    let text = std::fs::read_to_string(file).with_context(named)?;
    let value = serde_norway::from_str(&text).with_context(named)?;
    skiff_scheduler::Config::read(&value, seed).with_context(named)
}

pub(crate) async fn controllers(args: ControllersArgs) -> anyhow::Result<()> {
    args.without_effect.warn();
    let election = args.election.election("kube-controller-manager")?;
    let autoscaling = args.autoscaler.pace()?;
    let shutdown = stop::token()?;
    figures::serve(args.metrics_listen, &shutdown).await?;
    let client = from_kubeconfig(&args.client.kubeconfig).await?;
    let authority = authority_of_kubeconfig(&args.client.kubeconfig)?.map(Into::into);
    let signer = args.service_account_private_key_file.as_deref().map(signing_key).transpose()?;
    let certificates = signer_of_certificates(&args)?;
    let options = Options { trust: Trust { authority, signer, certificates }, autoscaling };
    let ranges = node_ranges(&args)?;
    tell!("reconciling for {}", args.client.kubeconfig.display());
    let caches = Caches::new(client.clone());
    let actor = match args.use_service_account_credentials {
        true => {
            Actor::accounts(client.clone(), Accounts::of_kubeconfig(&args.client.kubeconfig, client.clone()).await?)
        }
        false => client.clone().into(),
    };
    let work = |token| control(actor.clone(), caches.clone(), options.clone(), (ranges.clone(), None), token);
    Ok(lead_if(election.as_ref(), &client, &shutdown, work).await.unwrap_or(Ok(()))?)
}

/// The ranges that nodes get theirs of, if they get them here.
fn node_ranges(args: &ControllersArgs) -> anyhow::Result<Option<NodeRanges>> {
    match (&args.cluster_cidr, args.allocate_node_cidrs) {
        (_, false) => Ok(None),
        (None, true) => bail!("--allocate-node-cidrs: name the addresses with --cluster-cidr"),
        (Some(ranges), true) => {
            let (v4, v6) = (args.node_cidr_mask_size_ipv4, args.node_cidr_mask_size_ipv6);
            NodeRanges::parse(ranges, v4, v6).map(Some).map_err(anyhow::Error::msg).context("--cluster-cidr")
        }
    }
}

/// The authority that signs certificates on request.
fn signer_of_certificates(args: &ControllersArgs) -> anyhow::Result<Option<Signer>> {
    let (Some(certificate), Some(key)) = (&args.cluster_signing_cert_file, &args.cluster_signing_key_file) else {
        return Ok(None);
    };
    let read =
        |flag: &str, path: &Path| std::fs::read_to_string(path).with_context(|| format!("{flag} {}", path.display()));
    let certificate = read("--cluster-signing-cert-file", certificate)?;
    let key = read("--cluster-signing-key-file", key)?;
    let authority = Authority::from_pem(&certificate, &key).map_err(anyhow::Error::msg);
    let authority = authority.context("--cluster-signing-cert-file, --cluster-signing-key-file")?;
    Ok(Some(Signer::new(authority, args.cluster_signing_duration)))
}

/// The key that signs tokens in secrets.
fn signing_key(path: &Path) -> anyhow::Result<Arc<SigningKey>> {
    let named = || format!("--service-account-private-key-file {}", path.display());
    let text = std::fs::read_to_string(path).with_context(named)?;
    Ok(Arc::new(SigningKey::from_pem(&text).with_context(named)?))
}

pub(crate) async fn proxy(args: ProxyArgs) -> anyhow::Result<()> {
    args.without_effect.warn();
    let shutdown = stop::token()?;
    let client = from_kubeconfig(&args.client.kubeconfig).await?;
    let node_name = args.hostname_override.unwrap_or_else(host_name);
    let config = ProxyConfig {
        pod_cidr: range_of(&client, &node_name).await?.unwrap_or(args.cluster_cidr),
        node_name,
        caches: Caches::new(client.clone()),
        client,
        table: PROXY_TABLE.to_owned(),
        engine: engine("proxy")?,
    };
    tell!("programming nftables table {PROXY_TABLE} for {}", args.client.kubeconfig.display());
    Ok(skiff_proxy::run(config, shutdown).await?)
}

pub(crate) async fn ingress(args: IngressArgs) -> anyhow::Result<()> {
    let shutdown = stop::token()?;
    let client = from_kubeconfig(&args.client.kubeconfig).await?;
    let listen = match args.listen {
        named if !named.is_empty() => named,
        _ => vec![host_address().context("this machine has no address that leads out: name one with --listen")?],
    };
    let (http, https) = (args.serve.ingress_http_port, args.serve.ingress_https_port);
    let ports = Ports { http, https, https_outside: https };
    tell!("serving ingresses for {}", args.client.kubeconfig.display());
    let caches = Caches::new(client.clone());
    let config = ingress_config(args.serve, ports, (listen.clone(), listen), client, caches);
    Ok(skiff_ingress::run(config, shutdown).await?)
}

/// The range of the pods of this node, if the control plane has given it one.
async fn range_of(client: &Client, node: &str) -> anyhow::Result<Option<String>> {
    let found = Api::<Node>::all(client.clone()).get_opt(node).await.with_context(|| format!("read node {node}"))?;
    Ok(found.as_ref().and_then(pod_range))
}
