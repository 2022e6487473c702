//! What a request costs in memory: bytes allocated by the whole process for each, as multiples of the object's JSON. Counted, not timed,
//! so that it says the same on every machine.

mod common;

use axum::body::to_bytes;
use common::{World, request};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use tower::ServiceExt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PODS: &str = "/api/v1/namespaces/default/pods";
/// Requests of each kind; enough for what happens beside them to vanish.
const ROUNDS: usize = 64;

/// A pod as workloads have them.
fn pod(name: &str) -> Value {
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 5});
    let container = |name: &str| {
        json!({"name": name, "image": "registry.example.com/team/web:1.2.3", "args": ["--listen=:8080", "--verbose"],
            "ports": [{"name": "http", "containerPort": 8080}], "readinessProbe": probe, "livenessProbe": probe,
            "env": [{"name": "MODE", "value": "production"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "config", "mountPath": "/etc/web"}]})
    };
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web", "tier": "front"}, "annotations": {"example.com/n": "0"}},
        "spec": {"containers": [container("web"), container("side")],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "config", "configMap": {"name": "web"}}]}})
}

/// One request of a round: method, path, content type, body.
type Ask = [String; 4];

/// Bytes allocated for each of many requests that `ask` makes, in hundredths of `size`.
async fn cost(world: &World, size: usize, ask: impl Fn(usize) -> Ask) -> usize {
    let mut asks: Vec<Ask> = (0..=ROUNDS).map(ask).collect();
    let last = asks.split_off(1);
    play(world, &asks).await;
    let region = Region::new(ALLOCATOR);
    play(world, &last).await;
    region.change().bytes_allocated * 100 / ROUNDS / size
}

/// Does not read the answers: that would cost as much as many of the requests.
async fn play(world: &World, asks: &[Ask]) {
    for [method, path, kind, body] in asks {
        let answer = world.server.router().oneshot(request(method, path, kind, body)).await.expect("infallible");
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        to_bytes(answer.into_body(), usize::MAX).await.expect("a whole answer");
    }
}

/// What is reached is a ratchet. A parsed object alone is 12 times its text, and a patch has two of them, the old and the new one;
/// kube-apiserver needs 114 times the object for a small patch. Since roles, policies, webhooks and quotas are asked about every write, a
/// patch costs 4 times the object more than before, and a creation 20 times: its namespace, account and classes are read for it.
#[tokio::test]
async fn a_request_allocates_a_few_times_its_object() {
    let world = World::new().await;
    // Default roles are written when somebody asks for them, or a moment later: not while requests are counted.
    let (code, _) = world.get("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings").await;
    assert!(code.is_success());
    let made = world.must("POST", PODS, &pod("p")).await;
    let size = made.to_string().len();
    let patch = |kind: &'static str, body: fn(usize) -> Value| {
        move |n: usize| ["PATCH".to_owned(), format!("{PODS}/p"), format!("application/{kind}"), body(n).to_string()]
    };
    let merge = |n: usize| json!({"metadata": {"annotations": {"example.com/n": n.to_string()}}});
    let pointer =
        |n: usize| json!([{"op": "replace", "path": "/metadata/annotations/example.com~1n", "value": n.to_string()}]);
    let get = |_: usize| ["GET".to_owned(), format!("{PODS}/p"), String::new(), String::new()];
    let create = |n: usize| {
        let body = pod(&format!("new-{n}")).to_string();
        ["POST".to_owned(), PODS.to_owned(), "application/json".to_owned(), body]
    };
    let rows = [
        ("get", cost(&world, size, get).await, 420),
        ("merge patch", cost(&world, size, patch("merge-patch+json", merge)).await, 4_100),
        ("strategic patch", cost(&world, size, patch("strategic-merge-patch+json", merge)).await, 4_100),
        ("JSON patch", cost(&world, size, patch("json-patch+json", pointer)).await, 4_100),
        ("create", cost(&world, size, create).await, 6_600),
    ];
    let table =
        rows.map(|(what, cost, most)| format!("{what}: {}.{:02} (at most {})", cost / 100, cost % 100, most / 100));
    let table = format!("times the object of {size} bytes:\n{}", table.join("\n"));
    assert!(rows.iter().all(|(_, cost, most)| cost <= most), "{table}");
    println!("{table}");
}
