//! What a node is told that brings all its components with it: `skiff up`, `skiff join`.

use super::{DnsArgs, LogArgs, PressureArgs, PullArgs, UserArgs, names};
use clap::Args;
use std::path::PathBuf;

/// How the node is to be, whichever way it is part of its cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeArgs {
    /// The node's name in the API [default: the host's name]
    #[arg(long, value_parser = names::node, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Port of the kubelet's HTTPS API
    #[arg(long, default_value_t = 10250, value_name = "PORT")]
    pub(crate) kubelet_port: u16,
    /// Folder with files that describe static pods
    #[arg(long, value_name = "FOLDER")]
    pub(crate) pod_manifest_path: Option<PathBuf>,
    /// Kernel parameters that pods may set besides the safe ones: names, or starts of names with * (may be repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) allowed_unsafe_sysctls: Vec<String>,
    #[command(flatten)]
    pub(crate) users: UserArgs,
    #[command(flatten)]
    pub(crate) dns: DnsArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
    #[command(flatten)]
    pub(crate) pressure: PressureArgs,
    #[command(flatten)]
    pub(crate) pulls: PullArgs,
    /// The cgroup below which everything lives [default: /skiff]
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_root: Option<String>,
    /// Use this OCI runtime instead of the one carried inside (e.g. /usr/bin/crun)
    #[arg(long, value_name = "FILE")]
    pub(crate) oci_runtime: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) devices: DeviceArgs,
}

/// Devices that containers may name.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeviceArgs {
    /// Folders whose files describe devices that containers get by name (CDI); later ones win (may be repeated)
    #[arg(long = "cdi-spec-dir", value_name = "FOLDER", default_values = ["/etc/cdi", "/var/run/cdi"])]
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
}
