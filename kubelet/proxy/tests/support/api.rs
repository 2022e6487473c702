//! As much of an API server as a watcher needs: lists, and a stream of changes.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::routing::get;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

/// The objects, and who waits for their changes.
#[derive(Clone)]
pub(crate) struct FakeApi {
    services: Kind,
    slices: Kind,
    pub(crate) events: Arc<Mutex<Vec<Value>>>,
}

#[derive(Clone)]
struct Kind {
    name: &'static str,
    version: &'static str,
    known: Arc<Mutex<Known>>,
    changes: broadcast::Sender<String>,
}

/// What there is, and all that ever changed: the resource version is how many changes there were.
#[derive(Default)]
struct Known {
    objects: BTreeMap<String, Value>,
    history: Vec<String>,
}

impl Kind {
    fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version, known: Arc::default(), changes: broadcast::channel(4096).0 }
    }

    fn put(&self, mut object: Value) {
        let mut known = self.known.lock().expect("not poisoned");
        object["kind"] = json!(self.name);
        object["apiVersion"] = json!(self.version);
        object["metadata"]["resourceVersion"] = json!((known.history.len() + 1).to_string());
        let name = object["metadata"]["name"].as_str().expect("it has a name").to_owned();
        let before = known.objects.insert(name, object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        known.history.push(line.clone());
        let _nobody_watches = self.changes.send(line);
    }

    fn list(&self) -> Body {
        let known = self.known.lock().expect("not poisoned");
        let items: Vec<_> = known.objects.values().collect();
        let list = json!({"kind": format!("{}List", self.name), "apiVersion": self.version,
            "metadata": {"resourceVersion": known.history.len().to_string()}, "items": items});
        Body::from(list.to_string())
    }

    /// What changed after `version`, and then what changes.
    fn watch(&self, version: usize) -> Body {
        let known = self.known.lock().expect("not poisoned");
        let missed: Vec<_> = known.history.iter().skip(version).cloned().map(Ok).collect();
        let changes = BroadcastStream::new(self.changes.subscribe());
        let lines = futures::stream::iter(missed).chain(changes);
        Body::from_stream(lines.map(|line| line.map(Bytes::from)))
    }
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        let (services, slices) = (Kind::new("Service", "v1"), Kind::new("EndpointSlice", "discovery.k8s.io/v1"));
        Self { services, slices, events: Arc::default() }
    }

    /// A service `name` in namespace `default`.
    pub(crate) fn service(&self, name: &str, spec: Value) {
        self.services.put(json!({"metadata": {"namespace": "default", "name": name}, "spec": spec}));
    }

    /// The only slice of a service: ports as in the API, and ready addresses.
    pub(crate) fn endpoints(&self, service: &str, ports: Value, addresses: &[String]) {
        let endpoints: Vec<_> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
        self.slices.put(json!({
            "metadata": {"namespace": "default", "name": format!("{service}-1"),
                "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints
        }));
    }

    pub(crate) fn client(&self) -> kube::Client {
        let list = |kind: Kind| {
            get(|State(kind): State<Kind>, Query(query): Query<HashMap<String, String>>| async move {
                let version = query.get("resourceVersion").and_then(|version| version.parse().ok());
                match query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
                    true => kind.watch(version.unwrap_or_default()),
                    false => kind.list(),
                }
            })
            .with_state(kind)
        };
        let events = Arc::clone(&self.events);
        let record = axum::routing::post(|State(events): State<Arc<Mutex<Vec<Value>>>>, body: Bytes| async move {
            events.lock().expect("not poisoned").push(serde_json::from_slice(&body).expect("an event"));
            body
        });
        let router = Router::new()
            .route("/api/v1/services", list(self.services.clone()))
            .route("/apis/discovery.k8s.io/v1/endpointslices", list(self.slices.clone()))
            .route("/api/v1/namespaces/default/events", record.with_state(events));
        kube::Client::new(router, "default")
    }
}
