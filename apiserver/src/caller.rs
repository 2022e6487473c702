//! Who a request is from and on whose behalf it acts, settled once for REST and gRPC before either sees it.
//!
//! ```text
//!  Audit-Id ──► credentials ──► Impersonate-* ──► the request, with the effective Identity and without all these headers
//! ```
//!
//! A client certificate (or the in-process client) has put an [`Identity`] into the request already, and counts. Without one a bearer token
//! says who asks; one that nobody vouches for is refused, not taken for an anonymous request.

mod accounts; // tokens of service accounts
mod impersonate; // acting as somebody else
mod options; // whom we believe
mod tokens; // where tokens are asked for, and asked about

pub use options::{Authentication, ServiceAccounts};

use crate::app::App;
use crate::auth::{AUTHENTICATED, UNAUTHENTICATED};
use crate::grpc;
use crate::pki::Pki;
use crate::registry::Registry;
use crate::rest;
use crate::server::ApiError;
use crate::status::Status;
use accounts::Accounts;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use skiff_authn::{User, jwk};
use skiff_client::Identity;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Names a request in the audit log; the answer repeats it.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// How a browser says its token where it can say no header (kube-apiserver's websocket authenticator).
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
/// With which the reasons begin why a token is not believed, as Kubernetes words them.
const ERRORS_BEGIN: &str = "invalid bearer token";
/// What a front proxy would say. None is configured, so nobody is believed it.
const PROXY_HEADERS: &str = "x-remote-";

/// The address that a request came from; requests of this process come from none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Everybody who can vouch for a caller.
pub(crate) struct Callers {
    accounts: Accounts,
    /// What is published of the issuer, if its name is a URL at which it could be.
    configuration: Option<Value>,
    key_set: Value,
}

/// Whose a token is, and for whom of those that were asked about.
#[derive(Debug)]
pub(crate) struct Known {
    user: User,
    audiences: Vec<String>,
}

impl Callers {
    /// Reads keys and names.
    pub(crate) fn new(options: &Authentication, pki: &Pki, advertise: SocketAddr) -> Result<Self, ApiError> {
        let accounts = Accounts::new(options, pki)?;
        let issuer = &accounts.terms.issuer;
        let uri = options.service_accounts.jwks_uri.clone();
        let uri = uri.unwrap_or_else(|| format!("https://{advertise}/openid/v1/jwks"));
        let is_url = issuer.starts_with("https://") && !issuer.contains(['?', '#']);
        let configuration = is_url.then(|| {
            json!({
                "issuer": issuer, "jwks_uri": uri, "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": jwk::algorithms(&accounts.keys),
            })
        });
        Ok(Self { configuration, key_set: jwk::set(&accounts.keys), accounts })
    }

    /// Whose `token` is, if it is for one of `audiences`; or why nobody believes it, as far as somebody has something to say of it.
    async fn of_token(&self, registry: &Registry, token: &str, audiences: &[String]) -> Result<Known, Vec<String>> {
        match self.accounts.authenticate(registry, token, audiences).await {
            Ok(Some(known)) => Ok(known),
            Ok(None) => Err(Vec::new()),
            Err(why) => Err(vec![why]),
        }
    }

    /// Who sends a request with these headers, by the token among them; `None`: there is none.
    async fn by_token(&self, registry: &Registry, headers: &HeaderMap) -> Result<Option<Identity>, Status> {
        let Some(token) = token(headers)? else { return Ok(None) };
        match self.of_token(registry, &token, &self.accounts.terms.audiences).await {
            Ok(known) => Ok(Some(tokens::identity(known.user))),
            Err(errors) => {
                tracing::debug!(errors = errors.join(", "), "a token is not believed");
                Err(Status::unauthorized())
            }
        }
    }
}

/// A user as an identity, in the group of all who are known.
fn authenticated(user: User) -> Identity {
    let mut identity = tokens::identity(user);
    join_the_known(&mut identity);
    identity
}

/// Puts `identity` into the group of all who are known, unless its credential says that it is in it, or is not.
fn join_the_known(identity: &mut Identity) {
    if !identity.groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED) {
        identity.groups.push(AUTHENTICATED.to_owned());
    }
}

