//! Which API servers there are, and the endpoints of the service through which pods reach them.
//!
//! Each server keeps a key of its own, whose lease ends soon after the server does; the endpoints are the addresses of all keys. So two
//! servers on one store do not overwrite each other. Keys, values and times are those of kube-apiserver's lease reconciler, which may
//! serve from the same store: <https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/>, option
//! `--endpoint-reconciler-type`.

use super::{Failed, resource_of};
use crate::app::App;
use crate::registry::object::{Object, metadata_mut};
use crate::registry::{Change, Registry, Target};
use crate::request::Request;
use crate::status::Status;
use bytes::Bytes;
use serde_json::{Value, json};
use skiff_schema::Decoded;
use skiff_store::backend::{BackendError, ListRange};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Where the keys are; behind it stands the server's address.
const SERVERS: &str = "/registry/masterleases/";
/// How long a server counts that does not say that it is there. It does so every ten seconds.
const LEASE_SECONDS: i64 = 15;
/// How long a server that ends waits for the store to take its address out.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whose ports the endpoints have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    /// This server's: it starts, and may have another than before.
    Ours,
    /// Those that are there.
    Present,
}

/// Says that this server is there, and makes the endpoints agree with all that are.
pub(super) async fn announce(registry: &Registry, advertise: SocketAddr, ports: Ports) -> Result<(), Failed> {
    // Only addresses a packet can be sent to, from every pod: a server that listens on every address or on the host's
    // loopback has none to announce.
    if advertise.ip().is_unspecified() || advertise.ip().is_loopback() {
        return Ok(());
    }
    let failed = |status| (format!("masterleases/{}", advertise.ip()), status);
    renew(registry, advertise.ip()).await.map_err(failed)?;
    let all = servers(registry).await.map_err(|error| failed(error.into()))?;
    if all.is_empty() {
        let why = "the store shows no API server just after this one was written: the endpoints stay as they are";
        return Err(failed(Status::internal(why.to_owned())));
    }
    publish(registry, &all, advertise.port(), ports).await
}

/// Takes this server's address out of the endpoints, so that nobody is sent to a server that has ended.
pub(crate) async fn leave(app: &App) {
    let left = async {
        let (registry, ip) = (&app.registry, app.advertise.ip());
        let failed = |error: BackendError| (format!("masterleases/{ip}"), error.into());
        let present = registry.backend().get(key(ip)).await.map_err(failed)?.entry;
        let Some(present) = present else { return Ok(()) };
        registry.backend().delete(present.key, present.mod_revision).await.map_err(failed)?;
        let others = servers(registry).await.map_err(failed)?;
        publish(registry, &others, app.advertise.port(), Ports::Present).await
    };
    match tokio::time::timeout(LEAVE_TIMEOUT, left).await {
        Ok(Ok(())) => {}
        Ok(Err((object, Status { message, .. }))) => {
            tracing::warn!(object, message, "this server's address stays in the endpoints of the service kubernetes");
        }
        Err(_) => tracing::warn!("the store takes too long to forget this server's address; its lease ends by itself"),
    }
}

fn key(ip: IpAddr) -> Bytes {
    format!("{SERVERS}{ip}").into()
}

/// Writes this server's key anew: the lease is counted from now on.
async fn renew(registry: &Registry, ip: IpAddr) -> Result<(), Status> {
    let present = registry.backend().get(key(ip)).await?.entry;
    let (revision, written) = present.map_or((0, Value::Null), |entry| {
        (entry.mod_revision, serde_json::from_slice(&entry.value).unwrap_or_default())
    });
    // kube-apiserver counts, because its storage leaves out a write that changes nothing.
    let generation = written["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
    let value = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"generation": generation},
        "subsets": [{"addresses": [{"ip": ip.to_string()}]}]});
    let value = Object::encode(resource_of(&value), &value, 0)?.stored;
    // A conflict is somebody with the same address, which is as good.
    registry.backend().put(key(ip), value, revision, LEASE_SECONDS).await?;
    Ok(())
}

/// The addresses of all servers.
async fn servers(registry: &Registry) -> Result<Vec<IpAddr>, BackendError> {
    let range = ListRange { prefix: Bytes::from_static(SERVERS.as_bytes()), from: None, limit: 0, revision: 0 };
    let entries = registry.backend().list(range).await?.entries;
    let address = |key: &Bytes| std::str::from_utf8(key).ok()?.strip_prefix(SERVERS)?.parse().ok();
    Ok(entries.iter().filter_map(|entry| address(&entry.key)).collect())
}

