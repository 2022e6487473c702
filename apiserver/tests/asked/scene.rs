//! A namespace with a few objects, a request about them, and what was seen of it.

use crate::common::{World, request};
use axum::body::{Body, to_bytes};
use futures::{StreamExt, TryStreamExt};
use http::{HeaderName, HeaderValue, Request, Response, header};
use serde_json::{Value, json};
use skiff_apiserver::asked::{Place, Row};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use tower::ServiceExt;

static NAMESPACES: AtomicU32 = AtomicU32::new(0);

/// What came of a request, without what differs from one to the next anyway.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) code: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The objects of the namespace afterwards.
    state: String,
}

/// A request that is ready to be made.
pub(crate) struct Scene {
    verb: String,
    namespace: String,
    method: &'static str,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Scene {
    /// Makes the objects, and the request for `verb` with what stands `beside` the thing that is tried.
    pub(crate) async fn set(world: &World, verb: &str, beside: &[(Place, &str, &str)]) -> Self {
        let namespace = format!("scene-{}", NAMESPACES.fetch_add(1, Ordering::Relaxed));
        let mut scene = Self::of(verb, &namespace);
        if !matches!(verb, "discovery" | "aggregated" | "openapi" | "health") {
            scene.furnish(world).await;
        }
        for (place, name, value) in beside {
            scene.say(*place, name, value);
        }
        scene
    }

