//! A log over a WebSocket, for browsers, which cannot read an answer while it comes: each message is a piece of the log.
//!
//! An empty message comes first, as kube-apiserver sends it; what the client sends is not read.

use crate::status::Status;
use axum::body::{Body, Bytes};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Request};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use std::time::Duration;
use tokio::time::timeout;

/// Binary messages; what is meant without a protocol too.
const BINARY: &str = "binary.k8s.io";
/// Text messages, for those who cannot read bytes.
const BASE64: &str = "base64.binary.k8s.io";

/// How long a client may take to close what we have closed.
const LINGER: Duration = Duration::from_secs(10);

/// Whether `request` asks for a WebSocket.
pub(super) fn is_wanted(request: &Request) -> bool {
    let upgrade = request.headers().get(UPGRADE);
    skiff_client::is_upgrade(request) && upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Sends `log` over the WebSocket that `request` opens.
pub(super) async fn answer(request: Request, log: Body) -> Result<Response, Status> {
    let (mut parts, _) = request.into_parts();
    let protocol = chosen(&parts.headers)?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|refused| Status::bad_request(refused.body_text()))?;
    let upgrade = upgrade.protocols(protocol);
    Ok(upgrade.on_upgrade(move |socket| send(socket, log, protocol == Some(BASE64))))
}

/// The first protocol of the client's that we speak.
fn chosen(headers: &HeaderMap) -> Result<Option<&'static str>, Status> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
    let asked: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    if asked.is_empty() {
        return Ok(None);
    }
    let known = asked.iter().find_map(|asked| [BINARY, BASE64].into_iter().find(|known| known == asked));
    known.map(Some).ok_or_else(|| {
        Status::bad_request(format!(
            "none of the WebSocket protocols {} is spoken here: {BINARY} and {BASE64} are",
            asked.join(", ")
        ))
    })
}

async fn send(mut socket: WebSocket, log: Body, as_text: bool) {
    let message = |bytes: Bytes| match as_text {
        true => Message::Text(STANDARD.encode(bytes).into()),
        false => Message::Binary(bytes),
    };
    let mut pieces = log.into_data_stream();
    let mut next = Some(Bytes::new());
    let mut code = close_code::NORMAL;
    while let Some(piece) = next {
        if socket.send(message(piece)).await.is_err() {
            return;
        }
        next = tokio::select! {
            piece = pieces.next() => match piece {
                Some(Ok(piece)) => Some(piece),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a log ended early");
                    code = close_code::ERROR;
                    None
                }
                None => None,
            },
            () = gone(&mut socket) => return,
        };
    }
    let last = socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await;
    if last.is_ok() {
        // Closing the connection before the client has read all could throw away what is still under way.
        if timeout(LINGER, gone(&mut socket)).await.is_err() {
            tracing::debug!("a client did not close its WebSocket");
        }
    }
}

/// Waits until the client is gone.
async fn gone(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn the_first_known_protocol_counts() {
        let chosen = |asked: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_PROTOCOL, asked.parse().expect("a value"));
            chosen(&headers).map_err(|status| status.code)
        };
        assert_eq!(chosen("other, base64.binary.k8s.io, binary.k8s.io"), Ok(Some(BASE64)));
        assert_eq!(chosen("binary.k8s.io"), Ok(Some(BINARY)));
        assert_eq!(chosen("v4.channel.k8s.io"), Err(StatusCode::BAD_REQUEST));
        assert_eq!(super::chosen(&HeaderMap::new()), Ok(None));
    }
}
