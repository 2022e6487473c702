//! Port-forward over SPDY: each forwarded connection is a pair of streams, one for data and one for what goes wrong.
//!
//! Pairs share a `requestID`. Clients from before that header open the error stream first and the data stream next.

use crate::spdy::{Role, Stream, start};
use crate::{PortForwardRequest, StreamError, StreamRuntime};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

/// How long half a pair waits for the other half (kubelet's stream creation timeout).
const PAIRED_WITHIN: Duration = Duration::from_secs(30);
/// How often we look for halves that wait too long.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Half a pair.
struct Half {
    stream: Stream,
    kind: Kind,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

/// Both halves.
struct Pair {
    data: Stream,
    error: Stream,
}

/// Serves a connection until its client closes it; forwarded connections end with it.
pub(crate) async fn serve<T>(io: T, request: PortForwardRequest, runtime: Arc<dyn StreamRuntime>)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (session, mut accept) = start(io, Role::Server);
    let mut halves: HashMap<String, Half> = HashMap::new();
    let mut forwarded = JoinSet::new();
    let mut look = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            stream = accept.recv() => {
                let Some(stream) = stream else { break };
                if let Some(pair) = pair(&mut halves, stream, Instant::now()) {
                    forwarded.spawn(forward(pair, request.clone(), Arc::clone(&runtime)));
                }
            }
            // Finished ones make room; what they had to say went to their error stream.
            Some(_finished) = forwarded.join_next() => {}
            now = look.tick() => halves.retain(|_, half| now.duration_since(half.since) < PAIRED_WITHIN),
            () = session.gone() => break,
        }
    }
}

/// Keeps the stream until its other half comes; a stream that fits nowhere is dropped, which closes it.
fn pair(halves: &mut HashMap<String, Half>, stream: Stream, now: Instant) -> Option<Pair> {
    let kind = match stream.headers.get("streamtype")? {
        "data" => Kind::Data,
        "error" => Kind::Error,
        _ => return None,
    };
    let key = request_id(&stream, kind);
    let Some(other) = halves.remove(&key) else {
        halves.insert(key, Half { stream, kind, since: now });
        return None;
    };
    match (other.kind, kind) {
        (Kind::Error, Kind::Data) => Some(Pair { data: stream, error: other.stream }),
        (Kind::Data, Kind::Error) => Some(Pair { data: other.stream, error: stream }),
        _twice => None,
    }
}

fn request_id(stream: &Stream, kind: Kind) -> String {
    match (stream.headers.get("requestid"), kind) {
        (Some(id), _) => format!("request {id}"),
        (None, Kind::Error) => format!("stream {}", stream.id),
        // The error stream was opened just before.
        (None, Kind::Data) => format!("stream {}", stream.id.saturating_sub(2)),
    }
}

async fn forward(pair: Pair, request: PortForwardRequest, runtime: Arc<dyn StreamRuntime>) {
    let Pair { data, mut error } = pair;
    let forwarded = match port(&data, &request) {
        Ok(port) => {
            let stream = Box::new(tokio::io::join(data.reader, data.writer));
            runtime.port_forward(request.sandbox_id, port, stream).await
        }
        Err(refused) => Err(refused),
    };
    if let Err(reason) = forwarded {
        let _left = error.writer.write_all(reason.to_string().as_bytes()).await;
    }
    let _left = error.writer.shutdown().await;
}

fn port(data: &Stream, request: &PortForwardRequest) -> Result<u16, StreamError> {
    let text = data.headers.get("port").unwrap_or_default();
    let port = text.parse().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| StreamError::Invalid(format!("`{text}` is no port")))?;
    if request.ports.is_empty() || request.ports.contains(&port) {
        return Ok(port);
    }
    Err(StreamError::Invalid(format!("port {port} was not asked for")))
}
