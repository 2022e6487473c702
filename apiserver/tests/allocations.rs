//! What a request costs in memory: bytes allocated by the whole process for each, as multiples of the object's JSON. Counted, not timed,
//! so that it says the same on every machine.

mod common;

use axum::body::{Body, to_bytes};
use common::{World, request};
use http::Request;
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use tower::ServiceExt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PODS: &str = "/api/v1/namespaces/default/pods";
/// Requests of each kind; enough for what happens beside them to vanish.
const ROUNDS: usize = 32;
/// How often so many are counted.
const TRIES: usize = 10;

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

/// Bytes that the server allocates for each of many requests that `ask` makes, in hundredths of `size`. What the server does besides, once
/// in a while, is counted too: the least of several tries has none of it.
async fn cost(world: &World, size: usize, ask: impl Fn(usize) -> Ask) -> usize {
    let mut asks: Vec<Request<Body>> =
        (0..=TRIES * ROUNDS).map(ask).map(|[a, b, c, d]| request(&a, &b, &c, &d)).collect();
    let mut least = usize::MAX;
    let mut rest = asks.split_off(1);
    play(world, asks).await;
    for _ in 0..TRIES {
        let next = rest.split_off(ROUNDS);
        let region = Region::new(ALLOCATOR);
        play(world, rest).await;
        least = least.min(region.change().bytes_allocated);
        rest = next;
    }
    least * 100 / ROUNDS / size
}

/// Does not read the answers: that would cost as much as many of the requests.
async fn play(world: &World, asks: Vec<Request<Body>>) {
    for ask in asks {
        let answer = world.server.router().oneshot(ask).await.expect("infallible");
        assert!(answer.status().is_success(), "{}", answer.status());
        to_bytes(answer.into_body(), usize::MAX).await.expect("a whole answer");
    }
}

/// What is reached is a ratchet; kube-apiserver needs 114 times the object for a small patch. A parsed object alone is 12 times its text, and
/// a patch has two of them, the old and the new one. Both are there already for an object that was written a moment ago; for one that was
/// not they are made, and the third row says what that costs. A creation parses its body, and makes the tree of who owns what.
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
    // Larger together than what is remembered of the last writes.
    for n in 0..=TRIES * ROUNDS {
        world.must("POST", PODS, &pod(&format!("cold-{n}"))).await;
    }
    let first = |n: usize| {
        let path = format!("{PODS}/cold-{n}");
        ["PATCH".to_owned(), path, "application/merge-patch+json".to_owned(), merge(n).to_string()]
    };
    let rows = [
        ("get", cost(&world, size, get).await, 360),
        ("merge patch", cost(&world, size, patch("merge-patch+json", merge)).await, 1_000),
        ("first patch", cost(&world, size, first).await, 3_500),
        ("strategic patch", cost(&world, size, patch("strategic-merge-patch+json", merge)).await, 1_000),
        ("JSON patch", cost(&world, size, patch("json-patch+json", pointer)).await, 1_000),
        ("create", cost(&world, size, create).await, 3_100),
    ];
    let table =
        rows.map(|(what, cost, most)| format!("{what}: {}.{:02} (at most {})", cost / 100, cost % 100, most / 100));
    let table = format!("times the object of {size} bytes:\n{}", table.join("\n"));
    assert!(rows.iter().all(|(_, cost, most)| cost <= most), "{table}");
    println!("{table}");
}
