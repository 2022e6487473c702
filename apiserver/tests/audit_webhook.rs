//! Events that are sent to a server of others, which answers, refuses, hangs, or answers slowly: requests go on in batch mode, what waits is
//! bounded, and what is lost is counted.

#![allow(clippy::unwrap_used)]

mod common;

use common::World;
use common::hook::Hook;
use http::StatusCode;
use serde_json::{Value, json};
use skiff_apiserver::{ApiServer, Audit, AuditBatch, AuditMode, AuditWebhook};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A world whose requests are recorded at a webhook.
struct Scene {
    _world: World,
    server: ApiServer,
}

impl Scene {
    /// One that sends to `url`, whose certificate `authority` vouches for.
    async fn new(url: &str, authority: &str, mode: AuditMode, batch: AuditBatch) -> Self {
        let world = World::new().await;
        let policy = world.folder.path().join("policy.json");
        let rules = json!([{"level": "None", "nonResourceURLs": ["/metrics"]},
            {"level": "Metadata", "omitStages": [omitted(mode)]}]);
        std::fs::write(&policy, json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}).to_string())
            .unwrap();
        let config_file = kubeconfig(&world, url, authority);
        let mut audit = Audit::read(&policy).unwrap();
        let initial_backoff = Duration::from_millis(1);
        audit.webhook = Some(AuditWebhook { config_file, initial_backoff, mode, batch, limits: None });
        let server = world.server.clone().audited(&audit).await.unwrap();
        Self { _world: world, server }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        common::send(self.server.router(), common::request("GET", path, "", "")).await
    }

    /// A request, which is recorded once.
    async fn ask(&self, number: usize) -> StatusCode {
        self.get(&format!("/api/v1/namespaces/none-{number}")).await.0
    }

    /// What `/metrics` says of `name`.
    async fn counted(&self, name: &str) -> u64 {
        let (_, page) = self.get("/metrics").await;
        let page = page.as_str().unwrap().to_owned();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |count| count.parse().unwrap())
    }

    /// Waits until the count of `name` is at least so much.
    async fn until(&self, name: &str, least: u64) {
        let counting = async {
            while self.counted(name).await < least {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, counting).await.is_ok(), "{name}: {}", self.counted(name).await);
    }
}

/// Each request is recorded once; at its arrival, where that may have it refused.
fn omitted(mode: AuditMode) -> &'static str {
    if mode == AuditMode::BlockingStrict { "ResponseComplete" } else { "RequestReceived" }
}

