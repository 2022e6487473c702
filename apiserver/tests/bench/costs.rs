//! What a request costs where there is much: objects, and definitions of custom resources.

use crate::http::{Ask, Client, JSON};
use crate::server::Server;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Requests of which the median is shown.
const REQUESTS: usize = 30;
/// How many connections make the objects.
const MAKERS: usize = 16;
/// How long a definition may take until it is served.
const SERVED_SECONDS_MAX: u64 = 60;

const NAMESPACE: &str = "/api/v1/namespaces/costs";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DOCUMENT: &str = "/openapi/v3/apis/costs.example.com/v1";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn map(number: usize) -> Value {
    json!({"metadata": {"name": format!("map-{number:06}"), "labels": {"shard": format!("s{}", number % 100)}},
        "data": {"key": "x".repeat(256)}})
}

fn definition(number: usize) -> Value {
    let text = json!({"type": "string"});
    let spec = json!({"type": "object", "properties": {"first": text, "second": text, "third": text}});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("kinds{number}.costs.example.com")},
        "spec": {"group": "costs.example.com", "scope": "Namespaced",
            "names": {"plural": format!("kinds{number}"), "singular": format!("kind{number}"), "kind": format!("Kind{number}")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}})
}

async fn fill(server: &Server, from: usize, to: usize) {
    let makers = (0..MAKERS).map(|maker| {
        let door = server.door();
        tokio::spawn(async move {
            let mut client = door.connect().await.unwrap();
            for number in (from + maker..to).step_by(MAKERS) {
                client.must(&Ask::send("POST", format!("{NAMESPACE}/configmaps"), JSON, map(number).to_string())).await;
            }
        })
    });
    for maker in makers.collect::<Vec<_>>() {
        maker.await.unwrap();
    }
}

async fn median(client: &mut Client, ask: impl Fn(usize) -> Ask) -> Duration {
    let mut took = Vec::new();
    for number in 0..REQUESTS {
        let ask = ask(number);
        let begun = Instant::now();
        client.must(&ask).await;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// One line of figures: requests' medians, and memory.
async fn line(server: &Server, asks: &[Box<dyn Fn(usize) -> Ask + Sync>]) -> String {
    let mut client = server.connect().await;
    let mut line = String::new();
    for ask in asks {
        let _infallible = write!(line, "{:.2} ms · ", median(&mut client, ask).await.as_secs_f64() * 1e3);
    }
    let memory = server.resident_bytes() as f64 / f64::from(1 << 20);
    line + &format!("{memory:.0} MiB")
}

fn of_objects(count: usize) -> Vec<Box<dyn Fn(usize) -> Ask + Sync>> {
    let path = move |number: usize| format!("{NAMESPACE}/configmaps/map-{:06}", number * count / REQUESTS);
    vec![
        Box::new(move |number| Ask::get(path(number), JSON)),
        Box::new(move |number| {
            let body = json!({"data": {"changed": number.to_string()}}).to_string();
            Ask::send("PATCH", path(number), "application/merge-patch+json", body)
        }),
        Box::new(|_| Ask::get(format!("{NAMESPACE}/configmaps?limit=500"), JSON)),
        Box::new(|_| Ask::get(format!("{NAMESPACE}/configmaps?labelSelector=shard%3Ds7"), JSON)),
    ]
}

fn of_definitions() -> Vec<Box<dyn Fn(usize) -> Ask + Sync>> {
    vec![
        Box::new(|_| Ask::get("/apis", AGGREGATED)),
        Box::new(|_| Ask::get("/apis/costs.example.com/v1/namespaces/costs/kinds0", JSON)),
        Box::new(|_| Ask::get(DOCUMENT, JSON)),
    ]
}

/// Makes definitions; returns how long the last of them took from its creation until it was served.
async fn define(server: &Server, from: usize, to: usize) -> Duration {
    let mut client = server.connect().await;
    let mut begun = Instant::now();
    for number in from..to {
        begun = Instant::now();
        client.must(&Ask::send("POST", DEFINITIONS, JSON, definition(number).to_string())).await;
    }
    let last = format!("/apis/costs.example.com/v1/namespaces/costs/kinds{}", to - 1);
    while !client.ask(&Ask::get(&last, JSON)).await.0.is_success() {
        assert!(begun.elapsed() < Duration::from_secs(SERVED_SECONDS_MAX), "{last} is not served");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let served = begun.elapsed();
    // kube-apiserver publishes the document a while later.
    while !client.ask(&Ask::get(DOCUMENT, JSON)).await.0.is_success() {
        assert!(begun.elapsed() < Duration::from_secs(SERVED_SECONDS_MAX), "{DOCUMENT} is not served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    served
}

pub(crate) async fn measure(servers: &[Server; 2], objects_max: usize, definitions_max: usize) -> String {
    let mut text = "| objects | ours: get · patch · page of 500 · 1 % by label · memory | kube-apiserver with etcd |\n|---|---|---|\n".to_owned();
    for server in servers {
        let namespace = json!({"metadata": {"name": "costs"}}).to_string();
        server.connect().await.must(&Ask::send("POST", "/api/v1/namespaces", JSON, namespace)).await;
    }
    let mut from = 0;
    for count in [100, 1000, 10_000, 100_000].into_iter().filter(|count| *count <= objects_max) {
        let mut lines = Vec::new();
        for server in servers {
            fill(server, from, count).await;
            lines.push(line(server, &of_objects(count)).await);
        }
        let row = format!("| {count} | {} | {} |\n", lines[0], lines[1]);
        eprint!("{row}");
        text.push_str(&row);
        from = count;
    }
    text.push_str("\n| definitions | ours: one more until it is served · discovery · list of custom objects · its document · memory | kube-apiserver with etcd |\n|---|---|---|\n");
    let mut from = 0;
    for count in [1, 10, 100, 1000].into_iter().filter(|count| *count <= definitions_max) {
        let mut lines = Vec::new();
        for server in servers {
            let served = define(server, from, count).await.as_secs_f64() * 1e3;
            lines.push(format!("{served:.0} ms · {}", line(server, &of_definitions()).await));
        }
        let row = format!("| {count} | {} | {} |\n", lines[0], lines[1]);
        eprint!("{row}");
        text.push_str(&row);
        from = count;
    }
    text
}
