//! A request goes on to the server that answers for it, and says on whose behalf.

use super::path;
use super::remote::Remote;
use crate::app::App;
use crate::auth::{Act, authorize, sender};
use crate::proxy::{backward, forwarded};
use crate::rest::percent_decode;
use crate::status::Status;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use skiff_client::{Identity, is_upgrade, splice_upgrade};
use std::sync::Arc;

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";

/// Passes `request` on, and its answer back.
pub(crate) async fn forward(app: &Arc<App>, remote: &Arc<Remote>, mut request: Request) -> Result<Response, Status> {
    may(request.method(), request.uri(), request.extensions()).await?;
    if !remote.is_available() {
        return Ok(unavailable("service unavailable"));
    }
    let Ok(authority) = remote.resolved(&app.registry).await else { return Ok(unavailable("service unavailable")) };
    let mut onward = towards(&authority, &request)?;
    let who = sender(request.extensions());
    let upgrade = is_upgrade(&request).then(|| request.headers().get(header::UPGRADE).cloned()).flatten();
    let uri = request.uri().path().to_owned();
    forwarded(onward.headers_mut(), &mut request, Some(&uri));
    introduce(onward.headers_mut(), &who);
    if let Some(word) = upgrade {
        onward.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        onward.headers_mut().insert(header::UPGRADE, word);
        return match remote.send(onward).await {
            Ok(answer) => Ok(splice_upgrade(&mut request, answer).unwrap_or_else(|answer| passed(app, answer))),
            Err(why) => Err(unreached(&why)),
        };
    }
    *onward.body_mut() = request.into_body();
    match remote.send(onward).await {
        Ok(answer) => Ok(passed(app, answer)),
        Err(why) => Err(unreached(&why)),
    }
}

/// Whether who asks may do what is asked, whoever answers.
pub(crate) async fn may(method: &Method, uri: &Uri, door: &Extensions) -> Result<(), Status> {
    let path = uri.path();
    let segments: Option<Vec<String>> = path.split('/').filter(|one| !one.is_empty()).map(percent_decode).collect();
    let segments = segments.ok_or_else(Status::no_such_path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let query = uri.query().unwrap_or_default();
    let watch = query.split('&').any(|pair| matches!(pair, "watch" | "watch=true" | "watch=1"));
    match path::asked(method, &segments, watch) {
        Some(asked) => authorize(door, asked.act()).await,
        None => {
            let verb = method.as_str().to_ascii_lowercase();
            authorize(door, Act::Path { verb: &verb, path }).await
        }
    }
}

/// The same request at `authority`, still without headers and body.
pub(super) fn towards(authority: &str, request: &Request) -> Result<http::Request<Body>, Status> {
    let whole = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let mut onward = http::Request::new(Body::empty());
    *onward.method_mut() = request.method().clone();
    *onward.uri_mut() = uri(authority, whole)?;
    Ok(onward)
}

/// `https://authority/…`
pub(super) fn uri(authority: &str, path: &str) -> Result<Uri, Status> {
    let wrong = |error: &dyn std::fmt::Display| Status::bad_request(format!("request to {authority}: {error}"));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(authority.parse::<Authority>().map_err(|error| wrong(&error))?);
    parts.path_and_query = Some(path.parse::<PathAndQuery>().map_err(|error| wrong(&error))?);
    Uri::from_parts(parts).map_err(|error| wrong(&error))
}

/// Says on whose behalf the request comes; what it said itself is forgotten.
pub(super) fn introduce(headers: &mut HeaderMap, who: &Identity) {
    let said: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in said {
        headers.remove(name);
    }
    headers.remove(header::AUTHORIZATION);
    let mut add = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.append(name, value);
        }
    };
    add(USER, &who.user);
    if !who.uid.is_empty() {
        add(UID, &who.uid);
    }
    who.groups.iter().for_each(|group| add(GROUP, group));
    for (key, values) in &who.extra {
        let Ok(name) = HeaderName::try_from(format!("{EXTRA}{}", escaped(key))) else { continue };
        values.iter().for_each(|value| add(name.clone(), value));
    }
}

/// A key as the name of a header: what may not stand in one is percent-encoded.
fn escaped(key: &str) -> String {
    let mut name = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name += &format!("%{byte:02X}");
        }
    }
    name
}

fn passed(app: &Arc<App>, answer: http::Response<hyper::body::Incoming>) -> Response {
    let (mut parts, body) = answer.into_parts();
    backward(&mut parts.headers);
    let stopping = app.stopping.clone().cancelled_owned();
    let body = Body::new(body);
    if http_body::Body::is_end_stream(&body) {
        return Response::from_parts(parts, body);
    }
    let body = Body::from_stream(futures::StreamExt::take_until(body.into_data_stream(), stopping));
    Response::from_parts(parts, body)
}

fn unavailable(why: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{why}\n")));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn unreached(why: &str) -> Status {
    Status::unavailable(format!("error trying to reach service: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_behind_us_learns_who_asks_and_nothing_that_was_pretended() {
        let mut headers = HeaderMap::new();
        headers.insert(USER, HeaderValue::from_static("root"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        let who = Identity {
            user: "u".to_owned(),
            groups: vec!["a".to_owned(), "b".to_owned()],
            uid: "1".to_owned(),
            extra: [("acme.com/Project".to_owned(), vec!["p".to_owned()])].into(),
        };
        introduce(&mut headers, &who);
        let mut said: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        said.sort();
        assert_eq!(
            said,
            [
                "x-remote-extra-acme.com%2fproject: p",
                "x-remote-group: a",
                "x-remote-group: b",
                "x-remote-uid: 1",
                "x-remote-user: u"
            ]
        );
    }
}
