//! A kubelet that only talks: logs of two lines, exec that echoes, upgrades that echo bytes. It insists on a client certificate
//! of the API server.

use super::World;
use axum::Router;
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use skiff_apiserver::Pki;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Starts the kubelet, makes its node `n` and a pod `p` with the containers `c` and `d` on it.
pub(crate) async fn start(world: &World) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let acceptor = TlsAcceptor::from(Arc::new(tls(&world.pki)));
    let router = Router::new()
        .route("/containerLogs/default/p/{container}", get(logs))
        .route("/metrics/resource", get(figures))
        .route("/exec/default/p/c", any(exec))
        .route("/portForward/default/p", any(echo));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                let stream = acceptor.accept(socket).await.expect("a client certificate of ours");
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "allocatable": {"cpu": "2", "memory": "1Gi"},
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    world.must("POST", "/api/v1/nodes", &node).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n",
        "containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}});
    world.must("POST", "/api/v1/namespaces/default/pods", &pod).await;
    let running = json!({"status": {"phase": "Running"}}).to_string();
    let path = "/api/v1/namespaces/default/pods/p/status";
    assert_eq!(world.ask("PATCH", path, "application/merge-patch+json", &running).await.0, StatusCode::OK);
}

fn tls(pki: &Pki) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pki.authority_certificate().as_bytes()).expect("PEM"))
        .expect("an authority");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().expect("verifier");
    let pair = pki.kubelet_serving();
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")],
            PrivateKeyDer::from_pem_slice(pair.private_key.as_bytes()).expect("PEM"),
        )
        .expect("a pair")
}

async fn logs(request: Request) -> Response {
    if request.uri().path().ends_with("/d") {
        return (StatusCode::BAD_REQUEST, "container \"d\" in pod \"p\" is waiting to start").into_response();
    }
    let query = request.uri().query().unwrap_or_default();
    Body::from(format!("first line\nasked: {query}\n")).into_response()
}

/// The container `c` uses a quarter of a processor and 64 MiB, `d` a twentieth and 16 MiB, the node a half and 256 MiB.
async fn figures() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let (start, now) = (1_700_000_000, now.as_millis());
    let mut text = format!(
        "node_cpu_usage_seconds_total {} {now}\nnode_memory_working_set_bytes {}\n",
        now as f64 / 2000.0,
        256 << 20
    );
    for (name, share, mebibytes) in [("c", 4000.0, 64), ("d", 20_000.0, 16)] {
        let labels = format!("{{container=\"{name}\",namespace=\"default\",pod=\"p\"}}");
        text += &format!("container_cpu_usage_seconds_total{labels} {} {now}\n", now as f64 / share);
        text += &format!("container_memory_working_set_bytes{labels} {}\n", mebibytes << 20);
        text += &format!("container_start_time_seconds{labels} {start}\n");
    }
    text
}

/// Echoes stdin; the command decides how it ends: `exit 7` with a code, everything else well.
async fn exec(Query(query): Query<Vec<(String, String)>>, upgrade: WebSocketUpgrade) -> Response {
    let has = |name: &str| query.iter().any(|(key, value)| key == name && value == "1");
    let stdin = has("input");
    let command: Vec<String> = query.into_iter().filter(|(key, _)| key == "command").map(|(_, value)| value).collect();
    upgrade.protocols(["v5.channel.k8s.io"]).on_upgrade(move |socket| talk(socket, command.join(" "), stdin))
}

fn message(channel: u8, data: &[u8]) -> Message {
    Message::Binary([&[channel], data].concat().into())
}

/// Sends stdin back on stdout, and sizes on stderr, until stdin is closed.
async fn echo_input(socket: &mut WebSocket) {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Binary(data))) if data.starts_with(&[0]) => {
                let _ = socket.send(message(1, &data[1..])).await;
            }
            Some(Ok(Message::Binary(data))) if data.starts_with(&[4]) => {
                let _ = socket.send(message(2, &data[1..])).await;
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return,
        }
    }
}

async fn talk(mut socket: WebSocket, command: String, stdin: bool) {
    let _ = socket.send(message(1, format!("ran: {command}\n").as_bytes())).await;
    if stdin {
        echo_input(&mut socket).await;
    }
    let status = match command.strip_prefix("exit ") {
        Some(code) => json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code}]}}),
        None => json!({"metadata": {}, "status": "Success"}),
    };
    let _ = socket.send(message(3, status.to_string().as_bytes())).await;
    // kubectl takes a close without a code for a broken connection.
    let _ = socket.send(Message::Close(Some(CloseFrame { code: close_code::NORMAL, reason: "".into() }))).await;
}

/// Switches to whatever was asked for, then echoes bytes.
async fn echo(mut request: Request) -> Response {
    let wanted = request.headers().get(header::UPGRADE).cloned().expect("an upgrade");
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.expect("upgraded"));
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, wanted)
        .body(Body::empty())
        .expect("a response")
}
