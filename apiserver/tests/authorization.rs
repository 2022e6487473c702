//! Who is asked: chains that a file names, with a webhook among them.

mod common;

use axum::{Json, Router};
use common::{World, request, send};
use http::StatusCode;
use serde_json::{Value, json};
use skiff_apiserver::{ApiServer, Authorization};
use skiff_client::Identity;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A webhook that answers what `decide` makes of a question, and what it was asked.
async fn webhook(decide: fn(&Value) -> Value) -> (String, Arc<Mutex<Vec<Value>>>) {
    let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
    let questions = asked.clone();
    let answer = move |Json(review): Json<Value>| {
        questions.lock().expect("not poisoned").push(review["spec"].clone());
        let status = decide(&review["spec"]);
        async move { Json(json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "status": status})) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let router = Router::new().route("/authorize", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/authorize"), asked)
}

/// A configuration with these modes, where `Webhook` is the one at `url`.
fn configuration(folder: &Path, modes: &[&str], url: &str, failure_policy: &str) -> PathBuf {
    let kubeconfig = folder.join("webhook.kubeconfig");
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "k", "cluster": {"server": url}}], "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]});
    std::fs::write(&kubeconfig, text.to_string()).expect("written");
    let hook = json!({"timeout": "1s", "authorizedTTL": "1m", "unauthorizedTTL": "1m", "subjectAccessReviewVersion": "v1",
        "failurePolicy": failure_policy, "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig}});
    let link = |mode: &&str| match *mode {
        "Webhook" => json!({"type": "Webhook", "name": "hook", "webhook": hook}),
        mode => json!({"type": mode, "name": mode.to_lowercase()}),
    };
    let authorizers: Vec<Value> = modes.iter().map(link).collect();
    let path = folder.join("authorization.yaml");
    let text = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers});
    std::fs::write(&path, text.to_string()).expect("written");
    path
}

async fn served(world: &World, path: PathBuf) -> ApiServer {
    world.server.clone().authorized_by(&Authorization::File(path)).await.expect("a chain")
}

async fn ask(server: &ApiServer, user: &str, path: &str) -> (StatusCode, String) {
    let mut request = request("GET", path, "", "");
    let groups = if user == "admin" { vec!["system:masters".to_owned()] } else { Vec::new() };
    request.extensions_mut().insert(Identity { user: user.to_owned(), groups, ..Identity::default() });
    let (code, answer) = send(server.router(), request).await;
    (code, answer["message"].as_str().unwrap_or_default().to_owned())
}

const PODS: &str = "/api/v1/namespaces/a/pods?fieldSelector=spec.nodeName%3Dn";

#[tokio::test]
async fn a_webhook_is_asked_what_roles_do_not_allow() {
    let world = World::new().await;
    let (url, asked) = webhook(|spec| match spec["user"].as_str() {
        Some("friend") => json!({"allowed": true}),
        Some("foe") => json!({"allowed": false, "denied": true, "reason": "never"}),
        _ => json!({"allowed": false, "reason": "not known here"}),
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let server = served(&world, configuration(folder.path(), &["Node", "Webhook", "RBAC"], &url, "Deny")).await;
    assert_eq!(ask(&server, "friend", PODS).await.0, StatusCode::OK);
    assert_eq!(ask(&server, "friend", PODS).await.0, StatusCode::OK);
    assert_eq!(asked.lock().expect("not poisoned").len(), 1, "the answer holds");
    let question = asked.lock().expect("not poisoned")[0].clone();
    let selector = json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]});
    assert_eq!(
        question,
        json!({"user": "friend", "groups": ["system:authenticated"], "resourceAttributes": {"namespace": "a",
        "verb": "list", "version": "v1", "resource": "pods", "fieldSelector": selector}})
    );
    // A no is final; no opinion leaves it to roles, which let everybody who is known read discovery.
    let (code, message) = ask(&server, "foe", "/api").await;
    assert!(code == StatusCode::FORBIDDEN && message.ends_with(": never"), "{message}");
    assert_eq!(ask(&server, "stranger", "/api").await.0, StatusCode::OK);
    assert!(ask(&server, "stranger", PODS).await.1.ends_with(": not known here"));
    // Administrators get in whatever webhooks say.
    let before = asked.lock().expect("not poisoned").len();
    assert_eq!(ask(&server, "admin", PODS).await.0, StatusCode::OK);
    assert_eq!(asked.lock().expect("not poisoned").len(), before);
}

#[tokio::test]
async fn a_webhook_that_is_silent_or_talks_nonsense_stops_nobody_for_long() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (nonsense, _) = webhook(|_| json!("yes")).await;
    for (policy, code) in [("Deny", StatusCode::INTERNAL_SERVER_ERROR), ("NoOpinion", StatusCode::OK)] {
        let server = served(&world, configuration(folder.path(), &["Webhook", "RBAC"], &nonsense, policy)).await;
        assert_eq!(ask(&server, "u", "/api").await.0, code, "{policy}");
    }
}

#[tokio::test]
async fn modes_are_what_they_are_called() {
    let world = World::new().await;
    let by = async |modes: &str| world.server.clone().authorized_by(&Authorization::Modes(modes.to_owned())).await;
    let server = by("AlwaysAllow").await.expect("a chain");
    assert_eq!(ask(&server, "u", PODS).await.0, StatusCode::OK);
    let server = by("AlwaysDeny").await.expect("a chain");
    assert!(ask(&server, "u", "/api").await.1.ends_with(": Everything is forbidden."));
    assert_eq!(ask(&server, "admin", PODS).await.0, StatusCode::OK);
    assert!(by("ABAC").await.is_err());
}
