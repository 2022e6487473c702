//! Flags about requests from outside.

use super::ClientArgs;
use clap::Args;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// How ingresses are served.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeIngressArgs {
    /// The port of ingresses and their hosts; it is opened with the first ingress of the class `skiff`
    #[arg(long, default_value_t = 80, value_name = "PORT")]
    pub(crate) ingress_http_port: u16,
    /// The same for hosts with certificates
    #[arg(long, default_value_t = 443, value_name = "PORT")]
    pub(crate) ingress_https_port: u16,
    /// Append a line of JSON for each request that comes by an ingress
    #[arg(long, value_name = "FILE")]
    pub(crate) ingress_access_log: Option<PathBuf>,
    /// Tell /healthz, /readyz and /metrics of the ingress controller at this address [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) ingress_metrics: Option<SocketAddr>,
}

/// `skiff ingress`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff ingress --kubeconfig /etc/kubernetes/ingress.conf
  skiff ingress --kubeconfig ingress.conf --listen 192.0.2.7 --ingress-http-port 8080 --ingress-metrics 127.0.0.1:10254")]
pub(crate) struct IngressArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Listen at this address of the machine, and say in the status of ingresses that they are reached there (may be repeated) [default:
    /// that of the default route]
    #[arg(long, value_name = "IP")]
    pub(crate) listen: Vec<IpAddr>,
    #[command(flatten)]
    pub(crate) serve: ServeIngressArgs,
}
