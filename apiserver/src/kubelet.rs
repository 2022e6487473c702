//! Kubelets: logs, exec, attach and port-forward are passed on to the kubelet of the pod's node, which is found through the
//! node's status and must show a certificate of ours.
//!
//! Upgraded connections (WebSocket, SPDY/3.1) go through byte for byte: what is inside is between client and kubelet.

mod connect; // a connection to one kubelet
mod exec; // a WebSocket of our own, for gRPC
mod place; // which kubelet, which path
mod socket; // a log over a WebSocket

pub(crate) use connect::Kubelets;
pub(crate) use exec::{ExecCommand, ExecEvent, ExecInput, ExecSession};
pub(crate) use place::{LogQuery, authority_of, log_path};

use crate::app::App;
use crate::request::Request;
use crate::status::Status;
use axum::body::Body;
use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use place::{Place, stream_path};
use skiff_client::{is_upgrade, splice_upgrade};
use std::sync::Arc;

/// How much of a kubelet's refusal is read; it is one sentence.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// `pods/log`.
pub(crate) async fn logs(app: &Arc<App>, asked: &Request, request: HttpRequest) -> Result<Response, Status> {
    let query = LogQuery::of(request.uri())?;
    let body = log_stream(app, asked, &query).await?;
    if socket::is_wanted(&request) {
        return socket::answer(request, body).await;
    }
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

/// The log as the kubelet streams it; ends when the server stops.
pub(crate) async fn log_stream(app: &Arc<App>, asked: &Request, query: &LogQuery) -> Result<Body, Status> {
    let (namespace, pod) = (asked.namespace.as_str(), asked.name.as_str());
    let place = Place::of(&app.registry, namespace, pod).await?;
    let container = place.container(&query.container)?;
    let request = connect::request("GET", &place, &log_path(namespace, pod, &container, query))?;
    let response = app.kubelets.send(&place.authority, request).await?;
    if response.status() != StatusCode::OK {
        return Err(refusal(response).await);
    }
    let stopping = app.stopping.clone().cancelled_owned();
    let chunks = futures::StreamExt::take_until(Body::new(response.into_body()).into_data_stream(), stopping);
    Ok(Body::from_stream(chunks))
}

/// `pods/exec`, `pods/attach`, `pods/portforward`.
pub(crate) async fn upgrade(app: &Arc<App>, asked: &Request, mut request: HttpRequest) -> Result<Response, Status> {
    if !is_upgrade(&request) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let (namespace, pod) = (asked.namespace.as_str(), asked.name.as_str());
    let place = Place::of(&app.registry, namespace, pod).await?;
    let path = stream_path(&place, namespace, pod, &asked.part, request.uri())?;
    let mut onward = connect::request(request.method().as_str(), &place, &path)?;
    for (name, value) in request.headers() {
        if is_about_the_stream(name) {
            onward.headers_mut().append(name.clone(), value.clone());
        }
    }
    let response = app.kubelets.send(&place.authority, onward).await?;
    match splice_upgrade(&mut request, response) {
        Ok(response) => Ok(response),
        Err(refused) => Err(refusal(refused).await),
    }
}

/// Headers that client and kubelet settle between them.
fn is_about_the_stream(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "upgrade" | "x-stream-protocol-version")
        || name.as_str().starts_with("sec-websocket-")
}

/// What the kubelet said instead.
async fn refusal(response: http::Response<hyper::body::Incoming>) -> Status {
    let code = response.status();
    let body = http_body_util::Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    let text = if text.is_empty() { format!("the kubelet answered {code}") } else { text };
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => Status::kubelet_not_found(text),
        StatusCode::NOT_IMPLEMENTED => Status::not_implemented(text),
        _ => Status::internal(format!("the kubelet answered {code}: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::{Meaning, Place, rows};

    #[test]
    fn every_header_about_streams_is_passed_on() {
        for row in rows().filter(|row| row.place == Place::Header && row.meaning == Meaning::Honoured) {
            if row.verbs.contains(&"exec") {
                assert!(is_about_the_stream(&HeaderName::from_static(row.name)), "{}", row.name);
            }
        }
        for other in ["authorization", "cookie", "x-remote-user", "accept"] {
            assert!(!is_about_the_stream(&HeaderName::from_static(other)), "{other}");
        }
    }
}
