//! What the audit log says: the same as a real kube-apiserver's of the same requests, and more where ours promises more.
//!
//! `audit/cases.jsonl` holds requests, one after another, and the events that kube-apiserver 1.36.2 made of each under `audit/policy.yaml`
//! (default flags, `Node,RBAC`, asked by an administrator), without times and ids.

#![allow(clippy::unwrap_used)]

mod common;

use axum::body::{Body, to_bytes};
use common::World;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Map, Value, json};
use skiff_apiserver::{Audit, AuditBatch, AuditLog, AuditMode, Rotation};
use skiff_client::Identity;
use skiff_proto::api::v1::objects_client::ObjectsClient;
use skiff_proto::api::v1::{Address, GetRequest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tower::ServiceExt;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit");
/// Fields that every server makes up for itself.
const OWN: [&str; 6] = ["uid", "resourceVersion", "creationTimestamp", "time", "managedFields", "token"];

fn log(path: PathBuf) -> AuditLog {
    let batch = AuditBatch { events_max: 10_000, size_max: 1, wait: Duration::ZERO, throttle: None };
    let rotation = Rotation { bytes_max: 0, files_max: 0, days_max: 0, compress: false };
    AuditLog { path, legacy: false, mode: AuditMode::Blocking, batch, limits: None, rotation }
}

/// A server that records under `policy`, and where.
async fn recorded(policy: &Path) -> (World, PathBuf) {
    let mut world = World::new().await;
    let path = world.folder.path().join("audit.log");
    let mut audit = Audit::read(policy).unwrap();
    audit.log = Some(log(path.clone()));
    world.server = world.server.clone().audited(&audit).await.unwrap();
    (world, path)
}

fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn administrator() -> Identity {
    Identity { user: "admin".to_owned(), groups: vec!["system:masters".to_owned()], ..Identity::default() }
}

fn asked(case: &Value, id: &str) -> Request<Body> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    let said = case["headers"].as_object().into_iter().flatten();
    headers.extend(
        [("User-Agent", "case"), ("X-Forwarded-For", "203.0.113.7")]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    headers.extend(said.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())));
    let body = match &case["body"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if !body.is_empty() {
        headers.entry("Content-Type".to_owned()).or_insert("application/json".to_owned());
    }
    let anonymous = headers.remove("anonymous").is_some();
    let mut request = Request::builder()
        .method(case["method"].as_str().unwrap())
        .uri(case["path"].as_str().unwrap())
        .header("audit-id", id);
    for (key, value) in &headers {
        request = request.header(key, value);
    }
    let mut request = request.body(Body::from(body)).unwrap();
    if !anonymous {
        request.extensions_mut().insert(administrator());
    }
    request
}

async fn send(world: &World, request: Request<Body>) -> (StatusCode, HeaderMap) {
    let (parts, body) = world.server.router().oneshot(request).await.unwrap().into_parts();
    to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers)
}

/// An event without what differs from one server to another.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, value)| !OWN.contains(&key.as_str()) && !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), normal(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(normal).collect(),
        other => other.clone(),
    }
}

/// How `ours` differs from `theirs`, by place.
fn differences(theirs: &Value, ours: &Value, at: &str, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let value = |of: &Map<String, Value>| of.get(key).cloned().unwrap_or_default();
                differences(&value(one), &value(other), &format!("{at}.{key}"), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(one, other, &format!("{at}[{index}]"), found);
            }
        }
        (one, other) if one == other => {}
        (one, other) => found.push(format!("{at}: {one} → {other}")),
    }
}

/// Differences that are meant: part of a request or `*`, part of the difference, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("dryRun=All", "metadata.name", "the server makes the name up"),
    ("HEAD", "", "HEAD is answered like GET"),
    ("15 PUT", "message", "another sentence about another uid"),
    ("19 PATCH", "", "another sentence, and no details, about the content type"),
    ("20 POST", "message", "the parser of JSON is another one"),
    ("21 POST", "message", "the sentence about names is shorter"),
    ("DELETE", "requestObject.apiVersion", "DeleteOptions have the version that clients know, not an internal one"),
    ("36 POST", "issued-credential-id", "a number of the server's own"),
    ("39 GET", "", "a log without a kubelet: the same refusal with another code"),
    ("40 GET", "message", "that it is no upgrade is seen first"),
    ("49 GET", "", "a revision that is none is the client's mistake"),
    ("50 GET", "", "the old form of watches is not served"),
    ("55 GET", "events[0].responseStatus.", "a path that is not there is told of by a Status"),
    ("57 GET", "events[0].responseStatus.", "a path that is not there is told of by a Status"),
    ("61 GET", "authenticationMetadata", "there is no constrained impersonation"),
    ("62 GET", "authenticationMetadata", "there is no constrained impersonation"),
    ("64 GET", "message", "another sentence about a group without a user"),
];

