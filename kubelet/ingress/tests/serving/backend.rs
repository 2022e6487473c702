//! A server that tells what it was asked, and its clients.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a request's path makes a backend do: `/events` streams two lines and waits between them, `/late` never answers, `/upgrade` echoes.
pub(crate) struct Backend {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// Lets `/events` go on.
    pub(crate) goes_on: Arc<Notify>,
    pub(crate) requests: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Backend {
    pub(crate) async fn new(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (goes_on, requests, stop) =
            (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (on, count, end, called) = (goes_on.clone(), requests.clone(), stop.clone(), name.to_owned());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = end.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (on, count, end, called) = (on.clone(), count.clone(), end.clone(), called.clone());
                tokio::spawn(async move { serve(accepted.unwrap().0, (called, on, count), end).await });
            }
        });
        Self { name: name.to_owned(), address, goes_on, requests, stop }
    }

    /// Takes no more connections, and ends those it has when they are idle, as a server does that was told to end.
    pub(crate) fn end(&self) {
        self.stop.cancel();
    }

    /// A slice of a service with this backend only.
    pub(crate) fn slice(&self, service: &str) -> Value {
        json!({
            "metadata": {"name": format!("{service}-{}", self.name), "namespace": "n", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [self.address.ip().to_string()], "conditions": {"ready": true, "serving": true, "terminating": false}}],
            "ports": [{"name": "", "port": self.address.port()}],
        })
    }
}

async fn serve(
    stream: TcpStream,
    (name, goes_on, requests): (String, Arc<Notify>, Arc<AtomicUsize>),
    end: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        requests.fetch_add(1, Ordering::Relaxed);
        let (name, goes_on) = (name.clone(), goes_on.clone());
        async move { Ok::<_, Infallible>(answer(&name, goes_on, request).await) }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => {}
        () = end.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _whoever_asked_is_gone = connection.await;
        }
    }
}

async fn answer(name: &str, goes_on: Arc<Notify>, mut request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/late" => std::future::pending().await,
        "/events" => events(goes_on),
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let mut bytes = [0; 5];
                io.read_exact(&mut bytes).await.unwrap();
                io.write_all(&bytes).await.unwrap();
            });
            let answer = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
            answer.body(Full::new(Bytes::new()).boxed_unsync()).unwrap()
        }
        _ => told(name, request).await,
    }
}

fn events(goes_on: Arc<Notify>) -> Response<Body> {
    let frames = futures::stream::unfold((0, goes_on), |(number, goes_on)| async move {
        if number == 1 {
            goes_on.notified().await;
        }
        let line = Frame::data(Bytes::from(format!("data: {number}\n\n")));
        (number < 2).then_some((Ok(line), (number + 1, goes_on)))
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(StreamBody::new(frames).boxed_unsync())
        .unwrap()
}

async fn told(name: &str, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let length = body.collect().await.map_or(0, |body| body.to_bytes().len());
    let headers: serde_json::Map<String, Value> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().into()))
        .collect();
    let told = json!({"by": name, "path": parts.uri.path_and_query().map(ToString::to_string), "method": parts.method.as_str(),
        "version": format!("{:?}", parts.version), "headers": headers, "length": length});
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let is_grpc = parts.headers.get("content-type").is_some_and(|kind| kind == "application/grpc");
    let body = Full::new(Bytes::from(told.to_string()));
    let body = if is_grpc {
        body.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync()
    } else {
        body.boxed_unsync()
    };
    Response::builder().header("x-by", name).body(body).unwrap()
}

/// Waits until something holds; a minute is for machines that do much else.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..6000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