/// Writes both forms of the endpoints.
async fn publish(registry: &Registry, servers: &[IpAddr], port: u16, ports: Ports) -> Result<(), Failed> {
    let family = if !servers.is_empty() && servers.iter().all(IpAddr::is_ipv6) { "IPv6" } else { "IPv4" };
    let old = json!({"apiVersion": "v1", "kind": "Endpoints"});
    let written = put(registry, &old, |present| endpoints(present, servers, port, ports));
    written.await.map_err(|status| ("endpoints/kubernetes".to_owned(), status))?;
    let new = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"});
    let failed = |status| ("endpointslices/kubernetes".to_owned(), status);
    let target = Target { resource: resource_of(&new), namespace: "default", name: "kubernetes" };
    // The type of addresses cannot change.
    let other = match registry.get(&target).await {
        Ok(present) => present.value().map_err(failed)?["addressType"] != family,
        Err(status) if status.reason == "NotFound" => false,
        Err(status) => return Err(failed(status)),
    };
    if other {
        registry.delete(&Request::own("delete", &target)).await.map_err(failed)?;
    }
    put(registry, &new, |present| slice(present, servers, (port, ports), family)).await.map_err(failed)
}

/// Makes of the object, or of nothing, what `next` says.
async fn put(
    registry: &Registry,
    kind: &Value,
    next: impl Fn(Option<&Value>) -> Value + Send + Sync,
) -> Result<(), Status> {
    let target = Target { resource: resource_of(kind), namespace: "default", name: "kubernetes" };
    let change = Change::of_any(|present| {
        let mut object = next(present);
        for field in ["apiVersion", "kind"] {
            object[field] = kind[field].clone();
        }
        Ok(Decoded { object, warnings: Vec::new() })
    });
    registry.write(&Request::own("update", &target), &change).await.map(drop)
}

/// What is there, or its beginning, with one more label.
fn labelled(present: Option<&Value>, label: &str, value: &str) -> Value {
    let begun = || json!({"metadata": {"name": "kubernetes", "namespace": "default"}});
    let mut object = present.cloned().unwrap_or_else(begun);
    let labels = metadata_mut(&mut object).entry("labels").or_insert_with(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(label.to_owned(), value.into());
    }
    object
}

fn own_port(port: u16) -> Value {
    json!([{"name": "https", "port": port, "protocol": "TCP"}])
}

/// The Endpoints that `present` is to become.
fn endpoints(present: Option<&Value>, servers: &[IpAddr], port: u16, ports: Ports) -> Value {
    // The slice is ours as well: the mirroring controller must not make a second one.
    let mut object = labelled(present, "endpointslice.kubernetes.io/skip-mirror", "true");
    let subsets = object["subsets"].as_array().map_or(&[][..], Vec::as_slice);
    let there = match subsets {
        [one] if ports == Ports::Present => one["ports"].clone(),
        _ => Value::Null,
    };
    let ports = if there.is_array() { there } else { own_port(port) };
    let addresses: Vec<Value> = servers.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    object["subsets"] =
        if addresses.is_empty() { json!([]) } else { json!([{"addresses": addresses, "ports": ports}]) };
    object
}

/// The EndpointSlice that `present` is to become.
fn slice(present: Option<&Value>, servers: &[IpAddr], (port, ports): (u16, Ports), family: &str) -> Value {
    let mut object = labelled(present, "kubernetes.io/service-name", "kubernetes");
    let of_family = servers.iter().filter(|ip| ip.is_ipv6() == (family == "IPv6"));
    let one = |ip: &IpAddr| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}});
    object["endpoints"] = of_family.map(one).collect();
    object["addressType"] = family.into();
    let there = object["ports"].as_array().is_some_and(|there| !there.is_empty());
    if ports == Ports::Ours || !there {
        object["ports"] = own_port(port);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn endpoints_are_all_servers_and_keep_what_others_wrote() {
        let mut made = endpoints(None, &ips(&["192.0.2.1"]), 6443, Ports::Ours);
        assert_eq!(made["subsets"], json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": own_port(6443)}]));
        made["metadata"]["labels"]["mine"] = "x".into();
        let both = endpoints(Some(&made), &ips(&["192.0.2.1", "192.0.2.2"]), 7, Ports::Present);
        assert_eq!(both["subsets"][0]["addresses"], json!([{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]));
        assert_eq!(both["subsets"][0]["ports"], own_port(6443), "another server's port stays while both serve");
        assert_eq!(both["metadata"]["labels"].as_object().map(serde_json::Map::len), Some(2));
        let none = endpoints(Some(&both), &[], 7, Ports::Present);
        assert_eq!(none["subsets"], json!([]));
        let moved = endpoints(Some(&both), &ips(&["192.0.2.1"]), 7, Ports::Ours);
        assert_eq!(moved["subsets"][0]["ports"], own_port(7));
    }

    #[test]
    fn a_slice_holds_one_family() {
        let all = ips(&["192.0.2.1", "2001:db8::1"]);
        let made = slice(None, &all, (6443, Ports::Ours), "IPv4");
        let ready = json!([{"addresses": ["192.0.2.1"], "conditions": {"ready": true}}]);
        assert_eq!(
            (&made["endpoints"], &made["addressType"], &made["ports"]),
            (&ready, &"IPv4".into(), &own_port(6443))
        );
        let kept = slice(Some(&made), &all[1..], (7, Ports::Present), "IPv4");
        assert_eq!((&kept["endpoints"], &kept["ports"]), (&json!([]), &own_port(6443)));
    }
}
