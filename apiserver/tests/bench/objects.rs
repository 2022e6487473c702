//! One object at a time: reads, creations, changes, patches.

use crate::Parameters;
use crate::http::{Ask, Client, JSON, PROTOBUF};
use crate::load::{Row, row};
use crate::server::Server;
use crate::table::Table;
use serde_json::{Value, json};
use skiff_schema::protobuf;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) const NAMESPACE: &str = "/api/v1/namespaces/bench";
const CLIENTS_MAX: usize = 16;

/// A pod of some 1.5 KiB, never scheduled: no node has its selector.
pub(crate) fn pod(name: &str, index: usize) -> Value {
    let env: Vec<Value> =
        (0..8).map(|at| json!({"name": format!("SETTING_{at}"), "value": format!("value {at}")})).collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench", "shard": format!("s{}", index % 100)}},
        "spec": {"nodeSelector": {"bench": "nowhere"}, "automountServiceAccountToken": false,
            // As the server says it on creation: it is not said again on an update, and must not change.
            "serviceAccountName": "default", "serviceAccount": "default",
            "nodeName": format!("n{}", index % 100),
            "containers": [{"name": "c", "image": "example.com/image:1", "command": ["sleep", "1000"], "env": env,
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}})
}

fn path(client: usize) -> String {
    format!("{NAMESPACE}/pods/own-{client}")
}

/// Makes the namespace, its account and a pod for each client.
pub(crate) async fn prepare(client: &mut Client) {
    let namespace = json!({"metadata": {"name": "bench"}}).to_string();
    client.must(&Ask::send("POST", "/api/v1/namespaces", JSON, namespace)).await;
    // Nobody makes it where there are no controllers; where there are, it may be there already.
    let account = json!({"metadata": {"name": "default"}}).to_string();
    client.ask(&Ask::send("POST", format!("{NAMESPACE}/serviceaccounts"), JSON, account)).await;
    for number in 0..CLIENTS_MAX {
        let pod = pod(&format!("own-{number}"), number).to_string();
        client.must(&Ask::send("POST", format!("{NAMESPACE}/pods"), JSON, pod)).await;
    }
}

/// A number that no object has had.
pub(crate) fn fresh() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A client's pod with another label.
fn counted(client: usize, count: usize) -> Value {
    let mut pod = pod(&format!("own-{client}"), client);
    pod["metadata"]["labels"]["count"] = count.to_string().into();
    pod
}

fn patch(client: usize, content_type: &'static str, body: String) -> Ask {
    Ask::send("PATCH", path(client), content_type, body)
}

const ROWS: &[(&str, crate::load::Asks)] = &[
    ("get a pod, JSON", |client, _| Ask::get(path(client), JSON)),
    ("get a pod, Protobuf", |client, _| Ask::get(path(client), PROTOBUF)),
    ("create a config map", |_, _| {
        let body = json!({"metadata": {"name": format!("made-{}", fresh())}, "data": {"key": "x".repeat(256)}});
        Ask::send("POST", format!("{NAMESPACE}/configmaps"), JSON, body.to_string())
    }),
    ("create a config map, Protobuf", |_, _| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("made-{}", fresh())},
            "data": {"key": "x".repeat(256)}});
        Ask::send("POST", format!("{NAMESPACE}/configmaps"), PROTOBUF, protobuf::from_json(&map).unwrap())
    }),
    ("update a pod's label", |client, count| Ask::send("PUT", path(client), JSON, counted(client, count).to_string())),
    ("update a pod's label, Protobuf", |client, count| {
        Ask::send("PUT", path(client), PROTOBUF, protobuf::from_json(&counted(client, count)).unwrap())
    }),
    ("merge patch", |client, count| {
        let body = json!({"metadata": {"labels": {"count": count.to_string()}}}).to_string();
        patch(client, "application/merge-patch+json", body)
    }),
    ("strategic merge patch", |client, count| {
        let body = json!({"metadata": {"labels": {"count": count.to_string()}}}).to_string();
        patch(client, "application/strategic-merge-patch+json", body)
    }),
    ("JSON patch", |client, count| {
        let body = json!([{"op": "add", "path": "/metadata/labels/count", "value": count.to_string()}]).to_string();
        patch(client, "application/json-patch+json", body)
    }),
    ("apply", |client, count| {
        let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("own-{client}"),
            "annotations": {"applied": count.to_string()}}});
        let path = format!("{}?fieldManager=bench", path(client));
        Ask::send("PATCH", path, "application/apply-patch+yaml", body.to_string())
    }),
];

pub(crate) async fn measure(parameters: &Parameters, servers: &[Server; 2], table: &mut Table) {
    for server in servers {
        prepare(&mut server.connect().await).await;
    }
    let doors = &servers.each_ref().map(Server::door);
    for (what, asks) in ROWS {
        for connections in [1, 16] {
            row(parameters, servers, table, &Row { what, connections, asks: *asks, doors }).await;
        }
    }
}
