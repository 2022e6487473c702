//! `skiff scheduler`, `controllers` and `proxy`: each needs an API server and nothing else.

use super::stop;
use crate::cli::{ClientArgs, ProxyArgs};
use crate::node::{PROXY_TABLE, engine, host_name};
use crate::out::tell;
use skiff_client::from_kubeconfig;
use skiff_proxy::ProxyConfig;

pub(crate) async fn scheduler(args: ClientArgs) -> anyhow::Result<()> {
    let shutdown = stop::token()?;
    let client = from_kubeconfig(&args.kubeconfig).await?;
    tell!("scheduling for {}", args.kubeconfig.display());
    skiff_scheduler::run(client, engine("scheduler")?, shutdown).await;
    Ok(())
}

pub(crate) async fn controllers(args: ClientArgs) -> anyhow::Result<()> {
    let shutdown = stop::token()?;
    let client = from_kubeconfig(&args.kubeconfig).await?;
    tell!("reconciling for {}", args.kubeconfig.display());
    Ok(skiff_controllers::run(client, shutdown).await?)
}

pub(crate) async fn proxy(args: ProxyArgs) -> anyhow::Result<()> {
    let shutdown = stop::token()?;
    let config = ProxyConfig {
        node_name: args.hostname_override.unwrap_or_else(host_name),
        client: from_kubeconfig(&args.client.kubeconfig).await?,
        table: PROXY_TABLE.to_owned(),
        pod_cidr: args.cluster_cidr,
        engine: engine("proxy")?,
    };
    tell!("programming nftables table {PROXY_TABLE} for {}", args.client.kubeconfig.display());
    Ok(skiff_proxy::run(config, shutdown).await?)
}
