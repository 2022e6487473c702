//! What is more than a request and an answer: streams, upgrades, HTTP/2 to backends.

use super::*;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn one(protocol: Option<&str>) -> (World, Backend) {
    let (world, one) = (World::new(), Backend::new("one").await);
    world.service("s", protocol, &[&one]);
    world.ingress("i", json!({}), json!({"rules": [host("a.test", &[("/", "Prefix", "s")])]}));
    world.answers("a.test", "/", 200).await;
    (world, one)
}

#[tokio::test]
async fn events_are_passed_on_as_they_come() {
    let (world, one) = one(None).await;
    let mut connection = client::connect(world.plain()).await.unwrap();
    let answer = connection.send_request(client::request("GET", "a.test", "/events", &[], b"")).await.unwrap();
    let mut body = answer.into_body();
    // The backend sends no more before it is told to: the first event is here, or would never come.
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&first[..], b"data: 0\n\n");
    one.goes_on.notify_one();
    assert_eq!(&body.collect().await.unwrap().to_bytes()[..], b"data: 1\n\n");
    world.end().await;
}

#[tokio::test]
async fn websockets_go_through() {
    let (world, _one) = one(None).await;
    let mut connection = client::connect(world.plain()).await.unwrap();
    let asks = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let mut answer = connection.send_request(client::request("GET", "a.test", "/upgrade", &asks, b"")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut io = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    io.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    io.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    drop(io);
    world.end().await;
}

#[tokio::test]
async fn http2_to_backends_keeps_trailers() {
    let (world, one) = one(Some("kubernetes.io/h2c")).await;
    let sent = [("content-type", "application/grpc"), ("te", "trailers")];
    let answer =
        client::send(world.plain(), client::request("POST", "a.test", "/grpc", &sent, b"hello")).await.unwrap();
    let told = answer.told();
    assert_eq!((&told["version"], &told["headers"]["te"]), (&json!("HTTP/2.0"), &json!("trailers")));
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let data = |text: String| serde_json::to_value(k8s_openapi::ByteString(text.into_bytes())).unwrap();
    world.cluster.put(
        "secrets",
        json!({"metadata": {"name": "c", "namespace": "n"},
        "data": {"tls.crt": data(made.cert.pem()), "tls.key": data(made.signing_key.serialize_pem())}}),
    );
    let tls = json!([{"hosts": ["a.test"], "secretName": "c"}]);
    world.ingress("i", json!({}), json!({"tls": tls, "rules": [host("a.test", &[("/", "Prefix", "s")])]}));
    until("it is served", async || client::get_h2(world.encrypted(), "a.test", "/", &sent).await.is_ok()).await;
    let answer = client::get_h2(world.encrypted(), "a.test", "/grpc", &sent).await.unwrap();
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    assert!(one.requests.load(Ordering::Relaxed) >= 3);
    world.end().await;
}
