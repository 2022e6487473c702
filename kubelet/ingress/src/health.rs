//! `/healthz`, `/readyz` and `/metrics`, at an address of their own.

use crate::body::Payload;
use crate::metrics::Metrics;
use crate::stream::Stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How long a request's head may take.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// How many may ask at a time.
const ASKING_MAX: usize = 32;

/// Answers for as long as it is polled; `is_ready` is whether rules are known.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, is_ready: Arc<AtomicBool>) {
    let places = Arc::new(Semaphore::new(ASKING_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (metrics, is_ready) = (Arc::clone(&metrics), Arc::clone(&is_ready));
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(request.uri().path(), &metrics, is_ready.load(Ordering::Relaxed));
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
            let connection = builder.serve_connection(TokioIo::new(Stream::Plain(stream)), service);
            let _whoever_asked_is_gone = connection.await;
            drop(place);
        });
    }
}

fn answer(path: &str, metrics: &Metrics, is_ready: bool) -> Response<Payload> {
    let (status, text) = match path {
        "/healthz" | "/livez" => (StatusCode::OK, "ok".to_owned()),
        "/readyz" if is_ready => (StatusCode::OK, "ok".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "the routes of the cluster are not known yet".to_owned()),
        "/metrics" => (StatusCode::OK, metrics.text()),
        _ => (StatusCode::NOT_FOUND, "want /healthz, /readyz or /metrics".to_owned()),
    };
    let mut answer = Response::new(Payload::text(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    answer
}