/// Settles the sender of `request`, then lets it go on, or refuses it in the words of the protocol it came with.
pub(crate) async fn settle(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let audit_id = audit_id(request.headers());
    let is_grpc = is_grpc(request.headers());
    let mut response = match admit(&app.callers, &app.registry, &mut request).await {
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

async fn admit(callers: &Callers, registry: &Registry, request: &mut Request) -> Result<(), Status> {
    if request.extensions().get::<Identity>().is_none()
        && let Some(identity) = Box::pin(callers.by_token(registry, request.headers())).await?
    {
        request.extensions_mut().insert(identity);
    }
    act_as(request).await
}

/// What remains once it is known who asks: whom it asks for.
async fn act_as(request: &mut Request) -> Result<(), Status> {
    if let Some(identity) = request.extensions_mut().get_mut::<Identity>() {
        join_the_known(identity);
    }
    forget_credentials(request.headers_mut());
    if let Some(wanted) = impersonate::wanted(request.headers())? {
        let identity = Box::pin(wanted.granted_to(request.extensions())).await?;
        impersonate::forget(request.headers_mut());
        request.extensions_mut().insert(identity);
    }
    Ok(())
}

/// The bearer token that comes along, as header or as WebSocket protocol.
fn token(headers: &HeaderMap) -> Result<Option<String>, Status> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let mut words = value.trim().splitn(3, ' ');
        let is_bearer = words.next().is_some_and(|word| word.eq_ignore_ascii_case("bearer"));
        words.next().filter(|token| is_bearer && !token.is_empty()).map(str::to_owned)
    });
    if bearer.is_some() {
        return Ok(bearer);
    }
    let all = protocols(headers);
    let tokens: Vec<&str> = all.iter().filter_map(|name| name.strip_prefix(TOKEN_PROTOCOL)).collect();
    match &tokens[..] {
        [] => Ok(None),
        // A server answers with one of the protocols that were offered, and never with the token.
        [one] if all.len() > 1 => {
            let text = URL_SAFE_NO_PAD.decode(one).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            text.filter(|text| !text.is_empty()).map(Some).ok_or_else(Status::unauthorized)
        }
        _ => Err(Status::unauthorized()),
    }
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

    #[test]
    fn tokens_come_in_headers_and_protocols() {
        let pair = format!("{TOKEN_PROTOCOL}eA, v4.channel.k8s.io");
        let alone = format!("{TOKEN_PROTOCOL}eA");
        let twice = format!("{TOKEN_PROTOCOL}eA, {TOKEN_PROTOCOL}eA, b");
        let garbage = format!("{TOKEN_PROTOCOL}!, b");
        for (name, value, expected) in [
            ("authorization", "Bearer x", Some("x")),
            ("authorization", "bearer x y", Some("x")),
            ("authorization", "Bearer ", None),
            ("authorization", "Basic eDp5", None),
            ("sec-websocket-protocol", pair.as_str(), Some("x")),
            ("sec-websocket-protocol", "v4.channel.k8s.io", None),
        ] {
            let found = token(request(&[(name, value)], None).headers()).expect("sound");
            assert_eq!(found.as_deref(), expected, "{name}: {value}");
        }
        for wrong in [alone, twice, garbage] {
            let refused = token(request(&[("sec-websocket-protocol", &wrong)], None).headers());
            assert!(refused.is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn credentials_go_no_further() {
        let token = format!("a, {TOKEN_PROTOCOL}eA, b");
        let headers = [("authorization", "Bearer x"), ("x-remote-user", "root"), ("sec-websocket-protocol", &token)];
        let mut request = request(&headers, Some(Identity::node("n")));
        act_as(&mut request).await.expect("nobody is impersonated");
        let left: Vec<_> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(left, [("sec-websocket-protocol", &b"a, b"[..])]);
        let identity = request.extensions().get::<Identity>().expect("known");
        assert_eq!(
            (identity.user.as_str(), &identity.groups[..]),
            ("system:node:n", &["system:nodes", AUTHENTICATED].map(ToOwned::to_owned)[..])
        );
    }
}
