//! A request from its head to its answer: which rule is for it, where it goes, and again where else if it could not be sent.

mod mirror; // copies
mod tries; // endpoint after endpoint

use crate::access::AccessLog;
use crate::body::{Limit, Payload};
use crate::finish::{Finish, Line};
use crate::heads::{self, Peer};
use crate::live::{Act, Door, Ready};
use crate::metrics::Metrics;
use crate::route::{Asked, HeaderChange, Redirect};
use crate::upstream::Lease;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tries::{Answered, Try};

/// What all requests share.
pub(crate) struct Core {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: AccessLog,
}

/// Answers one request.
pub(crate) async fn answer(core: &Core, door: &Door, peer: &Peer, mut request: Request<Incoming>) -> Response<Payload> {
    let upgrade = heads::upgrade_of(request.headers()).map(|_| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let mut finish = Finish::started(Line::about(&core.log, &core.metrics, &parts, peer));
    let host = match heads::host(&parts) {
        Ok(host) if !heads::is_ambiguous(parts.uri.path()) => host,
        _ => {
            return plain(
                StatusCode::BAD_REQUEST,
                "the host or the path of the request can be read in several ways",
                finish,
            );
        }
    };
    let asked = Asked {
        host: &host,
        path: parts.uri.path(),
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
    };
    let Some(entry) = door.table.find(&asked).map(|rule| &rule.action) else {
        core.metrics.unmatched.fetch_add(1, Ordering::Relaxed);
        return plain(StatusCode::NOT_FOUND, "no route is for this host and path", finish);
    };
    finish.counts = Some(Arc::clone(&entry.counts));
    if let Some(line) = &mut finish.line {
        line.object.clone_from(&entry.object);
    }
    match &entry.act {
        Act::Redirect(redirect) => redirected(redirect, &asked, peer, finish),
        Act::Answer(status) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            plain(status, "the route leads to nothing that is there", finish)
        }
        Act::Forward(ready) => Box::pin(forward(core, ready, (parts, body, upgrade), host, peer, finish)).await,
    }
}