fn ours(path: &Path, id: &str) -> Vec<Value> {
    let of_case = events(path).into_iter().filter(|event| event["auditID"] == *id);
    let mut events: Vec<Value> = of_case.map(|event| normal(&event)).collect();
    for event in &mut events {
        for key in ["requestReceivedTimestamp", "stageTimestamp", "auditID", "kind", "apiVersion", "requestURI"] {
            event.as_object_mut().unwrap().remove(key);
        }
        let annotations = event["annotations"].as_object_mut().unwrap();
        annotations.remove("audit.skiff.dev/chain");
        if annotations.is_empty() {
            event.as_object_mut().unwrap().remove("annotations");
        }
        // These requests come from this process.
        event["sourceIPs"].as_array_mut().unwrap().push("127.0.0.1".into());
    }
    events
}

#[tokio::test]
async fn events_equal_those_of_a_real_server() {
    let (world, path) = recorded(&Path::new(HERE).join("policy.yaml")).await;
    let cases = std::fs::read_to_string(Path::new(HERE).join("cases.jsonl")).unwrap();
    let mut wrong = Vec::new();
    let mut used = vec![false; EXCEPTIONS.len()];
    for (at, line) in cases.lines().enumerate() {
        let case: Value = serde_json::from_str(line).unwrap();
        let id = format!("case-{at}");
        let (code, headers) = send(&world, asked(&case, &id)).await;
        assert_eq!(headers["audit-id"], *id);
        let shown = format!("{at} {} {}", case["method"].as_str().unwrap(), case["path"].as_str().unwrap());
        let mut found = Vec::new();
        differences(&case["code"], &code.as_u16().into(), "code", &mut found);
        let theirs: Vec<Value> = case["events"].as_array().unwrap().iter().map(normal).collect();
        differences(&json!(theirs), &json!(ours(&path, &id)), "events", &mut found);
        found.retain(|difference| {
            let meant = |(request, part, _): &&(&str, &str, &str)| {
                (*request == "*" || shown.contains(request)) && difference.contains(part)
            };
            let meant = EXCEPTIONS.iter().position(|row| meant(&row));
            meant.inspect(|at| used[*at] = true).is_none()
        });
        wrong.extend(found.into_iter().map(|difference| format!("{shown}\n    {difference}")));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    let unused: Vec<_> = EXCEPTIONS.iter().zip(&used).filter(|(_, used)| !**used).map(|(row, _)| row).collect();
    assert!(unused.is_empty(), "nothing differs so any more: {unused:?}");
}

fn policy_file(folder: &Path, rules: &Value) -> PathBuf {
    let path = folder.join("policy.json");
    let policy = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules});
    std::fs::write(&path, policy.to_string()).unwrap();
    path
}

/// What is in a secret never stands in the log at Metadata, whoever writes it and however; nor do tokens.
#[tokio::test]
async fn bodies_of_secrets_stay_out_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (world, path) = recorded(&policy_file(folder.path(), &json!([{"level": "Metadata"}]))).await;
    let marks: Vec<String> = (0..20).map(|at| format!("planted-{at}-{}", std::process::id())).collect();
    let secrets = "/api/v1/namespaces/default/secrets";
    for (at, mark) in marks.iter().enumerate() {
        let name = format!("s{at}");
        world.must("POST", secrets, &json!({"metadata": {"name": name}, "stringData": {"a": mark}})).await;
        world.get(&format!("{secrets}/{name}")).await;
        let patch = json!({"stringData": {"b": mark}}).to_string();
        world.ask("PATCH", &format!("{secrets}/{name}"), "application/merge-patch+json", &patch).await;
        world.ask("POST", secrets, "application/json", &format!("{{\"stringData\": {mark}")).await;
        world.delete(&format!("{secrets}/{name}"), &json!({})).await;
    }
    let token = world.post("/api/v1/namespaces/default/serviceaccounts/default/token", &json!({"spec": {}})).await.1;
    let token = token["status"]["token"].as_str().unwrap().to_owned();
    world.post("/apis/authentication.k8s.io/v1/tokenreviews", &json!({"spec": {"token": token}})).await;
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.lines().count() > 100, "{}", text.lines().count());
    for mark in marks.iter().chain([&token]) {
        assert!(!text.contains(mark.as_str()), "{mark} stands in the log");
    }
}

