//! The controller as a whole: a cluster that is told what to say, backends that tell what they were asked, and clients.

#![allow(clippy::unwrap_used)]

mod backend;
mod bench;
mod certificates;
mod changes;
mod client;
mod cluster;
mod routes;
mod streams;

use backend::{Backend, until};
use cluster::Cluster;
use serde_json::{Value, json};
use skiff_client::Caches;
use skiff_ingress::{IngressConfig, Ports, run};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// The ports; each test has an address of the loopback for itself.
const HTTP: u16 = 8080;
const HTTPS: u16 = 8443;

/// A controller that runs.
struct World {
    cluster: Cluster,
    address: IpAddr,
    shutdown: CancellationToken,
}

impl World {
    fn new() -> Self {
        Self::with_log(None)
    }

    fn with_log(access_log: Option<PathBuf>) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let pid = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 64 | pid[2] & 63, pid[3], NEXT.fetch_add(1, Ordering::Relaxed)).into();
        let (cluster, shutdown) = (Cluster::default(), CancellationToken::new());
        let client = cluster.client();
        let config = IngressConfig {
            caches: Caches::new(client.clone()),
            client,
            listen: vec![address],
            ports: Ports { http: HTTP, https: HTTPS, https_outside: HTTPS },
            addresses: vec![address],
            health: Some(SocketAddr::new(address, 10254)),
            access_log,
        };
        let token = shutdown.clone();
        tokio::spawn(async move { run(config, token).await.unwrap() });
        Self { cluster, address, shutdown }
    }

    fn plain(&self) -> SocketAddr {
        SocketAddr::new(self.address, HTTP)
    }

    fn encrypted(&self) -> SocketAddr {
        SocketAddr::new(self.address, HTTPS)
    }

    /// A service with a port 80, and a slice for each backend.
    fn service(&self, name: &str, protocol: Option<&str>, backends: &[&Backend]) {
        self.cluster.put(
            "services",
            json!({"metadata": {"name": name, "namespace": "n"},
            "spec": {"ports": [{"port": 80, "appProtocol": protocol}]}}),
        );
        for backend in backends {
            self.cluster.put("endpointslices", backend.slice(name));
        }
    }

    /// An ingress of the class that is made.
    fn ingress(&self, name: &str, annotations: Value, mut spec: Value) {
        spec["ingressClassName"] = "skiff".into();
        self.cluster.put(
            "ingresses",
            json!({"metadata": {"name": name, "namespace": "n", "annotations": annotations,
            "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}),
        );
    }

    /// Waits until a request for a host and path is answered with this status.
    async fn answers(&self, host: &str, path: &str, status: u16) {
        until(&format!("{host}{path} is answered with {status}"), async || {
            client::get(self.plain(), host, path).await.is_ok_and(|answer| answer.status == status)
        })
        .await;
    }

    /// Waits until nothing listens any more.
    async fn end(self) {
        self.shutdown.cancel();
        until("the ports are closed", async || TcpStream::connect((self.address, 10254)).await.is_err()).await;
    }
}

/// Rules for one host.
fn host(host: &str, paths: &[(&str, &str, &str)]) -> Value {
    let paths: Vec<Value> = paths
        .iter()
        .map(|(path, kind, service)| {
            json!({"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}})
        })
        .collect();
    json!({"host": host, "http": {"paths": paths}})
}
