//! `skiff token create`: what another machine needs to join.

use crate::cli::TokenArgs;
use crate::node::{ClusterKnown, make_token};
use crate::out::show;
use anyhow::Context;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use skiff_client::{authority_of_kubeconfig, from_kubeconfig};

pub(crate) async fn create(args: TokenArgs) -> anyhow::Result<()> {
    let path = &args.client.kubeconfig;
    let client = from_kubeconfig(path).await?;
    let authority = authority_of_kubeconfig(path)?;
    let authority =
        authority.with_context(|| format!("kubeconfig {} names no authority of the cluster", path.display()))?;
    let server = match args.server {
        Some(server) => server,
        None => advertised(&client).await?,
    };
    let cluster = ClusterKnown { server: &server, authority: &authority };
    let token = make_token(&client, args.ttl, &cluster).await?;
    show!("{}", token.kubeconfig(&cluster))
}

/// Where the service `kubernetes` leads.
async fn advertised(client: &Client) -> anyhow::Result<String> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let slice =
        slices.get("kubernetes").await.context("find where the API server is reached (or name it with --server)")?;
    let port = slice.ports.iter().flatten().find_map(|port| port.port);
    let address = slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses).next();
    let (address, port) =
        address.zip(port).context("the service kubernetes leads nowhere: name the API server with --server")?;
    Ok(if address.contains(':') { format!("https://[{address}]:{port}") } else { format!("https://{address}:{port}") })
}