fn kubeconfig(world: &World, url: &str, authority: &str) -> PathBuf {
    let path = world.folder.path().join("webhook.kubeconfig");
    let authority_file = world.folder.path().join("webhook.crt");
    std::fs::write(&authority_file, authority).unwrap();
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "x", "users": [],
        "clusters": [{"name": "x", "cluster": {"server": url, "certificate-authority": authority_file}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": ""}}]});
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

fn batch(events_max: usize, size_max: usize) -> AuditBatch {
    AuditBatch { events_max, size_max, wait: Duration::from_millis(20), throttle: None }
}

const LOST_ON_THE_WAY: &str = "apiserver_audit_error_total{plugin=\"webhook\"}";
const LOST_WAITING: &str = "apiserver_audit_error_total{plugin=\"buffered\"}";

/// Everything arrives once, so many at a time.
#[tokio::test]
async fn batches_have_their_size() {
    let hook = Hook::new("127.0.0.1").await;
    hook.publish("/events", &json!({}));
    let url = format!("https://{}/events", hook.address);
    let scene = Scene::new(&url, &hook.authority, AuditMode::Batch, batch(1000, 7)).await;
    for number in 0..100 {
        assert_eq!(scene.ask(number).await, StatusCode::NOT_FOUND);
    }
    let names = |lists: &[Value]| -> Vec<String> {
        let events = lists.iter().flat_map(|list| list["items"].as_array().unwrap().clone());
        events.map(|event| event["objectRef"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let arriving = async {
        while names(&hook.asked("/events")).len() < 100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arriving).await.expect("all arrive");
    let lists = hook.asked("/events");
    assert!(lists.iter().all(|list| list["kind"] == "EventList" && list["items"].as_array().unwrap().len() <= 7));
    let all = names(&lists);
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (100, 100), "each once");
    assert_eq!(scene.counted("apiserver_audit_event_total").await, 100);
    assert_eq!(scene.counted("apiserver_audit_level_total{level=\"Metadata\"}").await, 100);
    assert_eq!(scene.counted(LOST_ON_THE_WAY).await + scene.counted(LOST_WAITING).await, 0);
}

/// One that never answers, and one that never ends its answer: requests go on; what waits, and how many connections there are, is bounded.
#[tokio::test]
async fn who_hangs_costs_a_bounded_amount() {
    for path in ["hang", "trickle"] {
        let hook = Hook::new("127.0.0.1").await;
        let url = format!("https://{}/{path}", hook.address);
        let scene = Scene::new(&url, &hook.authority, AuditMode::Batch, batch(50, 10)).await;
        for number in 0..1000 {
            assert_eq!(scene.ask(number).await, StatusCode::NOT_FOUND, "{path}");
        }
        // Sixteen batches of ten are under way, one waits for its turn, fifty events wait in the queue.
        let lost = scene.counted(LOST_WAITING).await;
        assert!((1000 - 50 - 17 * 10..1000).contains(&lost), "{path}: {lost} are lost");
        assert!(hook.connections() <= 16, "{path}: {} connections", hook.connections());
    }
}

/// One that refuses is tried five times, then what it did not take is lost and told of; it gets what comes later.
#[tokio::test]
async fn who_refuses_is_tried_again_and_then_passed_over() {
    let hook = Hook::new("127.0.0.1").await;
    let url = format!("https://{}/broken", hook.address);
    let scene = Scene::new(&url, &hook.authority, AuditMode::Batch, batch(1000, 10)).await;
    for number in 0..10 {
        assert_eq!(scene.ask(number).await, StatusCode::NOT_FOUND);
    }
    scene.until(LOST_ON_THE_WAY, 10).await;
    let tried = hook.asked("/broken");
    assert!(tried.len() >= 5 && tried.len().is_multiple_of(5), "{} tries", tried.len());
    hook.publish("/broken", &json!({}));
    scene.ask(10).await;
    let arriving = async {
        while !hook.asked("/broken").iter().any(|list| list.to_string().contains("none-10\"")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arriving).await.expect("it is asked again");
    assert_eq!(scene.counted(LOST_ON_THE_WAY).await, 10);
}

/// Where nobody listens, or somebody with another certificate: the mode says whether requests are refused.
#[tokio::test]
async fn what_must_be_sent_and_cannot_be_is_refused() {
    let (hook, other) = (Hook::new("127.0.0.1").await, Hook::new("127.0.0.1").await);
    hook.publish("/events", &json!({}));
    let nobody = format!("https://127.0.0.1:{}", skiff_harness::free_port());
    for url in [nobody, format!("https://{}/events", hook.address)] {
        let strict = Scene::new(&url, &other.authority, AuditMode::BlockingStrict, batch(10, 1)).await;
        assert_eq!(strict.ask(0).await, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(strict.counted(LOST_ON_THE_WAY).await, 1, "{url}");
        assert_eq!(strict.counted("apiserver_audit_requests_rejected_total").await, 1, "{url}");
        let lenient = Scene::new(&url, &other.authority, AuditMode::Blocking, batch(10, 1)).await;
        assert_eq!(lenient.ask(0).await, StatusCode::NOT_FOUND);
        assert_eq!(lenient.counted(LOST_ON_THE_WAY).await, 1, "{url}");
    }
    assert_eq!(hook.asked("/events").len(), 0, "nobody is told who cannot say who he is");
}
