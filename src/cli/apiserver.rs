//! Flags of an API server, named as those of kube-apiserver.

use super::without_effect::{Apiserver, WithoutEffect};
use super::{AuditArgs, AuthenticationArgs, EncryptionArgs, EtcdArgs, FairnessArgs, FolderArgs};
use clap::Args;
use skiff_apiserver::AdmissionPlugins;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// `skiff apiserver`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skiff apiserver --data-dir /var/lib/skiff
  skiff apiserver --etcd-servers https://10.0.0.1:2379,https://10.0.0.2:2379 --etcd-cafile ca.pem")]
pub(crate) struct ApiserverArgs {
    #[command(flatten)]
    pub(crate) folders: FolderArgs,
    /// Where the API listens
    #[arg(long, default_value = "127.0.0.1:6443", value_name = "ADDR:PORT")]
    pub(crate) api_listen: SocketAddr,
    /// The address of it alone, in kube-apiserver's words
    #[arg(long, value_name = "IP", conflicts_with = "api_listen")]
    pub(crate) bind_address: Option<IpAddr>,
    /// The port of it alone; without --bind-address it listens on every address then
    #[arg(long, value_name = "PORT", conflicts_with = "api_listen")]
    pub(crate) secure_port: Option<u16>,
    /// Where pods reach it: the service `kubernetes` leads there [default: the address of --api-listen]
    #[arg(long, value_name = "IP")]
    pub(crate) advertise_address: Option<IpAddr>,
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
    /// Addresses of services
    #[arg(long, default_value = "10.96.0.0/16", value_name = "CIDR")]
    pub(crate) service_cluster_ip_range: String,
    /// Ports that services of type NodePort get on every node
    #[arg(long, default_value = "30000-32767", value_parser = ports, value_name = "FIRST-LAST")]
    pub(crate) service_node_port_range: RangeInclusive<u16>,
    /// Who is asked whether a request may be done, in this order: AlwaysAllow, AlwaysDeny, Node, RBAC [default: Node,RBAC]
    #[arg(long, value_name = "MODES", conflicts_with = "authorization_config")]
    pub(crate) authorization_mode: Option<String>,
    /// The same from a file (AuthorizationConfiguration), webhooks included; it is read again when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_config: Option<PathBuf>,
    /// What admission plugins are told (AdmissionConfiguration): whom the Pod Security Standards spare, as whom webhooks are asked
    #[arg(long, value_name = "FILE")]
    pub(crate) admission_control_config_file: Option<PathBuf>,
    /// Admission plugins to ask beside those that are asked by default (may be repeated)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) enable_admission_plugins: Vec<String>,
    /// Admission plugins that are not to be asked (may be repeated)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) disable_admission_plugins: Vec<String>,
    #[command(flatten)]
    pub(crate) fairness: FairnessArgs,
    #[command(flatten)]
    pub(crate) authentication: AuthenticationArgs,
    #[command(flatten)]
    pub(crate) audit: AuditArgs,
    #[command(flatten)]
    pub(crate) encryption: EncryptionArgs,
    /// Features that Kubernetes has off by default; there are two: CBORServingAndStorage=true, ManifestBasedAdmissionControlConfig=true
    #[arg(long, value_name = "NAME=BOOL", value_delimiter = ',')]
    pub(crate) feature_gates: Vec<String>,
    #[command(flatten)]
    pub(crate) without_effect: WithoutEffect<Apiserver>,
}

impl ApiserverArgs {
    /// Which admission plugins are asked.
    pub(crate) fn plugins(&self) -> AdmissionPlugins {
        AdmissionPlugins {
            enabled: self.enable_admission_plugins.clone(),
            disabled: self.disable_admission_plugins.clone(),
        }
    }

    /// Where the API listens, in whichever words it was said.
    pub(crate) fn listen(&self) -> SocketAddr {
        match (self.bind_address, self.secure_port) {
            (None, None) => self.api_listen,
            (address, port) => SocketAddr::new(
                address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                port.unwrap_or(self.api_listen.port()),
            ),
        }
    }
}

/// A range of ports: `30000-32767`, or `30000+99`.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let number = |text: &str| text.trim().parse::<u16>().map_err(|_| format!("{text:?} is no port"));
    match (text.split_once('-'), text.split_once('+')) {
        (Some((first, last)), _) => Ok(number(first)?..=number(last)?),
        (None, Some((first, more))) => Ok(number(first)?..=number(first)?.saturating_add(number(more)?)),
        (None, None) => Ok(number(text)?..=number(text)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ApiserverArgs,
    }

    #[test]
    fn an_address_is_said_in_either_words() {
        let listen = |words: &[&str]| {
            let line = Line::try_parse_from([&["program"], words].concat()).map_err(|error| error.to_string())?;
            Ok::<_, String>(line.args.listen().to_string())
        };
        assert_eq!(listen(&[]).as_deref(), Ok("127.0.0.1:6443"));
        assert_eq!(listen(&["--api-listen=10.0.0.1:1"]).as_deref(), Ok("10.0.0.1:1"));
        assert_eq!(listen(&["--secure-port=7"]).as_deref(), Ok("0.0.0.0:7"));
        assert_eq!(listen(&["--bind-address=10.0.0.2"]).as_deref(), Ok("10.0.0.2:6443"));
        assert!(listen(&["--api-listen=10.0.0.1:1", "--secure-port=7"]).is_err());
    }

    #[test]
    fn ports_are_a_range() {
        assert_eq!(ports("30000-30002"), Ok(30000..=30002));
        assert_eq!(ports("30000+2"), Ok(30000..=30002));
        assert_eq!(ports("7"), Ok(7..=7));
        assert!(ports("a-b").is_err() && ports("1-99999").is_err());
    }
}
