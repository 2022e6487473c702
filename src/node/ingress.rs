//! Ingresses of a node: where they are reached.
//!
//! They are served at the node's own address and, for those who sit at the machine, at the loopback. A node in a box has both for
//! itself; on a host the ports are taken only when an object asks for them.

use super::components::Components;
use super::publish::Published;
use crate::cli::{Part, ServeIngressArgs, UpArgs};
use kube::Client;
use skiff_client::Caches;
use skiff_ingress::{IngressConfig, Ports};
use std::net::{IpAddr, Ipv4Addr};

/// How a node serves ingresses.
#[derive(Debug, Clone)]
pub(crate) struct UpIngress {
    serve: ServeIngressArgs,
    ports: Ports,
}

impl UpIngress {
    /// What is asked for; `None`: somebody else serves ingresses. What leads to the encrypted port from the host is what redirects name.
    pub(crate) fn choose(args: &UpArgs, published: &[Published]) -> Option<Self> {
        let serve = args.ingress.clone();
        let https = serve.ingress_https_port;
        let outside = published.iter().find_map(|one| one.leads_to(https)).unwrap_or(https);
        let ports = Ports { http: serve.ingress_http_port, https, https_outside: outside };
        (!args.node.dns.disable.contains(&Part::Ingress)).then_some(Self { serve, ports })
    }
}

/// Starts the controller.
pub(super) fn start_ingress(
    components: &mut Components,
    asked: Option<UpIngress>,
    node_ip: IpAddr,
    client: Client,
    caches: Caches,
) {
    let Some(UpIngress { serve, ports }) = asked else { return };
    let mut listen = vec![node_ip, Ipv4Addr::LOCALHOST.into()];
    listen.dedup();
    let config = ingress_config(serve, ports, (listen, vec![node_ip]), client, caches);
    components.spawn("ingress", |token| async move { Ok(skiff_ingress::run(config, token).await?) });
}

/// What a controller is told, in a node or alone: where it listens, and where the status says so.
pub(crate) fn ingress_config(
    serve: ServeIngressArgs,
    ports: Ports,
    (listen, addresses): (Vec<IpAddr>, Vec<IpAddr>),
    client: Client,
    caches: Caches,
) -> IngressConfig {
    IngressConfig {
        client,
        caches,
        listen,
        ports,
        addresses,
        health: serve.ingress_metrics,
        access_log: serve.ingress_access_log,
    }
}