/// An answer of ours.
fn plain(status: StatusCode, text: &str, mut finish: Finish) -> Response<Payload> {
    finish.status = status.as_u16();
    finish.sent(text.len() + 1);
    let mut answer = Response::new(Payload::text(format!("{text}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn redirected(redirect: &Redirect, asked: &Asked<'_>, peer: &Peer, finish: Finish) -> Response<Payload> {
    let location = redirect.location(asked, peer.scheme(), peer.port);
    let status = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    let Ok(location) = HeaderValue::from_str(&location) else {
        return plain(StatusCode::BAD_REQUEST, "the path cannot stand in a redirect", finish);
    };
    let mut answer = plain(status, "see the header Location", finish);
    answer.headers_mut().insert(LOCATION, location);
    answer
}

async fn forward(
    core: &Core,
    ready: &Ready,
    (mut parts, body, upgrade): (Parts, Incoming, Option<OnUpgrade>),
    host: String,
    peer: &Peer,
    mut finish: Finish,
) -> Response<Payload> {
    let plan = &ready.plan;
    if plan.body_bytes_max.is_some_and(|max| body.size_hint().lower() > max) {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than its route allows", finish);
    }
    let Some(at) = ready.choose() else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the route has no backend with a weight", finish);
    };
    let (to, Some(pool)) = (&plan.to[at], &ready.pools[at]) else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the backend of the route cannot be used", finish);
    };
    let cookie = plan.affinity.as_ref().and_then(|name| heads::cookie(&parts.headers, name)).map(str::to_owned);
    heads::onwards(&mut parts, &host, peer);
    plan.request.apply(&mut parts.headers);
    to.request.apply(&mut parts.headers);
    if let Some(host) = &plan.host {
        parts.headers.insert(HOST, host.clone());
    }
    let path = plan.path.as_ref().map(|change| change.of(parts.uri.path()));
    let Some(target) = heads::target(&parts.uri, path.as_deref(), None) else {
        return plain(StatusCode::BAD_REQUEST, "the path cannot be rewritten", finish);
    };
    parts.uri = target;
    let limit = plan.body_bytes_max.map(Limit::of);
    let exceeded = limit.as_ref().map(|limit| Arc::clone(&limit.is_exceeded));
    let payload = if body.is_end_stream() { Payload::Empty } else { Payload::FromClient(body, limit) };
    let payload = mirror::copy(ready, &parts, payload).await;
    let one = Try { core, plan, pool, cookie: cookie.as_deref(), wants_upgrade: upgrade.is_some() };
    let answered = one.run(Request::from_parts(parts, payload)).await;
    if let Some(line) = &mut finish.line {
        (line.endpoint, line.tries) = (answered.endpoint.as_ref().map(|one| one.address), answered.tries);
    }
    let is_too_long = exceeded.is_some_and(|exceeded| exceeded.load(Ordering::Relaxed));
    match (is_too_long, answered) {
        (true, _) => plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than its route allows", finish),
        (false, Answered { result: Err((status, text)), .. }) => plain(status, text, finish),
        (false, Answered { result: Ok((answer, lease)), endpoint, .. }) => {
            let set = plan.affinity.as_deref().zip(endpoint.as_ref());
            let set = set.filter(|(_, one)| cookie.as_ref() != Some(&one.cookie));
            let set = set.and_then(|(name, one)| set_cookie(name, &one.cookie, peer));
            match upgrade {
                Some(client) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => splice(client, answer, finish),
                _ => returned(answer, (&to.response, &plan.response), set, lease, finish),
            }
        }
    }
}

/// An endpoint's answer as the client gets it.
fn returned(
    answer: Response<Incoming>,
    (of_backend, of_route): (&HeaderChange, &HeaderChange),
    set: Option<HeaderValue>,
    lease: Option<Lease>,
    mut finish: Finish,
) -> Response<Payload> {
    let (mut head, body) = answer.into_parts();
    heads::drop_hop_by_hop(&mut head.headers);
    of_backend.apply(&mut head.headers);
    of_route.apply(&mut head.headers);
    if let Some(cookie) = set {
        head.headers.append(SET_COOKIE, cookie);
    }
    head.version = Version::HTTP_11;
    finish.status = head.status.as_u16();
    Response::from_parts(head, passed(body, lease, finish))
}

/// The body of an endpoint's answer; one without frees its connection at once.
fn passed(body: Incoming, lease: Option<Lease>, finish: Finish) -> Payload {
    if body.is_end_stream() {
        if let Some(lease) = lease {
            lease.give_back();
        }
        return Payload::FromEndpoint(body, None, Some(finish));
    }
    Payload::FromEndpoint(body, lease, Some(finish))
}

fn set_cookie(name: &str, value: &str, peer: &Peer) -> Option<HeaderValue> {
    let secure = if peer.tls { "; Secure" } else { "" };
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}")).ok()
}

/// Both sides have left HTTP: from here on bytes are passed on until both have ended.
fn splice(client: OnUpgrade, mut answer: Response<Incoming>, mut finish: Finish) -> Response<Payload> {
    let endpoint = hyper::upgrade::on(&mut answer);
    finish.status = StatusCode::SWITCHING_PROTOCOLS.as_u16();
    let mut headers: HeaderMap = std::mem::take(answer.headers_mut());
    headers.remove(CONTENT_LENGTH);
    tokio::spawn(async move {
        let (near, far) = match tokio::try_join!(client, endpoint) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(error = skiff_client::sentence(&error), "upgrade not completed");
                return;
            }
        };
        let (mut near, mut far) = (TokioIo::new(near), TokioIo::new(far));
        match tokio::io::copy_bidirectional(&mut near, &mut far).await {
            Ok((_, bytes)) => finish.sent(usize::try_from(bytes).unwrap_or(usize::MAX)),
            Err(error) => tracing::debug!(error = skiff_client::sentence(&error), "upgraded connection ended"),
        }
    });
    let mut switched = Response::new(Payload::Empty);
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *switched.headers_mut() = headers;
    switched
}
