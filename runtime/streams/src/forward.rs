//! Port-forward over SPDY: each forwarded connection is a pair of streams, one for data and one for what goes wrong.
//!
//! Pairs share a `requestID`. Clients from before that header open the error stream first and the data stream next.
//!
//! Old kubectls (1.20) keep a connection open until the error stream ends, and the end of the data stream alone tells
//! them nothing. So the error stream ends with the pod's half of the data stream, not after the client's half.

pub(crate) mod over_websocket;

use crate::spdy::{Role, Stream, start};
use crate::{PortForwardRequest, StreamError, StreamRuntime};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
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
    let port = match port(&data, &request) {
        Ok(port) => port,
        Err(refused) => return tell(&mut error, Err(refused)).await,
    };
    let (ended, pod_ended) = oneshot::channel();
    let writer = TellsEnd { writer: data.writer, ended: Some(ended) };
    let stream = Box::new(tokio::io::join(data.reader, writer));
    let mut forwarded = runtime.port_forward(request.sandbox_id, port, stream);
    tokio::select! {
        biased;
        result = &mut forwarded => tell(&mut error, result).await,
        Ok(()) = pod_ended => {
            tell(&mut error, Ok(())).await;
            // The client may go on sending; nobody listens to what goes wrong with that any more.
            if let Err(reason) = forwarded.await {
                tracing::debug!(port, %reason, "a forwarded connection broke after the pod had ended it");
            }
        }
    }
}

/// Ends the error stream, with the reason if there is one. A client that has left needs none.
async fn tell(error: &mut Stream, result: Result<(), StreamError>) {
    if let Err(reason) = result {
        let _left = error.writer.write_all(reason.to_string().as_bytes()).await;
    }
    let _left = error.writer.shutdown().await;
}

/// A writer that tells when it was shut down.
struct TellsEnd<W> {
    writer: W,
    ended: Option<oneshot::Sender<()>>,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for TellsEnd<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.writer).poll_shutdown(cx));
        if let Some(ended) = self.ended.take() {
            // Nobody waits once the forwarding itself is over.
            let _over = ended.send(());
        }
        Poll::Ready(result)
    }
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
