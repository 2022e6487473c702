//! Requests through the proxy to a server that tells what it was asked.

use super::*;
use crate::admission::services::Allocator;
use crate::aggregation::Aggregation;
use crate::caller::Peer;
use crate::caller::{Authentication, Callers};
use crate::fairness::Fairness;
use crate::kubelet::Kubelets;
use crate::pki::Pki;
use crate::registry::Registry;
use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::{Html, IntoResponse};
use axum::routing::{any, get};
use http::HeaderValue;
use http_body_util::BodyExt;
use place::How;
use serde_json::{Value, json};
use skiff_store::{Options, Store};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const ASKED: Asked<'static> = Asked { plural: "pods", namespace: "a", id: "p:80", rest: "" };

struct Scene {
    app: Arc<App>,
    place: Place,
    // Lives as long as the server does.
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), Options::default()).unwrap();
        let services = Allocator::new("10.96.0.0/24".parse().unwrap(), 30000..=30002);
        let pki = Pki::open_or_create(&folder.path().join("pki"), &[]).unwrap();
        let address = SocketAddr::from(([192, 0, 2, 1], 6443));
        let app = App {
            callers: Callers::new(&Authentication::default(), &pki, address).await.unwrap(),
            registry: Registry::new(store.backend(), skiff_step::Engine::off(), services),
            kubelets: Kubelets::new(&pki).unwrap(),
            aggregation: Aggregation::new(&pki, &Authentication::default()).unwrap(),
            auditor: std::sync::OnceLock::new(),
            fairness: Fairness::new(),
            metrics: crate::metrics::Metrics::default(),
            advertise: address,
            stopping: CancellationToken::new(),
        };
        let place = Place { how: How::Plain, authority: serve().await };
        Self { app: Arc::new(app), place, _folder: folder }
    }

    async fn ask(&self, method: &str, rest: &str, body: &str) -> Response {
        let (path, query) =
            rest.split_once('?').map_or((rest, String::new()), |(path, query)| (path, format!("?{query}")));
        let uri = format!("/api/v1/namespaces/a/pods/p:80/proxy{path}{query}");
        let request = http::Request::builder().method(method).uri(uri).header("host", "api:6443");
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Peer(IpAddr::from([192, 0, 2, 9])));
        let answer = pass(&self.app, &self.place, Asked { rest: path, ..ASKED }, request).await;
        answer.unwrap_or_else(|status| (status.code, status.message).into_response())
    }
}

/// Starts the server; the answer is its address.
async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let there = address.clone();
    let router = Router::new()
        .route("/page", get(|| async { Html(r#"<a href="/rewriteme">test</a>"#) }))
        .route("/packed", get(|| async { ([("content-encoding", "gzip")], Html(packed(r#"<a href="/rewriteme">"#))) }))
        .route("/broken", get(|| async { ([("content-encoding", "gzip")], Html("no gzip")) }))
        .route("/moved", get(|| async move { (StatusCode::FOUND, [("location", format!("http://{there}/new?a"))]) }))
        .route("/cors", get(|| async { [("access-control-allow-origin", "*"), ("x-kept", "1")] }))
        .route("/socket", any(socket))
        .fallback(tell);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

async fn tell(request: HttpRequest) -> String {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    json!({"method": parts.method.as_str(), "uri": parts.uri.to_string(), "body": String::from_utf8_lossy(&body),
        "host": header("host"), "for": header("x-forwarded-for"), "as": header("x-forwarded-uri")})
    .to_string()
}

async fn socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.protocols(["echo"]).on_upgrade(|mut socket| async move {
        while let Some(Ok(message @ Message::Text(_))) = socket.recv().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn location(response: &Response) -> (u16, &str) {
    let location = response.headers().get("location").map_or("", |value| value.to_str().unwrap());
    (response.status().as_u16(), location)
}

#[tokio::test]
async fn every_method_goes_through_with_path_query_and_body() {
    let scene = Scene::new().await;
    for method in ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"] {
        let body = if method == "GET" { "" } else { "words" };
        let answer: Value =
            serde_json::from_str(&text(scene.ask(method, "/some//path/?q=%20/", body).await).await).unwrap();
        let expected = json!({"method": method, "uri": "/some/path/?q=%20/", "body": body, "host": "api:6443",
            "for": "192.0.2.9", "as": "/api/v1/namespaces/a/pods/p:80/proxy/some/path/"});
        assert_eq!(answer, expected);
    }
    let answer: Value = serde_json::from_str(&text(scene.ask("PUT", "?method=PUT", "").await).await).unwrap();
    assert_eq!((&answer["method"], &answer["uri"]), (&json!("PUT"), &json!("/?method=PUT")));
    let head = scene.ask("HEAD", "/page", "").await;
    assert_eq!((head.status(), &head.headers()["content-length"]), (StatusCode::OK, &HeaderValue::from_static("29")));
}

#[tokio::test]
async fn links_and_redirects_lead_through_the_proxy() {
    let scene = Scene::new().await;
    let page = scene.ask("GET", "/page", "").await;
    assert_eq!(text(page).await, r#"<a href="/api/v1/namespaces/a/pods/p:80/proxy/rewriteme">test</a>"#);
    let packed = scene.ask("GET", "/packed", "").await;
    assert!(!packed.headers().contains_key("content-encoding"));
    assert_eq!(text(packed).await, r#"<a href="/api/v1/namespaces/a/pods/p:80/proxy/rewriteme">"#);
    let broken = scene.ask("GET", "/broken", "").await;
    assert_eq!(broken.headers()["content-encoding"], "gzip");
    assert_eq!(text(broken).await, "no gzip");
    let moved = scene.ask("GET", "/moved", "").await;
    assert_eq!(location(&moved), (302, "/api/v1/namespaces/a/pods/p:80/proxy/new?a"));
    for method in ["GET", "HEAD"] {
        let root = scene.ask(method, "?q=1", "").await;
        assert_eq!(location(&root), (301, "/api/v1/namespaces/a/pods/p:80/proxy/?q=1"), "{method}");
    }
    let cors = scene.ask("GET", "/cors", "").await;
    assert!(cors.headers().contains_key("x-kept") && !cors.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn who_is_not_there_is_unavailable() {
    let mut scene = Scene::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    scene.place.authority = listener.local_addr().unwrap().to_string();
    drop(listener);
    let answer = scene.ask("GET", "/", "").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let said = text(answer).await;
    assert!(said.starts_with("error trying to reach service: dial tcp 127.0.0.1:"), "{said}");
    let broken = scene.ask("GET", "/%zz", "").await;
    assert_eq!(broken.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_not_upgraded_there_is_not_upgraded_here() {
    let scene = Scene::new().await;
    let ask = async |path: &'static str| {
        let mut request = HttpRequest::new(Body::empty());
        for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        request.headers_mut().insert("sec-websocket-key", key);
        pass(&scene.app, &scene.place, Asked { rest: path, ..ASKED }, request).await
    };
    let upgraded = ask("/socket").await.unwrap();
    assert_eq!(upgraded.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(upgraded.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(
        ask("/other").await.unwrap_err().message,
        "Internal error occurred: invalid upgrade response: status code 200"
    );
}
