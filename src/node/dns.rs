//! The cluster's DNS server: where it listens, and what leads there.
//!
//! It listens at the node's side of the pod network, where only pods come, and the service `kube-dns` leads to it from the address
//! that pods are told. So it works behind any proxy, and each node answers for itself.

use super::components::Components;
use super::routes::pod_range;
use super::watching::is_ready;
use crate::cli::{DnsArgs, Part};
use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use skiff_client::Caches;
use skiff_dns::{Dns, DnsConfig, Published, Range, Upstreams, publish, publish_slice, withdraw};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The port of DNS; another one is taken if something listens there.
const PORT: u16 = 53;
/// The address of a service range that installers give to DNS.
const TENTH: u32 = 10;
/// The annotation of a node that has joined: where its server listens.
const LISTENS: &str = "skiff.dev/dns";
/// How long after a refusal it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Names in this node.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Where pods ask.
    pub(crate) server: IpAddr,
    /// Domain of services and pods.
    pub(crate) domain: String,
    /// Where our server listens; `None`: another one answers.
    pub(crate) listen: Option<IpAddr>,
}

impl Names {
    /// `pod_side` is the node's address towards its pods.
    ///
    /// # Errors
    /// The service range has no tenth address, and no other address is named.
    pub(crate) fn choose(args: &DnsArgs, service_cidr: &str, pod_side: IpAddr) -> anyhow::Result<Self> {
        let server = match args.cluster_dns {
            Some(address) => address,
            None => tenth(service_cidr)?.into(),
        };
        let is_ours = !args.disable.contains(&Part::Dns);
        let domain = args.cluster_domain.trim_end_matches('.').to_ascii_lowercase();
        Ok(Self { server, domain, listen: is_ours.then_some(pod_side) })
    }
}

fn tenth(cidr: &str) -> anyhow::Result<Ipv4Addr> {
    let wanted = || format!("--service-cidr {cidr}: want an IPv4 range such as 10.96.0.0/16");
    let base = cidr.split_once('/').and_then(|(base, _)| base.parse::<Ipv4Addr>().ok()).with_context(wanted)?;
    let address = Ipv4Addr::from(u32::from(base).saturating_add(TENTH));
    let range = Range::parse(cidr).with_context(wanted)?;
    ensure!(
        range.contains(address.into()),
        "--service-cidr {cidr} has no tenth address for the cluster's DNS: name one with --cluster-dns"
    );
    Ok(address)
}

/// What a server of this node needs.
pub(super) struct Place<'a> {
    pub(super) names: &'a Names,
    pub(super) node_name: &'a str,
    /// Ranges of services and pods.
    pub(super) ranges: Vec<String>,
    /// May write the service.
    pub(super) client: Client,
    pub(super) caches: Caches,
}

/// Starts the server, or sees to it that nothing leads to one that is not there.
///
/// # Errors
/// No port is free, or another service has the address.
pub(super) async fn start_dns(components: &mut Components, place: Place<'_>) -> anyhow::Result<()> {
    let Place { names, node_name, ranges, client, caches } = place;
    let Some(listen) = names.listen else {
        return withdraw(&client, node_name).await.context("turn the cluster's DNS off");
    };
    let dns = bind(names, listen, ranges, caches).await?;
    let endpoint = dns.address();
    let published = Published { node_name: node_name.to_owned(), address: names.server, endpoint, ready: true };
    publish(&client, &published).await.context("start the cluster's DNS")?;
    components.spawn("dns", |token| async move { Ok(dns.run(token).await?) });
    Ok(())
}

async fn bind(names: &Names, listen: IpAddr, ranges: Vec<String>, caches: Caches) -> anyhow::Result<Dns> {
    let config = DnsConfig {
        domain: names.domain.clone(),
        listen: SocketAddr::new(listen, PORT),
        addresses: vec![names.server],
        ranges,
        caches,
        upstreams: Upstreams::of_host(vec![names.server, listen]),
    };
    Dns::bind(config).await.context("start the cluster's DNS")
}

