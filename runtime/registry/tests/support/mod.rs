//! A registry without sockets, and what is pushed to it.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]
#![allow(dead_code, reason = "each test program uses a part")]

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use skiff_registry::digest::{Algorithm, Digest};
use skiff_registry::{Registry, Store, Terms};
use skiff_step::Engine;
use std::path::Path;
use std::sync::Arc;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Said {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Checks the status.
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, String::from_utf8_lossy(&self.body));
        self
    }

    /// Checks status and code.
    pub(crate) fn refuses(self, status: u16, code: &str) -> Self {
        let said = self.is(status);
        assert_eq!(said.code(), code, "{}", said.json());
        said
    }
}

pub(crate) fn open(folder: &Path) -> Arc<Registry> {
    Arc::new(Registry::new(Store::open(folder, Engine::off()).unwrap(), Terms::default()))
}

/// Asks; `request` is `METHOD TARGET`, headers are `name: value`.
pub(crate) async fn ask(registry: &Arc<Registry>, request: &str, headers: &[&str], body: impl Into<Bytes>) -> Said {
    let (method, target) = request.split_once(' ').unwrap();
    let body = body.into();
    let mut request = Request::builder().method(method).uri(target).header("content-length", body.len());
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let response = registry.answer(request.body(Full::new(body)).unwrap()).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    if parts.status != StatusCode::NO_CONTENT && parts.status != StatusCode::NOT_MODIFIED && method != "HEAD" {
        assert_eq!(parts.headers["content-length"], body.len().to_string(), "{target}");
    }
    Said { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> Digest {
    Digest::of(Algorithm::Sha256, bytes.as_ref())
}

/// Pushes a blob in one request.
pub(crate) async fn blob(registry: &Arc<Registry>, name: &str, bytes: &str) -> Digest {
    let digest = sha256(bytes);
    let said = ask(registry, &format!("POST /v2/{name}/blobs/uploads/?digest={digest}"), &[], bytes.to_owned()).await;
    assert_eq!(said.is(201).header("location"), format!("/v2/{name}/blobs/{digest}"));
    digest
}

/// An image of one layer.
pub(crate) fn image(config: &str, layer: &str) -> Value {
    let one = |kind: &str, of: &str| json!({"mediaType": kind, "digest": sha256(of).as_str(), "size": of.len()});
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": one("application/vnd.oci.image.config.v1+json", config),
        "layers": [one("application/vnd.oci.image.layer.v1.tar", layer)],
    })
}

/// Pushes an image of one layer.
pub(crate) async fn push(registry: &Arc<Registry>, name: &str, tag: &str, layer: &str) -> Digest {
    blob(registry, name, "{}").await;
    blob(registry, name, layer).await;
    let manifest = image("{}", layer).to_string();
    let header = format!("content-type: {MANIFEST}");
    ask(registry, &format!("PUT /v2/{name}/manifests/{tag}"), &[&header], manifest.clone()).await.is(201);
    sha256(manifest)
}
