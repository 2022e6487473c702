//! What every cluster has: four namespaces, the range of service addresses, and the service through which pods reach the API server.
//!
//! What needs nothing of each other is made at the same time: the store makes all writes durable at once that wait for it.

mod servers; // which API servers there are, and the endpoints of the service

pub(crate) use servers::leave;

use crate::app::App;
use crate::registry::object::{meta, name_of, now};
use crate::registry::{Change, Registry, Target};
use crate::request::Request;
use crate::status::Status;
use futures::future::{try_join, try_join_all};
use serde_json::{Value, json};
use servers::Ports;
use skiff_schema::{Decoded, Resource, set_condition};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the making of an object is tried that another server may be making too, and how long apart.
const TRIES: usize = 10;
const AGAIN: Duration = Duration::from_millis(100);

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Priority classes that clients know by name: name, value, description.
const CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// How often it is looked whether somebody has deleted what every cluster has (kube-apiserver: as often).
const EVERY: Duration = Duration::from_secs(10);

/// An object that could not be made or corrected, and why.
type Failed = (String, Status);

/// Makes what is missing and corrects the API server's endpoint; the error names the object.
pub(crate) async fn bootstrap(registry: &Registry, advertise: SocketAddr) -> Result<(), Failed> {
    try_join(service_cidr(registry), make_missing(registry, advertise, Ports::Ours)).await.map(drop)
}

/// Makes anew what was deleted, until the server stops: `kubectl delete services --all` means the cluster's own service too.
pub(crate) fn keep(app: &Arc<App>, until: CancellationToken) {
    let app = app.clone();
    tokio::spawn(until.run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err((object, status)) = make_missing(&app.registry, app.advertise, Ports::Present).await {
                tracing::warn!(object, message = status.message, "what every cluster has is missing");
            }
        }
    }));
}

async fn make_missing(registry: &Registry, advertise: SocketAddr, ports: Ports) -> Result<(), Failed> {
    let namespace = |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let first = NAMESPACES.map(namespace).into_iter().chain(CLASSES.map(priority_class));
    try_join_all(first.map(|object| ensure(registry, object))).await?;
    // The next two live in one of the namespaces.
    try_join(ensure(registry, service(registry, advertise)), servers::announce(registry, advertise, ports))
        .await
        .map(drop)
}

/// Makes what a cluster has whose API server says what nodes and pods use; what is there stays as it is.
pub(crate) async fn of_metrics(registry: &Registry) -> Result<(), Failed> {
    try_join_all(crate::metrics::wanted().map(|object| ensure(registry, object))).await.map(drop)
}

fn resource_of(object: &Value) -> &'static Arc<Resource> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    skiff_schema::find_kind(text("apiVersion"), text("kind")).expect("the table of resources has what bootstrap makes")
}

/// Stores `object` unless its name is taken.
async fn ensure(registry: &Registry, object: Value) -> Result<(), Failed> {
    let resource = resource_of(&object);
    let (name, namespace) = (name_of(&object).to_owned(), meta(&object, "namespace").to_owned());
    let target = Target { resource, namespace: &namespace, name: &name };
    let title = |status| (format!("{}/{name}", resource.plural), status);
    for tried in 1..2 * TRIES {
        match try_ensure(registry, &target, object.clone()).await {
            // Another server that starts now has claimed the service's address, and will soon store the service.
            Err(status) if status.reason == "Invalid" => tokio::time::sleep(AGAIN).await,
            other => return other.map_err(title),
        }
        if tried == TRIES {
            // It did not: a server ended between claim and service.
            registry.services().free_first(registry.backend(), &target).await.map_err(title)?;
        }
    }
    try_ensure(registry, &target, object).await.map_err(title)
}

async fn try_ensure(registry: &Registry, target: &Target<'_>, object: Value) -> Result<(), Status> {
    // Asking first: creating the service again would be refused for its address, which the present one has.
    match registry.get(target).await {
        Err(status) if status.reason == "NotFound" => {}
        other => return other.map(drop),
    }
    let draft = Decoded { object, warnings: Vec::new() };
    match registry.create(&Request::own("create", target), draft).await {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}

/// The default ServiceCIDR (KEP-1880) says which range this server gives addresses from; one of an earlier start with another
/// range cannot change, so it is made anew.
async fn service_cidr(registry: &Registry) -> Result<(), Failed> {
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [registry.services().range()]}});
    let target = Target { resource: resource_of(&object), namespace: "", name: "kubernetes" };
    let failed = |status| ("servicecidrs/kubernetes".to_owned(), status);
    ensure(registry, object.clone()).await?;
    let stored = registry.get(&target).await.and_then(|stored| stored.value()).map_err(failed)?;
    if stored["spec"] != object["spec"] {
        registry.delete(&Request::own("delete", &target)).await.map_err(failed)?;
        ensure(registry, object).await?;
    }
    let ready = Change::of_present(|current| {
        let mut object = current.clone();
        let condition = ["Ready", "True", "", "Kubernetes default Service CIDR is ready"];
        set_condition(&mut object["status"], condition, &now());
        Ok(Decoded { object, warnings: Vec::new() })
    });
    let request = Request::own("update", &target).of_part("status");
    registry.write(&request, &ready).await.map(drop).map_err(failed)
}

fn priority_class((name, value, description): (&str, i64, &str)) -> Value {
    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
        "description": description})
}

fn service(registry: &Registry, advertise: SocketAddr) -> Value {
    let address = registry.services().first_address().to_string();
    let metadata = json!({"name": "kubernetes", "namespace": "default",
        "labels": {"component": "apiserver", "provider": "kubernetes"}});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {
        "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "sessionAffinity": "None",
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": advertise.port()}],
    }})
}
