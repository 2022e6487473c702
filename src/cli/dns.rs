//! Flags about names: who answers for the cluster's, and what pods are told.

use clap::{Args, ValueEnum};
use std::net::IpAddr;

/// Parts of a node that something else may stand in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The DNS server of the cluster
    Dns,
    /// The enforcement of network policies
    NetworkPolicy,
    /// The driver that makes volumes of this machine for claims, and its class
    Storage,
    /// The ingress controller, and its class
    Ingress,
}

/// Names in `skiff up`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DnsArgs {
    /// Where pods ask for names: the address of the service kube-dns [default: the tenth of --service-cidr]
    #[arg(long, value_name = "IP")]
    pub(crate) cluster_dns: Option<IpAddr>,
    /// Domain of the names of services and pods
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    pub(crate) cluster_domain: String,
    /// Do not run this part, because another one stands in for it: CoreDNS for dns, at the same address; a network plugin for network-policy
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub(crate) disable: Vec<Part>,
}

/// Names in `skiff kubelet`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterNameArgs {
    /// Where pods ask for names (may be repeated) [default: where the host asks]
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub(crate) cluster_dns: Vec<IpAddr>,
    /// Domain of the names of services and pods
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    pub(crate) cluster_domain: String,
}
