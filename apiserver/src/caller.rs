//! Who a request is from and on whose behalf it acts, settled once for REST and gRPC before either sees it.
//!
//! ```text
//!  Audit-Id ──► credentials ──► Impersonate-* ──► the request, with the effective Identity and without all these headers
//! ```
//!
//! A client certificate (or the in-process client) has put an [`Identity`] into the request already. There are no tokens: one
//! that comes without a certificate is refused, not taken for an anonymous request.

mod impersonate; // acting as somebody else

use crate::auth::AUTHENTICATED;
use crate::grpc;
use crate::rest;
use crate::status::Status;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue};
use skiff_client::Identity;
use std::net::IpAddr;

/// Names a request in the audit log; the answer repeats it.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// How a browser says its token where it can say no header (kube-apiserver's websocket authenticator).
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
/// What a front proxy would say. None is configured, so nobody is believed it.
const PROXY_HEADERS: &str = "x-remote-";

/// The address that a request came from; requests of this process come from none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Settles the sender of `request`, then lets it go on, or refuses it in the words of the protocol it came with.
pub(crate) async fn settle(mut request: Request, next: Next) -> Response {
    let audit_id = audit_id(request.headers());
    let is_grpc = is_grpc(request.headers());
    let mut response = match admit(&mut request).await {
        Ok(()) => next.run(request).await,
        Err(status) if is_grpc => grpc::refusal(&status),
        Err(status) => rest::refusal(&request, &status),
    };
    response.headers_mut().entry(AUDIT_ID).or_insert(audit_id);
    response
}

fn audit_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(AUDIT_ID).filter(|id| !id.is_empty()).cloned();
    let made_up = || HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
    given.or_else(|| made_up().ok()).unwrap_or(HeaderValue::from_static(""))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

async fn admit(request: &mut Request) -> Result<(), Status> {
    if request.extensions().get::<Identity>().is_none() && has_token(request.headers()) {
        return Err(Status::unauthorized());
    }
    if let Some(identity) = request.extensions_mut().get_mut::<Identity>() {
        identity.groups.push(AUTHENTICATED.to_owned());
    }
    forget_credentials(request.headers_mut());
    if let Some(wanted) = impersonate::wanted(request.headers())? {
        let identity = wanted.granted_to(request.extensions()).await?;
        impersonate::forget(request.headers_mut());
        request.extensions_mut().insert(identity);
    }
    Ok(())
}

/// Whether a bearer token comes along, as header or as WebSocket protocol.
fn has_token(headers: &HeaderMap) -> bool {
    let bearer = |value: &HeaderValue| {
        let mut words = value.to_str().unwrap_or_default().trim().splitn(3, ' ');
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("bearer"))
            && words.next().is_some_and(|token| !token.is_empty())
    };
    headers.get(AUTHORIZATION).is_some_and(bearer)
        || protocols(headers).iter().any(|name| name.starts_with(TOKEN_PROTOCOL))
}

fn protocols(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Takes credentials off the request, so that nobody behind us sees them: neither a handler nor a kubelet.
fn forget_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    remove_all(headers, PROXY_HEADERS);
    let all = protocols(headers);
    let kept: Vec<&str> = all.iter().map(String::as_str).filter(|name| !name.starts_with(TOKEN_PROTOCOL)).collect();
    if kept.len() < all.len() {
        headers.remove(SEC_WEBSOCKET_PROTOCOL);
        if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_str(&kept.join(", "))) {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
}

fn remove_all(headers: &mut HeaderMap, prefix: &str) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)], identity: Option<Identity>) -> Request {
        let mut request = Request::new(axum::body::Body::empty());
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        if let Some(identity) = identity {
            request.extensions_mut().insert(identity);
        }
        request
    }

    /// Fault N4: a token that nobody can check is no anonymous request.
    #[tokio::test]
    async fn tokens_are_refused_where_there_is_no_certificate() {
        let token = format!("{TOKEN_PROTOCOL}eA, v4.channel.k8s.io");
        for (name, value, refused) in [
            ("authorization", "Bearer x", true),
            ("authorization", "bearer x y", true),
            ("authorization", "Bearer ", false),
            ("authorization", "Basic eDp5", false),
            ("sec-websocket-protocol", &token, true),
            ("sec-websocket-protocol", "v4.channel.k8s.io", false),
        ] {
            let outcome = admit(&mut request(&[(name, value)], None)).await;
            assert_eq!(outcome.is_err_and(|status| status.code.as_u16() == 401), refused, "{name}: {value}");
            assert_eq!(
                admit(&mut request(&[(name, value)], Some(Identity::component("x")))).await,
                Ok(()),
                "{name}: {value}"
            );
        }
    }

    #[tokio::test]
    async fn credentials_go_no_further() {
        let token = format!("a, {TOKEN_PROTOCOL}eA, b");
        let headers = [("authorization", "Bearer x"), ("x-remote-user", "root"), ("sec-websocket-protocol", &token)];
        let mut request = request(&headers, Some(Identity::node("n")));
        admit(&mut request).await.expect("the certificate counts");
        let left: Vec<_> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(left, [("sec-websocket-protocol", &b"a, b"[..])]);
        let identity = request.extensions().get::<Identity>().expect("known");
        assert_eq!(
            (identity.user.as_str(), &identity.groups[..]),
            ("system:node:n", &["system:nodes", AUTHENTICATED].map(ToOwned::to_owned)[..])
        );
    }
}
