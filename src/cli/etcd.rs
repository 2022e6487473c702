//! Another store than our own.

use crate::duration;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Which etcd holds the objects, in the words of kube-apiserver.
#[derive(Debug, Clone, Args)]
pub(crate) struct EtcdArgs {
    /// Keep objects in this etcd instead of the embedded store: all members (may be repeated or separated by commas)
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(crate) etcd_servers: Vec<String>,
    /// The etcd's authority (PEM), for https://
    #[arg(long, requires = "etcd_servers", value_name = "FILE")]
    pub(crate) etcd_cafile: Option<PathBuf>,
    /// Our certificate for etcd (PEM)
    #[arg(long, requires = "etcd_keyfile", value_name = "FILE")]
    pub(crate) etcd_certfile: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, requires = "etcd_certfile", value_name = "FILE")]
    pub(crate) etcd_keyfile: Option<PathBuf>,
    /// How often this etcd's history is compacted, together with other API servers on it; 0: by somebody else
    #[arg(long, default_value = "5m", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) etcd_compaction_interval: Duration,
    /// How long a request to etcd may take, whatever happens to its members meanwhile
    #[arg(long, default_value = "10s", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) etcd_request_timeout: Duration,
}
