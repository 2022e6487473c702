//! `skiff join` and `skiff token`.

use super::{ClientArgs, FolderArgs, NodeArgs, RangeArgs};
use crate::duration;
use clap::{Args, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `skiff join`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  skiff up --api-listen 0.0.0.0:6443 --cluster-cidr 10.244.0.0/16      the first node
  skiff token create > join.kubeconfig                                 there; take the file to the other machine
  skiff join --bootstrap-kubeconfig join.kubeconfig                    here; a restart needs no token")]
pub(crate) struct JoinArgs {
    /// Kubeconfig with a token, as `skiff token create` prints it; not needed once the node has its certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) bootstrap_kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) folders: FolderArgs,
    #[command(flatten)]
    pub(crate) ranges: RangeArgs,
    /// The node's address [default: that of the default route, or else of the first interface]
    #[arg(long, value_name = "IP")]
    pub(crate) node_ip: Option<IpAddr>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and print a kubeconfig with which a node joins
    Create(TokenArgs),
}

/// `skiff token create`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  skiff token create --ttl 1h > join.kubeconfig")]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// How long nodes may join with it
    #[arg(long, default_value = "24h", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) ttl: Duration,
    /// Where other machines reach the API [default: where the service `kubernetes` leads]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
}
