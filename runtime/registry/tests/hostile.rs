//! Clients that mean no good, or are broken: paths out of the folder, bodies that never end, two at once, events that nobody takes.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use skiff_registry::config::{Config, Webhook};
use skiff_registry::{Listeners, Pace, Registry, Store, Terms};
use skiff_step::Engine;
use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A body whose pieces come when the test sends them.
struct Drip(mpsc::UnboundedReceiver<Bytes>);

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

async fn send(registry: Arc<Registry>, method: &'static str, target: String, body: Drip) -> (u16, Bytes) {
    let response = registry.answer(Request::builder().method(method).uri(target).body(body).unwrap()).await;
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

fn paced(folder: &Path, pace: Pace) -> Arc<Registry> {
    let store = Store::open(folder, Engine::off()).unwrap();
    Arc::new(Registry::new(store, Terms { pace, ..Terms::default() }))
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_cut_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let registry = paced(folder.path(), Pace { window: Duration::from_millis(100), bytes_min: 100 });
    let at = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    let (drops, body) = mpsc::unbounded_channel();
    drops.send("0123".into()).unwrap();
    let (status, said) = send(registry.clone(), "PATCH", at.clone(), Drip(body)).await;
    assert_eq!((status, String::from_utf8_lossy(&said).contains("too slowly")), (408, true));
    assert_eq!(ask(&registry, &format!("GET {at}"), &[], "").await.is(204).header("range"), "0-3");
    let last = format!("PUT {at}?digest={}", sha256("01234"));
    ask(&registry, &last, &["content-range: 4-4"], "4").await.is(201);
    drop(drops);
    // A manifest is no different.
    let (_drops, body) = mpsc::unbounded_channel();
    let (status, _) = send(registry.clone(), "PUT", "/v2/a/manifests/x".into(), Drip(body)).await;
    assert_eq!(status, 408);
}

#[tokio::test]
async fn one_request_at_a_time_has_an_upload() {
    let folder = tempfile::tempdir().unwrap();
    let registry = paced(folder.path(), Pace::default());
    let at = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    let (drops, body) = mpsc::unbounded_channel();
    let first = tokio::spawn(send(registry.clone(), "PATCH", at.clone(), Drip(body)));
    // It has the upload as soon as anybody else is refused.
    let mut refused = false;
    for _ in 0..10_000 {
        let said = ask(&registry, &format!("GET {at}"), &[], "").await;
        refused = said.status == 409;
        if refused {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(refused, "the first request never had it");
    for method in ["PATCH", "DELETE"] {
        ask(&registry, &format!("{method} {at}"), &[], "y").await.refuses(409, "BLOB_UPLOAD_INVALID");
    }
    ask(&registry, &format!("PUT {at}?digest={}", sha256("y")), &[], "y").await.refuses(409, "BLOB_UPLOAD_INVALID");
    drops.send("x".into()).unwrap();
    drop(drops);
    assert_eq!(first.await.unwrap().0, 202);
    ask(&registry, &format!("PUT {at}?digest={}", sha256("x")), &[], "").await.is(201);
}

#[tokio::test]
async fn a_request_that_is_given_up_leaves_its_upload_usable() {
    let folder = tempfile::tempdir().unwrap();
    let registry = paced(folder.path(), Pace::default());
    let at = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    let (_drops, body) = mpsc::unbounded_channel();
    let first = tokio::spawn(send(registry.clone(), "PATCH", at.clone(), Drip(body)));
    tokio::task::yield_now().await;
    first.abort();
    let _cancelled = first.await;
    let mut status = 409;
    for _ in 0..10_000 {
        status = ask(&registry, &format!("GET {at}"), &[], "").await.status;
        if status != 409 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(status, 204);
}

#[tokio::test]
async fn no_path_leads_out_of_the_folder() {
    let around = tempfile::tempdir().unwrap();
    let canary = around.path().join("canary");
    std::fs::write(&canary, "here").unwrap();
    let registry = open(&around.path().join("registry"));
    push(&registry, "a", "v1", "layer").await;
    for evil in
        ["../canary", "..%2fcanary", "%2e%2e/canary", "..%5ccanary", "....//canary", "%00", "a%00b", "..", "/", "~"]
    {
        for target in [
            format!("/v2/{evil}/manifests/v1"),
            format!("/v2/a/manifests/{evil}"),
            format!("/v2/a/blobs/{evil}"),
            format!("/v2/a/blobs/sha256:{evil}"),
            format!("/v2/a/blobs/uploads/{evil}"),
            format!("/v2/a/referrers/{evil}"),
            format!("/v2/a/blobs/uploads/?mount=sha256:{evil}&from={evil}"),
            format!("/v2/a/tags/list?last={evil}"),
        ] {
            for method in ["GET", "DELETE", "PUT", "PATCH", "POST"] {
                let Ok(request) =
                    Request::builder().method(method).uri(&target).body(http_body_util::Full::new(Bytes::from("x")))
                else {
                    continue;
                };
                let response = registry.answer(request).await;
                let fine = target.contains("last=") && method == "GET";
                assert!(response.status().is_client_error() || fine, "{method} {target}: {}", response.status());
            }
        }
    }
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "here");
    let mut there: Vec<_> = std::fs::read_dir(around.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, ["canary", "registry"]);
    ask(&registry, "GET /v2/a/manifests/v1", &[], "").await.is(200);
}

/// Answers one request with a status; gives what was asked.
async fn answer_once(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = String::new();
    while !asked.contains("\r\n\r\n") || !asked.ends_with('}') {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "it ends early: {asked}");
        asked.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    asked
}

#[tokio::test]
async fn a_webhook_that_fails_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events?x=y", listener.local_addr().unwrap());
    let webhook = Webhook { url, events: vec!["push".into(), "delete".into()] };
    let config = Config { webhooks: vec![webhook.clone()], ..Config::default() };
    config.check().unwrap();
    let listeners = Listeners::new(None, vec![webhook]).unwrap();
    let terms = Terms { config: Arc::new(config), listeners, ..Terms::default() };
    let registry = Arc::new(Registry::new(Store::open(folder.path(), Engine::off()).unwrap(), terms));
    let digest = push(&registry, "a", "v1", "layer").await;
    ask(&registry, "GET /v2/a/manifests/v1", &[], "").await.is(200);
    ask(&registry, "DELETE /v2/a/manifests/v1", &[], "").await.is(202);
    let first = answer_once(&listener, "503 Service Unavailable").await;
    let again = answer_once(&listener, "204 No Content").await;
    assert_eq!(first, again, "the same event");
    assert!(
        first.starts_with("POST /events?x=y HTTP/1.1\r\n") && first.contains("application/cloudevents+json"),
        "{first}"
    );
    assert!(first.contains("\"dev.skiff.registry.push\"") && first.contains(digest.as_str()), "{first}");
    let next = answer_once(&listener, "200 OK").await;
    assert!(next.contains("\"dev.skiff.registry.delete\""), "the pull is not asked for: {next}");
}