/// A watch is recorded when it begins and when it ends.
#[tokio::test]
async fn what_lasts_is_recorded_twice() {
    let folder = tempfile::tempdir().unwrap();
    let rules = json!([{"level": "Metadata", "omitStages": ["RequestReceived"], "verbs": ["watch"]}]);
    let (world, path) = recorded(&policy_file(folder.path(), &rules)).await;
    let request = common::request("GET", "/api/v1/namespaces/default/configmaps?watch=true", "", "");
    let response = world.server.router().oneshot(request).await.unwrap();
    let stages = || events(&path).iter().map(|event| event["stage"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(stages(), ["ResponseStarted"]);
    drop(response);
    assert_eq!(stages(), ["ResponseStarted", "ResponseComplete"]);
}

/// Who goes away before the answer is there is recorded too.
#[tokio::test]
async fn a_client_that_goes_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let rules = json!([{"level": "Metadata", "omitStages": ["RequestReceived"]}]);
    let (world, path) = recorded(&policy_file(folder.path(), &rules)).await;
    let request = common::request("POST", "/api/v1/namespaces/default/configmaps", "application/json", "{}");
    let (parts, _) = request.into_parts();
    let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let asked = world.server.router().oneshot(Request::from_parts(parts, never));
    assert!(tokio::time::timeout(Duration::from_millis(100), asked).await.is_err(), "the body never ends");
    let [event] = &events(&path)[..] else { panic!("one event") };
    assert_eq!(event["responseStatus"]["message"], "Connection closed early");
}

/// Where arrivals must be recorded and cannot be, nothing is done.
#[tokio::test]
async fn what_cannot_be_recorded_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy_file(folder.path(), &json!([{"level": "Metadata"}]));
    for (mode, expected) in [(AuditMode::BlockingStrict, 500), (AuditMode::Blocking, 200), (AuditMode::Batch, 200)] {
        let world = World::new().await;
        let mut audit = Audit::read(&policy).unwrap();
        audit.log = Some(AuditLog { mode, ..log("/dev/full".into()) });
        let server = world.server.clone().audited(&audit).await.unwrap();
        let (code, _) = common::send(server.router(), common::request("GET", "/api/v1/namespaces", "", "")).await;
        assert_eq!(code.as_u16(), expected, "{mode:?}");
    }
}

/// A rule about a resource holds for calls over gRPC too, and says how they end.
#[tokio::test]
async fn calls_are_recorded_by_what_their_messages_name() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = json!({"level": "Metadata", "resources": [{"resources": ["secrets"]}]});
    let (world, path) = recorded(&policy_file(folder.path(), &json!([secrets]))).await;
    let server = world.server.router().map_request(|mut request: Request<tonic::body::Body>| {
        request.extensions_mut().insert(administrator());
        request
    });
    let mut objects = ObjectsClient::with_origin(server, "https://skiff".parse().unwrap());
    let get = |resource: &str| {
        let address = Address {
            version: "v1".into(),
            resource: resource.into(),
            namespace: "default".into(),
            name: "none".into(),
            ..Address::default()
        };
        GetRequest { address: Some(address) }
    };
    objects.get(get("configmaps")).await.expect_err("there is none");
    objects.get(get("secrets")).await.expect_err("there is none");
    let told: Vec<Value> = events(&path);
    let stages: Vec<&str> = told.iter().filter_map(|event| event["stage"].as_str()).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
    let end = &told[1];
    assert_eq!((&end["verb"], &end["objectRef"]["name"]), (&json!("get"), &json!("none")), "{end}");
    assert_eq!((&end["responseStatus"]["code"], &end["responseStatus"]["reason"]), (&json!(404), &json!("NotFound")));
    assert_eq!(end["annotations"]["authorization.k8s.io/decision"], "allow");
}

/// What recording costs, with `SKIFF_BENCH=1`: microseconds of a read without and with it.
#[tokio::test]
async fn costs() {
    if std::env::var_os("SKIFF_BENCH").is_none() {
        return skiff_harness::skip("figures are measured with SKIFF_BENCH=1");
    }
    let folder = tempfile::tempdir().unwrap();
    let policy = policy_file(folder.path(), &json!([{"level": "Metadata"}]));
    let (recorded, _) = recorded(&policy).await;
    let plain = World::new().await;
    for round in 0..3 {
        for (name, world) in [("without", &plain), ("recorded", &recorded)] {
            let begin = std::time::Instant::now();
            for _ in 0..2000 {
                assert_eq!(world.get("/api/v1/namespaces/default").await.0, StatusCode::OK);
            }
            let micros = begin.elapsed().as_micros() / 2000;
            eprintln!("round {round}: {micros} µs a read {name}");
        }
    }
}
