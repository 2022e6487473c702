//! URLs that work once, and the upgrade of the connection that comes for one.

use crate::protocol::{self, PORT_FORWARD, PORT_FORWARD_TUNNEL};
use crate::remote::{Remote, over_spdy, over_websocket};
use crate::tokens::Tokens;
use crate::{AttachRequest, ExecRequest, PortForwardRequest, StreamRuntime, forward, tunnel};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

const SPDY: &str = "SPDY/3.1";
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
/// Bytes of a WebSocket message that we take; clients send 32 KiB.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Hands out one-time URLs and serves them. Cheap to clone; clones share the tokens.
#[derive(Clone)]
pub struct StreamServer {
    runtime: Arc<dyn StreamRuntime>,
    base_url: String,
    tokens: Arc<Mutex<Tokens<Waiting>>>,
}

/// What a token stands for.
#[derive(Debug, Clone)]
enum Waiting {
    Remote(Remote),
    Forward(PortForwardRequest),
}

impl StreamServer {
    /// A server whose router is reachable at `base_url` (`http://127.0.0.1:PORT`, no slash at the end).
    pub fn new(runtime: Arc<dyn StreamRuntime>, base_url: String) -> Self {
        Self { runtime, base_url, tokens: Arc::default() }
    }

    /// A URL that runs the command once, within a minute.
    #[must_use]
    pub fn exec_url(&self, request: ExecRequest) -> String {
        self.url("exec", Waiting::Remote(Remote::Exec(request)))
    }

    /// A URL that attaches once, within a minute.
    #[must_use]
    pub fn attach_url(&self, request: AttachRequest) -> String {
        self.url("attach", Waiting::Remote(Remote::Attach(request)))
    }

    /// A URL that forwards ports over one connection, opened within a minute.
    #[must_use]
    pub fn port_forward_url(&self, request: PortForwardRequest) -> String {
        self.url("portforward", Waiting::Forward(request))
    }

    /// The routes: `/exec/{token}`, `/attach/{token}`, `/portforward/{token}`.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
            .route("/exec/{token}", any(serve))
            .route("/attach/{token}", any(serve))
            .route("/portforward/{token}", any(serve))
            .with_state(self.clone())
    }

    fn url(&self, verb: &str, request: Waiting) -> String {
        let token = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).put(request, Instant::now());
        format!("{}/{verb}/{token}", self.base_url)
    }

    fn take(&self, token: &str) -> Option<Waiting> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).take(token, Instant::now())
    }
}

async fn serve(State(server): State<StreamServer>, Path(token): Path<String>, request: Request) -> Response {
    let Some(wanted) = server.take(&token) else {
        return (StatusCode::NOT_FOUND, "no such stream, or it was used or has expired\n").into_response();
    };
    let upgrade = protocol::names(request.headers(), "upgrade");
    let asks = |name: &str| upgrade.iter().any(|asked| asked.eq_ignore_ascii_case(name));
    let (websocket, spdy) = (asks("websocket"), asks(SPDY));
    match wanted {
        Waiting::Remote(remote) if websocket => remote_websocket(server.runtime, remote, request).await,
        Waiting::Remote(remote) if spdy => remote_spdy(server.runtime, remote, request),
        Waiting::Forward(forward) if websocket => forward_websocket(server.runtime, forward, request).await,
        Waiting::Forward(forward) if spdy => forward_spdy(server.runtime, forward, request),
        _ => (StatusCode::BAD_REQUEST, "unable to upgrade: only WebSocket and SPDY/3.1 are served\n").into_response(),
    }
}

fn remote_spdy(runtime: Arc<dyn StreamRuntime>, remote: Remote, request: Request) -> Response {
    let headers = request.headers().clone();
    let offered = protocol::names(&headers, STREAM_PROTOCOL);
    let Some((name, version)) = protocol::choose_spdy(&offered) else { return unknown(&offered) };
    let answer = switching(name);
    upgrade(request, move |io| over_spdy::serve(io, remote, version, runtime));
    answer
}

fn forward_spdy(runtime: Arc<dyn StreamRuntime>, forward: PortForwardRequest, request: Request) -> Response {
    let headers = request.headers().clone();
    let offered = protocol::names(&headers, STREAM_PROTOCOL);
    if !offered.is_empty() && !offered.contains(&PORT_FORWARD) {
        return unknown(&offered);
    }
    upgrade(request, move |io| forward::serve(io, forward, runtime));
    switching(Some(PORT_FORWARD))
}

/// Serves the connection once our answer has made it a SPDY connection.
fn upgrade<F, S>(request: Request, serve: F)
where
    F: FnOnce(TokioIo<hyper::upgrade::Upgraded>) -> S + Send + 'static,
    S: Future<Output = ()> + Send,
{
    tokio::spawn(async move {
        // A client that is gone before the answer has nobody to tell.
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            serve(TokioIo::new(upgraded)).await;
        }
    });
}

async fn remote_websocket(runtime: Arc<dyn StreamRuntime>, remote: Remote, request: Request) -> Response {
    let headers = request.headers().clone();
    let offered = protocol::names(&headers, header::SEC_WEBSOCKET_PROTOCOL.as_str());
    let Some((name, version, coding)) = protocol::choose_websocket(&offered) else { return unknown(&offered) };
    let serve = move |socket| over_websocket::serve(socket, remote, version, coding, runtime);
    match websocket(request, name).await {
        Ok(upgrade) => upgrade.on_upgrade(serve),
        Err(refusal) => refusal,
    }
}

async fn forward_websocket(runtime: Arc<dyn StreamRuntime>, forward: PortForwardRequest, request: Request) -> Response {
    let headers = request.headers().clone();
    let offered = protocol::names(&headers, header::SEC_WEBSOCKET_PROTOCOL.as_str());
    if let Some(name) = offered.iter().find(|name| **name == PORT_FORWARD_TUNNEL) {
        return match websocket(request, Some(name)).await {
            Ok(upgrade) => upgrade.on_upgrade(move |socket| forward::serve(tunnel::open(socket), forward, runtime)),
            Err(refusal) => refusal,
        };
    }
    let Some((name, coding)) = protocol::choose_forward(&offered) else { return unknown(&offered) };
    let ports_max = forward::over_websocket::PORTS_MAX;
    if !(1..=ports_max).contains(&forward.ports.len()) {
        let why = format!("a WebSocket forwards 1 to {ports_max} ports, and {} were asked for\n", forward.ports.len());
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    match websocket(request, name).await {
        Ok(upgrade) => {
            upgrade.on_upgrade(move |socket| forward::over_websocket::serve(socket, forward, coding, runtime))
        }
        Err(refusal) => refusal,
    }
}

async fn websocket(request: Request, protocol: Option<&str>) -> Result<WebSocketUpgrade, Response> {
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.map_err(IntoResponse::into_response)?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(match protocol {
        Some(protocol) => upgrade.protocols([protocol.to_owned()]),
        None => upgrade,
    })
}

fn switching(protocol: Option<&str>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
    if let Some(Ok(name)) = protocol.map(HeaderValue::from_str) {
        headers.insert(STREAM_PROTOCOL, name);
    }
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// The status with which kubelets refuse protocols too.
fn unknown(offered: &[&str]) -> Response {
    (StatusCode::FORBIDDEN, format!("unable to upgrade: none of the protocols {offered:?} is served\n")).into_response()
}
