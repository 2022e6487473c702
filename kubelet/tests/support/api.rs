//! An API server in memory: enough of REST for one kubelet. It stores any resource, watches, merges patches (conditions
//! by type) and deletes pods gracefully. No admission, no validation.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

type Key = (String, String, String);

#[derive(Default)]
struct Objects {
    revision: u64,
    now: BTreeMap<Key, Value>,
    log: Vec<(u64, &'static str, Value, Key)>,
}

/// The server; clones share the objects.
#[derive(Clone)]
pub(crate) struct Api {
    objects: Arc<Mutex<Objects>>,
    changed: watch::Sender<u64>,
}

struct Target {
    resource: String,
    namespace: String,
    name: Option<String>,
}

fn target(path: &str) -> Target {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let rest = if parts[0] == "api" { &parts[2..] } else { &parts[3..] };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => ((*namespace).to_owned(), rest),
        rest => (String::new(), rest),
    };
    Target { resource: rest[0].to_owned(), namespace, name: rest.get(1).map(|name| (*name).to_owned()) }
}

fn failure(code: StatusCode, reason: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason,
        "code": code.as_u16()});
    (code, axum::Json(body)).into_response()
}

fn merge(into: &mut Value, patch: &Value) {
    let (Value::Object(into), Value::Object(patch)) = (&mut *into, patch) else {
        *into = patch.clone();
        return;
    };
    for (key, value) in patch {
        match (value, into.get_mut(key)) {
            (Value::Null, _) => drop(into.remove(key)),
            (Value::Array(new), Some(Value::Array(old))) if key == "conditions" => {
                for condition in new {
                    old.retain(|known| known["type"] != condition["type"]);
                    old.push(condition.clone());
                }
            }
            (value, Some(old)) => merge(old, value),
            // Directives are not stored, wherever they are in what is new.
            (Value::Object(_), None) => merge(into.entry(key.clone()).or_insert_with(|| json!({})), value),
            (value, None) => drop(into.insert(key.clone(), value.clone())),
        }
        if let Some(Value::Array(list)) = into.get_mut(key) {
            list.retain(|element| element["$patch"] != "replace");
        }
    }
}

impl Api {
    pub(crate) fn new() -> Self {
        Self { objects: Arc::default(), changed: watch::Sender::new(0) }
    }

    /// A client of this server.
    pub(crate) fn client(&self) -> kube::Client {
        let router = Router::new().fallback(serve).with_state(self.clone());
        skiff_client::in_process(router, skiff_client::Identity::node("test"))
    }

    fn write(&self, kind: &'static str, key: &Key, mut object: Value) -> Value {
        let mut objects = self.objects.lock().unwrap();
        objects.revision += 1;
        let revision = objects.revision;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        if kind == "DELETED" {
            objects.now.remove(key);
        } else {
            objects.now.insert(key.clone(), object.clone());
        }
        objects.log.push((revision, kind, object.clone(), key.clone()));
        self.changed.send_replace(revision);
        object
    }

    fn get(&self, key: &Key) -> Option<Value> {
        self.objects.lock().unwrap().now.get(key).cloned()
    }

    fn list(&self, target: &Target, query: &str) -> Response {
        let objects = self.objects.lock().unwrap();
        let items: Vec<_> =
            objects.now.iter().filter(|(key, object)| matches(key, object, target, query)).map(|(_, o)| o).collect();
        let meta = json!({"resourceVersion": objects.revision.to_string()});
        axum::Json(json!({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items})).into_response()
    }

    fn watch(&self, target: Target, query: String) -> Response {
        let from = parameter(&query, "resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        let (api, changed) = (self.clone(), self.changed.subscribe());
        let stream = futures::stream::unfold((from, changed), move |(mut seen, mut changed)| {
            let (api, query) = (api.clone(), query.clone());
            let target = Target {
                name: target.name.clone(),
                resource: target.resource.clone(),
                namespace: target.namespace.clone(),
            };
            async move {
                loop {
                    changed.borrow_and_update();
                    let mut out = String::new();
                    let (objects, before) = (api.objects.lock().unwrap().log.clone(), seen);
                    for (revision, kind, object, key) in objects.iter().filter(|entry| entry.0 > before) {
                        seen = *revision;
                        if matches(key, object, &target, &query) {
                            out += &format!("{}\n", json!({"type": kind, "object": object}));
                        }
                    }
                    if !out.is_empty() {
                        return Some((Ok::<_, std::io::Error>(Bytes::from(out)), (seen, changed)));
                    }
                    changed.changed().await.ok()?;
                }
            }
        });
        Response::new(Body::from_stream(stream))
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn matches(key: &Key, object: &Value, target: &Target, query: &str) -> bool {
    let place = key.0 == target.resource && (target.namespace.is_empty() || key.1 == target.namespace);
    let node = query.split("spec.nodeName%3D").nth(1).map(|rest| rest.split('&').next().unwrap_or_default());
    let name = query.split("metadata.name%3D").nth(1).map(|rest| rest.split('&').next().unwrap_or_default());
    place && node.is_none_or(|node| object["spec"]["nodeName"] == node) && name.is_none_or(|name| key.2 == name)
}

async fn serve(State(api): State<Api>, method: Method, uri: Uri, body: Bytes) -> Response {
    let (target, query) = (target(uri.path()), uri.query().unwrap_or_default().to_owned());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(name) = target.name.clone() else {
        return match method {
            Method::POST => create(&api, &target, body),
            _ if parameter(&query, "watch") == Some("true") => api.watch(target, query),
            _ => api.list(&target, &query),
        };
    };
    let key = (target.resource, target.namespace, name);
    let Some(object) = api.get(&key) else { return failure(StatusCode::NOT_FOUND, "NotFound") };
    match method {
        Method::GET => axum::Json(object).into_response(),
        Method::PATCH => patch(&api, &key, object, &body),
        Method::DELETE => delete(&api, &key, object, &body),
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

fn create(api: &Api, target: &Target, mut object: Value) -> Response {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let key = (target.resource.clone(), target.namespace.clone(), name);
    if api.get(&key).is_some() {
        return failure(StatusCode::CONFLICT, "AlreadyExists");
    }
    object["metadata"]["uid"] = json!(uuid::Uuid::new_v4().to_string());
    if !target.namespace.is_empty() {
        object["metadata"]["namespace"] = json!(target.namespace);
    }
    (StatusCode::CREATED, axum::Json(api.write("ADDED", &key, object))).into_response()
}

fn patch(api: &Api, key: &Key, mut object: Value, patch: &Value) -> Response {
    let uid = &patch["metadata"]["uid"];
    if !uid.is_null() && *uid != object["metadata"]["uid"] {
        return failure(StatusCode::CONFLICT, "Conflict");
    }
    merge(&mut object, patch);
    axum::Json(api.write("MODIFIED", key, object)).into_response()
}

fn delete(api: &Api, key: &Key, mut object: Value, options: &Value) -> Response {
    let uid = &options["preconditions"]["uid"];
    if !uid.is_null() && *uid != object["metadata"]["uid"] {
        return failure(StatusCode::CONFLICT, "Conflict");
    }
    let grace = options["gracePeriodSeconds"].as_i64().or(object["spec"]["terminationGracePeriodSeconds"].as_i64());
    if key.0 == "pods" && grace != Some(0) {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["deletionGracePeriodSeconds"] = json!(grace.unwrap_or(30));
        return axum::Json(api.write("MODIFIED", key, object)).into_response();
    }
    axum::Json(api.write("DELETED", key, object)).into_response()
}
