//! What a server tells over HTTP only: Prometheus metrics on its client address.
//!
//! With TLS, and to a store of this process, HTTP/2 reaches them over the connection that gRPC uses. In plain an etcd takes every
//! HTTP/2 connection for gRPC, so it is asked with HTTP/1.0.

use super::super::which::Opened;
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt;

/// Far more than any server tells.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A metric without labels; `None`: the server does not tell.
pub(super) async fn gauge(opened: &Opened, name: &str) -> Option<u64> {
    let text = opened.in_time("metrics", async { Ok(fetch(opened).await) }).await.ok()??;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok())?;
    // A count.
    Some(value.max(0.0) as u64)
}

async fn fetch(opened: &Opened) -> Option<String> {
    if let (true, Some(address)) = (opened.is_served(), opened.name.strip_prefix("http://")) {
        return fetch_plain(TcpStream::connect(address.trim_end_matches('/')).await.ok()?).await;
    }
    if let Some(path) = opened.name.strip_prefix("unix://") {
        return fetch_plain(UnixStream::connect(path).await.ok()?).await;
    }
    let request = Request::get("/metrics").body(tonic::body::Body::empty()).ok()?;
    let answer = opened.channel.clone().oneshot(request).await.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let bytes = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await.ok()?;
    String::from_utf8(bytes.into()).ok()
}

async fn fetch_plain(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<String> {
    stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: etcd\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut answer).await.ok()?;
    let text = String::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200").then(|| body.to_owned())
}
