//! What comes from somebody who means ill, or from a broken program: every request gets an answer in Kubernetes' form, at a cost in proportion
//! to what was sent, and everybody else is served meanwhile. `cost` counts what is allocated, because a count says the same on every machine.

#[path = "../common/mod.rs"]
mod common;

mod bodies; // bombs, pieces, and one thing under another's name
mod connections; // who comes and says nothing, or too much, or takes nothing
mod crowd; // very many at once
mod depth; // what is nested as deep as can be written can be read
mod hooks; // servers of others that hang or answer nonsense
mod patches; // a few bytes that ask for very many
mod words; // paths, queries, headers and tokens

use axum::body::{Body, to_bytes};
use common::World;
use http::{HeaderMap, Request, StatusCode, header};
use serde_json::Value;
use skiff_client::Identity;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::time::Duration;
use tokio::sync::Mutex;
use tower::ServiceExt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What is counted is everybody's, so that one test counts at a time.
static COUNTED: Mutex<()> = Mutex::const_new(());

/// Longer than anything here takes; who hangs is not waited for.
const PATIENCE: Duration = Duration::from_secs(100);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

/// A request as it comes.
struct Sent {
    what: String,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Sent {
    fn new(what: &str, method: &'static str, path: &str, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", kind.to_owned())];
        Self { what: what.to_owned(), method, path: path.to_owned(), headers, body: body.into() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

struct Answer {
    code: StatusCode,
    headers: HeaderMap,
    body: Value,
    /// Bytes allocated by the whole process meanwhile.
    cost: usize,
}

/// Asks as an administrator.
async fn ask(world: &World, sent: &Sent) -> Answer {
    let mut request = Request::builder().method(sent.method).uri(&sent.path);
    for (name, value) in &sent.headers {
        request = request.header(*name, value);
    }
    let mut request = request.body(Body::from(sent.body.clone())).expect("a request");
    request.extensions_mut().insert(Identity::component("test"));
    let region = Region::new(ALLOCATOR);
    let served = async {
        let response = world.server.router().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        (parts, to_bytes(body, usize::MAX).await.expect("a whole answer"))
    };
    let (parts, body) = tokio::time::timeout(PATIENCE, served).await.expect(&sent.what);
    let cost = region.change().bytes_allocated;
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
    Answer { code: parts.status, headers: parts.headers, body, cost }
}

/// What is refused with a Status of `codes`, at no more than `times` the bytes that were sent, and what the server does besides.
async fn refused(world: &World, sent: &Sent, codes: &[u16], times: usize) {
    let _alone = COUNTED.lock().await;
    let Answer { code, headers, body, cost } = ask(world, sent).await;
    let what = &sent.what;
    let shown: String = body.to_string().chars().take(300).collect();
    assert!(codes.contains(&code.as_u16()), "{what}: {code} {shown}");
    assert_eq!((&body["kind"], &body["code"]), (&"Status".into(), &code.as_u16().into()), "{what}: {shown}");
    assert!(
        body["message"].as_str().is_some_and(|text| text.len() < 3 * (sent.path.len() + sent.body.len()) + 2_000),
        "{what}: {shown}"
    );
    assert_eq!(headers[header::CONTENT_TYPE], JSON, "{what}");
    let most = times * sent.body.len() + (8 << 20);
    assert!(cost <= most, "{what}: allocated {cost} bytes for {} sent, at most {most}", sent.body.len());
}

/// The server still does what it did.
async fn lives(world: &World) {
    world.must("GET", "/api/v1/namespaces/default", &Value::Null).await;
}