/// Starts the server of a node that has joined. It says at its own node object where it listens, because a node may not write what leads
/// others to it; the first node does.
///
/// # Errors
/// No port is free, or the API server refuses.
pub(super) async fn start_dns_of_member(components: &mut Components, place: Place<'_>) -> anyhow::Result<()> {
    let Place { names, node_name, ranges, client, caches } = place;
    let Some(listen) = names.listen else { return say_where(&client, node_name, None).await };
    let dns = bind(names, listen, ranges, caches).await?;
    say_where(&client, node_name, Some(dns.address())).await?;
    components.spawn("dns", |token| async move { Ok(dns.run(token).await?) });
    Ok(())
}

async fn say_where(client: &Client, node: &str, listens: Option<SocketAddr>) -> anyhow::Result<()> {
    let annotations = json!({LISTENS: listens.map(|at| at.to_string())});
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    let said = Api::<Node>::all(client.clone()).patch(node, &PatchParams::default(), &patch).await;
    said.map(drop).with_context(|| format!("write at node {node} where its DNS server listens"))
}

/// Leads the service to the servers of nodes that have joined, for as long as they are there: a node's slice goes with it.
pub(super) fn lead_to_members(components: &mut Components, own: &str, server: IpAddr, client: Client, caches: &Caches) {
    let (own, nodes) = (own.to_owned(), caches.all::<Node>());
    components.spawn("dns of other nodes", |token| async move {
        let changed = Arc::new(Notify::new());
        let _subscription = nodes.wakes(&changed);
        let mut led: BTreeMap<String, (SocketAddr, bool)> = BTreeMap::new();
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = changed.notified() => {}
            }
            let all = nodes.all();
            led.retain(|name, _| all.iter().any(|node| node.name_any() == *name));
            for node in all.iter().filter(|node| node.name_any() != own) {
                let Some(endpoint) = listens(node) else { continue };
                let (node_name, ready) = (node.name_any(), is_ready(node));
                if led.get(&node_name) == Some(&(endpoint, ready)) {
                    continue;
                }
                let what = Published { node_name: node_name.clone(), address: server, endpoint, ready };
                match publish_slice(&client, &what).await {
                    Ok(()) => drop(led.insert(node_name, (endpoint, ready))),
                    Err(error) => {
                        tracing::warn!(error = skiff_client::sentence(&error), "lead to the DNS server of {node_name}");
                        tokio::time::sleep(RETRY).await;
                        changed.notify_one();
                    }
                }
            }
        }
    });
}

/// Where a node's DNS server listens: at an address of its own pods' range, whatever it says.
fn listens(node: &Node) -> Option<SocketAddr> {
    let said: SocketAddr = node.metadata.annotations.as_ref()?.get(LISTENS)?.parse().ok()?;
    let range = Range::parse(&pod_range(node)?)?;
    range.contains(said.ip()).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_ask_the_tenth_address_unless_another_is_named() {
        let mut args = DnsArgs { cluster_dns: None, cluster_domain: "Cluster.Local.".into(), disable: Vec::new() };
        let pod_side: IpAddr = "10.244.0.1".parse().unwrap();
        let names = Names::choose(&args, "10.96.0.0/16", pod_side).unwrap();
        assert_eq!((names.server.to_string().as_str(), names.domain.as_str()), ("10.96.0.10", "cluster.local"));
        assert_eq!(names.listen, Some(pod_side));
        let refused = Names::choose(&args, "10.96.0.0/29", pod_side).unwrap_err().to_string();
        assert!(refused.ends_with("name one with --cluster-dns"), "{refused}");
        (args.cluster_dns, args.disable) = (Some("10.96.0.3".parse().unwrap()), vec![Part::Dns]);
        let names = Names::choose(&args, "10.96.0.0/29", pod_side).unwrap();
        assert_eq!((names.server.to_string().as_str(), names.listen), ("10.96.0.3", None));
    }
}
