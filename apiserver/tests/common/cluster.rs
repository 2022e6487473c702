//! A server with controllers on it.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use crate::common::World;
use http::{Method, Request};
use serde_json::{Value, json};
use skiff_authn::key::SigningKey;
use skiff_client::{Identity, USES};
use skiff_controllers::Trust;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// Stands for the certificate of the authority.
pub(crate) const AUTHORITY: &str = "the authority's certificate";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: &str = "application/merge-patch+json";

/// A server with controllers on it.
pub(crate) struct Cluster {
    pub(crate) world: World,
    /// Verb, group and resource of every request that the controllers made.
    asked: Arc<Mutex<BTreeSet<(String, String, String)>>>,
    /// Every list that they asked for: where, in which form.
    lists: Arc<Mutex<Vec<String>>>,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let asked: Arc<Mutex<BTreeSet<(String, String, String)>>> = Arc::default();
        let lists: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, mut router) = (asked.clone(), world.server.router().into_service::<kube::client::Body>());
        let listed = lists.clone();
        let recorded = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (uri, accept) = (request.uri().to_string(), request.headers().get("accept").cloned());
            let meant = meaning(request.method(), &uri);
            if meant.as_ref().is_some_and(|(verb, ..)| verb == "list") {
                listed.lock().expect("not poisoned").push(format!("{uri} {accept:?}"));
            }
            log.lock().expect("not poisoned").extend(meant);
            router.call(request)
        });
        let client = skiff_client::in_process(recorded, Identity::controller_manager());
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        let signer = SigningKey::from_pem(world.pki.service_account_key()).expect("a key");
        let trust = Trust { authority: Some(AUTHORITY.into()), signer: Some(Arc::new(signer)), ..Trust::default() };
        let running = tokio::spawn(async move {
            let caches = skiff_client::Caches::new(client.clone());
            skiff_controllers::run(client.into(), caches, trust, until).await.expect("controllers run")
        });
        Self { world, asked, lists, shutdown, running }
    }

    /// Asks until `wanted` is content with the answer.
    pub(crate) async fn until(&self, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..6000 {
            last = self.world.get(path).await.1;
            if wanted(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path}: does not {what}: {last}");
    }

    pub(crate) async fn until_gone(&self, path: &str) {
        self.until(path, "go", |answer| answer["reason"] == "NotFound").await;
    }

    pub(crate) async fn patch(&self, path: &str, change: Value) -> Value {
        let (code, answer) = self.world.ask("PATCH", path, MERGE, &change.to_string()).await;
        assert!(code.is_success(), "PATCH {path}: {answer}");
        answer
    }

    /// Makes a node that is ready.
    pub(crate) async fn node(&self, name: &str, labels: Value) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
        self.world.must("POST", "/api/v1/nodes", &node).await;
        // As long as a node has not said anything, it is not ready, and no pod is made on it.
        let conditions = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z",
            "reason": "r", "message": "m"}]);
        self.patch(&format!("/api/v1/nodes/{name}/status"), json!({"status": {"conditions": conditions}})).await;
    }

    /// Makes all pods run and be ready that do not yet.
    pub(crate) async fn run_pods(&self) {
        let pods = self.world.get(PODS).await.1;
        for pod in pods["items"].as_array().into_iter().flatten().filter(|pod| pod["status"]["phase"] == "Pending") {
            let path = format!("{PODS}/{}/status", pod["metadata"]["name"].as_str().expect("a name"));
            let conditions = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
            let status = json!({"status": {"phase": "Running", "conditions": conditions}});
            // It may have been deleted meanwhile.
            let _code = self.world.ask("PATCH", &path, MERGE, &status.to_string()).await;
        }
    }

    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        self.running.await.expect("controllers end");
        let listed = |verb: &str, group: &str, resource: &str| {
            let mut uses = USES.iter().filter(|one| one.by == "controllers");
            uses.any(|one| {
                let same =
                    (one.group, one.resource) == (group, resource) || one.group == "*" && !resource.contains('/');
                same && one.verbs.contains(&verb)
            })
        };
        let mut lists = self.lists.lock().expect("not poisoned").clone();
        // What is left in a namespace that goes has to be asked of the server, which pods use a claim that goes, and what metrics
        // say now; all else is asked once and followed.
        let live = ["/namespaces/late/", "/api/v1/namespaces/default/pods?", ".metrics.k8s.io/", "/metrics.k8s.io/"];
        lists.retain(|uri| !live.iter().any(|part| uri.contains(part)));
        assert!(!lists.iter().any(|uri| uri.contains("/namespaces/")), "nobody lists in a reconciliation: {lists:#?}");
        let all = lists.len();
        lists.sort();
        lists.dedup();
        assert_eq!(lists.len(), all, "nothing is listed twice: {lists:#?}");
        for (verb, group, resource) in &*self.asked.lock().expect("not poisoned") {
            assert!(listed(verb, group, resource), "{verb} {group}/{resource} is not in the list of uses");
        }
    }
}

/// Verb, group and resource of a request about objects.
fn meaning(method: &Method, uri: &str) -> Option<(String, String, String)> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let path = path.split_once("://").map_or(path, |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match &segments[..] {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let rest = match rest {
        ["namespaces", _, part @ ("finalize" | "status")] => {
            return Some(("update".into(), group.into(), format!("namespaces/{part}")));
        }
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, one) = match rest {
        [] | [""] => return None,
        [plural] => ((*plural).to_owned(), false),
        [plural, _] => ((*plural).to_owned(), true),
        [plural, _, part, ..] => (format!("{plural}/{part}"), true),
    };
    let verb = match *method {
        Method::GET if query.contains("watch=true") => "watch",
        Method::GET if one => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        _ => "delete",
    };
    Some((verb.to_owned(), group.to_owned(), resource))
}
