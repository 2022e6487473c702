//! `pods/proxy`, `services/proxy` and `nodes/proxy`: a request goes on to a port of a pod, of one of a service's pods, or to a kubelet,
//! whatever its method, and the answer comes back with its links made to lead through this server.
//!
//! ```text
//!  /api/v1/namespaces/a/services/https:web:443/proxy/docs/?q=1
//!  └────────────────────── prefix ─────────────────┘└ path ┘     ──►  https://10.88.0.7:8443/docs/?q=1
//! ```

mod dial; // a connection to where it leads
mod head; // headers of request and answer; no I/O
mod html; // links in a page; no I/O
mod links; // which links lead back through us; no I/O
mod path; // the path there; no I/O
mod place; // which address a name stands for

pub(crate) use head::{backward, forward as forwarded};

use crate::app::App;
use crate::request::Request;
use crate::status::Status;
use axum::body::Body;
use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use links::Links;
use place::Place;
use skiff_client::{is_upgrade, splice_upgrade};
use std::sync::Arc;

/// What of the path is which.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    /// `pods`, `services` or `nodes`.
    plural: &'a str,
    /// Empty for nodes.
    namespace: &'a str,
    /// `name`, `name:port` or `scheme:name:port`.
    id: &'a str,
    /// What stands behind `/proxy`, as it was sent.
    rest: &'a str,
}

/// Passes `request` on, and its answer back.
pub(crate) async fn forward(
    app: &Arc<App>,
    asked: &Request,
    rest: &str,
    request: HttpRequest,
) -> Result<Response, Status> {
    let asked = Asked { plural: &asked.resource.plural, namespace: &asked.namespace, id: &asked.name, rest };
    pass(app, &Place::of(app, asked).await?, asked, request).await
}

async fn pass(app: &Arc<App>, place: &Place, asked: Asked<'_>, mut request: HttpRequest) -> Result<Response, Status> {
    let path = path::onward(asked.rest).ok_or_else(Status::no_such_path)?;
    if is_upgrade(&request) {
        return upgrade(app, place, &path, request).await;
    }
    if path.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
        return moved(request.uri());
    }
    let links = Links { prefix: path::prefix(asked), there: place.authority.clone(), here: host(&request) };
    let forwarded_uri = format!("{}{path}", links.prefix);
    let mut onward = towards(place, &path, &request)?;
    head::forward(onward.headers_mut(), &mut request, Some(&forwarded_uri));
    let is_head = request.method() == Method::HEAD;
    *onward.body_mut() = request.into_body();
    let answer = dial::send(app, place, onward).await?;
    let (mut parts, body) = answer.into_parts();
    head::backward(&mut parts.headers);
    if let Some(location) = parts.headers.get(header::LOCATION) {
        let rewritten = location.to_str().ok().and_then(|location| links.rewritten(location));
        if let Some(Ok(rewritten)) = rewritten.map(TryInto::try_into) {
            parts.headers.insert(header::LOCATION, rewritten);
        }
        return Ok(Response::from_parts(parts, streamed(app, Body::new(body))));
    }
    if is_head || !html::is_page(&parts.headers) {
        return Ok(Response::from_parts(parts, streamed(app, Body::new(body))));
    }
    let body = html::with_links(Body::new(body), &mut parts.headers, &links).await;
    Ok(Response::from_parts(parts, streamed(app, body)))
}

/// The answer to `…/proxy`: links in what comes would otherwise be relative to the name, not to what it serves.
fn moved(uri: &Uri) -> Result<Response, Status> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = format!("{}/{query}", uri.path()).try_into();
    let location = location.map_err(|_| Status::bad_request("the path is no text for a header"))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// WebSocket, SPDY and whatever else client and server agree on; from the answer on it goes through byte for byte.
async fn upgrade(app: &Arc<App>, place: &Place, path: &str, mut request: HttpRequest) -> Result<Response, Status> {
    let mut onward = towards(place, path, &request)?;
    let word = request.headers().get(header::UPGRADE).cloned();
    head::forward(onward.headers_mut(), &mut request, None);
    onward.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
    onward.headers_mut().extend(word.map(|word| (header::UPGRADE, word)));
    let answer = dial::send(app, place, onward).await?;
    match splice_upgrade(&mut request, answer) {
        Ok(response) => Ok(response),
        Err(refused) if refused.status().is_client_error() || refused.status().is_server_error() => {
            let (mut parts, body) = refused.into_parts();
            head::backward(&mut parts.headers);
            Ok(Response::from_parts(parts, streamed(app, Body::new(body))))
        }
        Err(other) => {
            Err(Status::internal(format!("invalid upgrade response: status code {}", other.status().as_u16())))
        }
    }
}

/// The same request at `place`, still without headers and body.
fn towards(place: &Place, path: &str, request: &HttpRequest) -> Result<http::Request<Body>, Status> {
    let path = if path.is_empty() { "/" } else { path };
    let whole = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let wrong = |error: &dyn std::fmt::Display| Status::bad_request(format!("request to {}: {error}", place.authority));
    let target: PathAndQuery = whole.parse().map_err(|error| wrong(&error))?;
    let mut onward = http::Request::new(Body::empty());
    *onward.method_mut() = request.method().clone();
    *onward.uri_mut() = target.into();
    // Servers choose by it what they show, so they get the name by which the client asked.
    let named = match host(request) {
        name if name.is_empty() => place.authority.clone(),
        name => name,
    };
    let named = named.try_into().map_err(|error: http::header::InvalidHeaderValue| wrong(&error))?;
    onward.headers_mut().insert(header::HOST, named);
    Ok(onward)
}

/// Where the client sent `request`: HTTP/2 has it in the path's place, HTTP/1.1 in a header.
fn host(request: &HttpRequest) -> String {
    let said = |headers: &HeaderMap| headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    request.uri().authority().map(Authority::to_string).or_else(|| said(request.headers())).unwrap_or_default()
}

/// Ends with the server.
fn streamed(app: &Arc<App>, body: Body) -> Body {
    if http_body::Body::is_end_stream(&body) {
        return body;
    }
    let stopping = app.stopping.clone().cancelled_owned();
    Body::from_stream(futures::StreamExt::take_until(body.into_data_stream(), stopping))
}

#[cfg(test)]
mod tests;