    fn of(verb: &str, namespace: &str) -> Self {
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        let deployment = format!("/apis/apps/v1/namespaces/{namespace}/deployments/w");
        let pod = format!("/api/v1/namespaces/{namespace}/pods/p");
        let scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "w"}, "spec": {"replicas": 2}});
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        let (method, path, body) = match verb {
            "get" => ("GET", format!("{maps}/c"), Value::Null),
            "list" | "watch" => ("GET", maps, Value::Null),
            "create" => ("POST", maps, config_map("e", "a", "1")),
            "update" => ("PUT", format!("{maps}/c"), config_map("c", "a", "2")),
            "patch" => ("PATCH", format!("{maps}/c"), json!({"data": {"k": "2"}})),
            "delete" => ("DELETE", format!("{maps}/c"), options),
            "deletecollection" => ("DELETE", maps, options),
            "get scale" => ("GET", format!("{deployment}/scale"), Value::Null),
            "update scale" => ("PUT", format!("{deployment}/scale"), scale),
            "patch scale" => ("PATCH", format!("{deployment}/scale"), json!({"spec": {"replicas": 2}})),
            "update status" => ("PUT", format!("{deployment}/status"), {
                let mut object = deployment_of();
                object["status"] = json!({"replicas": 1});
                object
            }),
            "create binding" => (
                "POST",
                format!("{pod}/binding"),
                json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}),
            ),
            "create eviction" => ("POST", format!("{pod}/eviction"), json!({"metadata": {"name": "p"}})),
            "discovery" => ("GET", "/api/v1".to_owned(), Value::Null),
            "aggregated" => ("GET", "/apis".to_owned(), Value::Null),
            "openapi" => ("GET", "/openapi/v3/apis/coordination.k8s.io/v1".to_owned(), Value::Null),
            "health" => ("GET", "/readyz".to_owned(), Value::Null),
            other => panic!("no scene for {other}"),
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let query = if verb == "watch" { vec![pair("watch", "true")] } else { Vec::new() };
        let headers = match verb {
            "patch" | "patch scale" => vec![pair("content-type", "application/merge-patch+json")],
            "aggregated" => {
                vec![pair("accept", "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io")]
            }
            _ => Vec::new(),
        };
        Self { verb: verb.to_owned(), namespace: namespace.to_owned(), method, path, query, headers, body }
    }

    async fn furnish(&self, world: &World) {
        let namespace = &self.namespace;
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        world.must("POST", "/api/v1/namespaces", &object).await;
        world.account(namespace).await;
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        world.must("POST", &maps, &config_map("c", "a", "1")).await;
        world.must("POST", &maps, &config_map("d", "b", "1")).await;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"x": "y"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        match self.verb.as_str() {
            "create binding" | "create eviction" => {
                drop(world.must("POST", &format!("/api/v1/namespaces/{namespace}/pods"), &pod).await)
            }
            "get scale" | "update scale" | "patch scale" | "update status" => {
                let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
                world.must("POST", &path, &deployment_of()).await;
            }
            _ => {}
        }
    }

    fn say(&mut self, place: Place, name: &str, value: &str) {
        let list = match place {
            Place::Header => &mut self.headers,
            Place::Query => &mut self.query,
            Place::Body => {
                let field = name.split('.').fold(&mut self.body, |object, key| &mut object[key]);
                *field = serde_json::from_str(value).expect("the example is JSON");
                return;
            }
            Place::Grpc => panic!("not over REST"),
        };
        list.retain(|(known, _)| known != name);
        list.push((name.to_owned(), value.to_owned()));
    }

    /// Makes the request, with what `row` says if there is one.
    pub(crate) async fn play(mut self, world: &World, row: Option<&Row>) -> Seen {
        if let Some(row) = row {
            let value = if row.example == "{etag}" { self.etag(world).await } else { row.example.to_owned() };
            self.say(row.place, row.name, &value);
        }
        let response = world.server.router().oneshot(self.request()).await.expect("infallible");
        let (code, headers) = (response.status().as_u16(), self.headers_of(&response));
        let body =
            if self.verb == "watch" && code == 200 { self.events(world, response).await } else { text(response).await };
        let state = self.state(world).await;
        Seen { code, headers, body: self.plain(&body), state }
    }

    fn request(&self) -> Request<Body> {
        let encode = |text: &str| {
            let bytes = text.bytes().map(|byte| {
                if byte.is_ascii_alphanumeric() || byte == b'%' {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            });
            bytes.collect::<String>()
        };
        let pairs: Vec<String> = self.query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let path = format!("{}?{}", self.path, pairs.join("&"));
        let body = if self.body.is_null() { String::new() } else { self.body.to_string() };
        let mut request = request(self.method, &path, if body.is_empty() { "" } else { "application/json" }, &body);
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().expect("a header");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        request
    }

    async fn etag(&self, world: &World) -> String {
        let response = world.server.router().oneshot(self.request()).await.expect("infallible");
        response.headers()[header::ETAG].to_str().expect("text").to_owned()
    }

    fn headers_of(&self, response: &Response<Body>) -> Vec<(String, String)> {
        let told = response.headers().iter().filter(|(name, _)| **name != header::CONTENT_LENGTH);
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().replace(&self.namespace, "NAMESPACE");
        // The server's own names for requests all look alike.
        let plain = |name: &HeaderName, value: String| match name.as_str() {
            "audit-id" if value.len() == 36 => "a uuid".to_owned(),
            // A server that has just begun has no objects for what it always has, and so no uids of them.
            "x-kubernetes-pf-flowschema-uid" | "x-kubernetes-pf-prioritylevel-uid" if matches!(value.len(), 0 | 36) => {
                "a uuid".to_owned()
            }
            _ => value,
        };
        told.map(|(name, value)| (name.to_string(), plain(name, text(value)))).collect()
    }

    /// The events of a watch up to the one about an object that is made now.
    async fn events(&self, world: &World, response: Response<Body>) -> String {
        let path = format!("/api/v1/namespaces/{}/configmaps", self.namespace);
        world.must("POST", &path, &config_map("marker", "b", "1")).await;
        world.must("DELETE", &format!("{path}/d"), &json!({})).await;
        let mut chunks = response.into_body().into_data_stream().map_err(std::io::Error::other);
        let mut text = String::new();
        // Either of the two is seen by every selection that rows try.
        while !text.contains("DELETED") {
            let chunk = timeout(Duration::from_secs(20), chunks.next()).await.expect("an event in time");
            text += std::str::from_utf8(&chunk.expect("a stream without end").expect("a chunk")).expect("text");
        }
        text
    }

    async fn state(&self, world: &World) -> String {
        let mut state = String::new();
        for path in
            ["api/v1/namespaces/N/configmaps", "api/v1/namespaces/N/pods", "apis/apps/v1/namespaces/N/deployments"]
        {
            let (_, list) = world.get(&format!("/{}", path.replace('N', &self.namespace))).await;
            state += &self.plain(&list["items"].to_string());
        }
        state
    }

    /// Without names of this scene and what the server makes up.
    fn plain(&self, text: &str) -> String {
        let text = text.replace(&self.namespace, "NAMESPACE");
        let Ok(mut value) = serde_json::from_str::<Value>(&text) else {
            return text.lines().map(|line| without_made_up_line(line) + "\n").collect();
        };
        without_made_up(&mut value);
        // How it was written counts too.
        if text.contains("\n  ") { format!("{value:#}") } else { value.to_string() }
    }
}

fn without_made_up_line(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(mut value) => {
            without_made_up(&mut value);
            value.to_string()
        }
        Err(_) => line.to_owned(),
    }
}

fn without_made_up(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "uid" | "resourceVersion" | "creationTimestamp" | "deletionTimestamp" | "lastTransitionTime"
                    | "time" | "continue" => {
                        *value = "…".into();
                    }
                    _ => without_made_up(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(without_made_up),
        _ => {}
    }
}

async fn text(response: Response<Body>) -> String {
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    String::from_utf8_lossy(&body).into_owned()
}

fn config_map(name: &str, tier: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"tier": tier}}, "data": {"k": value}})
}

fn deployment_of() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}
