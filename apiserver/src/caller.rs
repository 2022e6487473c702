//! Who a request is from and on whose behalf it acts, settled once for REST and gRPC before either sees it.
//!
//! ```text
//!  Audit-Id ──► credentials ──► Impersonate-* ──► the request, with the effective Identity and without all these headers
//! ```
//!
//! A front proxy, known by its certificate, says in headers for whom it asks. Any other certificate says itself whose it is (the in-process
//! client has put an [`Identity`] into the request already). Without either a bearer token says who asks. Credentials for which nobody
//! vouches are refused, not taken for an anonymous request.

mod accounts; // tokens of service accounts
mod impersonate; // acting as somebody else
mod issuers; // tokens of other issuers
mod joining; // tokens with which nodes join
mod options; // whom we believe
mod setup; // what the options make of it
mod tokens; // where tokens are asked for, and asked about
mod webhook; // tokens that another server vouches for

pub(crate) use options::FRONT_PROXY;
pub use options::{Authentication, FrontProxy, ServiceAccounts, TokenWebhook};
pub(crate) use setup::follow;

use crate::app::App;
use crate::audit::{Call, Visit, answered};
use crate::auth::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, sender};
use crate::fairness;
use crate::grpc;
use crate::pki::Pki;
use crate::registry::Registry;
use crate::rest;
use crate::server::ApiError;
use crate::status::Status;
use crate::tls::Shown;
use accounts::Accounts;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue};
use issuers::Issuers;
use jiff::Timestamp;
use serde_json::{Value, json};
use setup::File;
use skiff_authn::front_proxy::Headers;
use skiff_authn::oidc::{Anonymous, Configuration};
use skiff_authn::token_file::TokenFile;
use skiff_authn::{User, jwk};
use skiff_client::Identity;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use webhook::Webhook;

/// Names a request in the audit log; the answer repeats it.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// How a browser says its token where it can say no header (kube-apiserver's websocket authenticator).
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
/// With which the reasons begin why a token is not believed, as Kubernetes words them.
const ERRORS_BEGIN: &str = "invalid bearer token";
/// What a front proxy says, unless it is told to say it otherwise. Nobody else is believed it.
const PROXY_HEADERS: &str = "x-remote-";

/// The address that a request came from; requests of this process come from none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Everybody who can vouch for a caller.
pub(crate) struct Callers {
    accounts: Accounts,
    /// Whether bootstrap tokens are believed.
    bootstrap: bool,
    token_file: TokenFile,
    issuers: Issuers,
    /// Where those come from, if it is a file.
    file: Option<File>,
    webhook: Option<Webhook>,
    anonymous: Anonymous,
    proxy_headers: Headers,
    /// What is published of the issuer, if its name is a URL at which it could be.
    openid: Option<Value>,
    key_set: Value,
}

/// Whose a token is, and for whom of those that were asked about.
#[derive(Debug)]
pub(crate) struct Known {
    user: User,
    audiences: Vec<String>,
}

impl Callers {
    /// Reads keys, names and files.
    pub(crate) async fn new(options: &Authentication, pki: &Pki, advertise: SocketAddr) -> Result<Self, ApiError> {
        let accounts = Accounts::new(options, pki)?;
        let issuer = &accounts.terms.issuer;
        let uri = options.service_accounts.jwks_uri.clone();
        let uri = uri.unwrap_or_else(|| format!("https://{advertise}/openid/v1/jwks"));
        let is_url = issuer.starts_with("https://") && !issuer.contains(['?', '#']);
        let openid = is_url.then(|| {
            json!({
                "issuer": issuer, "jwks_uri": uri, "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": jwk::algorithms(&accounts.keys),
            })
        });
        let (file, found) = match &options.configuration {
            Some(path) => {
                let (file, found) = File::read(path, accounts.issuers())?;
                (Some(file), found)
            }
            None => (None, Configuration::default()),
        };
        if found.anonymous.is_some() && options.anonymous.is_some() {
            let problem =
                "cannot be set when anonymous field is configured in authentication configuration file".to_owned();
            return Err(ApiError::Authentication { flag: "--anonymous-auth", problem });
        }
        let issuers = Issuers::default();
        let believed = options.issuers.iter().cloned().chain(found.issuers).collect();
        issuers.replace(believed).map_err(|problem| ApiError::Authentication { flag: "--oidc-ca-file", problem })?;
        Ok(Self {
            openid,
            key_set: jwk::set(&accounts.keys),
            accounts,
            bootstrap: options.bootstrap_tokens,
            token_file: options.token_file.clone(),
            issuers,
            file,
            webhook: setup::webhook(options.webhook.as_ref()).await?,
            anonymous: found.anonymous.or_else(|| options.anonymous.clone()).unwrap_or_default(),
            proxy_headers: options.front_proxy.headers(),
        })
    }

    /// Whom the certificate that a connection came with speaks for; `None`: nobody, or not any more.
    fn by_certificate(&self, shown: &Shown, headers: &HeaderMap) -> Option<Identity> {
        if !shown.holds(Timestamp::now().as_second()) {
            return None;
        }
        let said = || {
            let all: Vec<(&str, String)> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect();
            let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
            self.proxy_headers.user(&all).map(tokens::identity)
        };
        let itself = || Some(shown.subject.clone()).filter(|one| shown.is_client && !one.user.is_empty());
        shown.is_front_proxy.then(said).flatten().or_else(itself)
    }

    /// Whose `token` is, if it is for one of `audiences`; or why nobody believes it, as far as somebody has something to say of it.
    async fn of_token(&self, registry: &Registry, token: &str, audiences: &[String]) -> Result<Known, Vec<String>> {
        // Who knows nothing of audiences vouches for those of this server.
        let ours: Vec<String> =
            self.accounts.terms.audiences.iter().filter(|one| audiences.contains(one)).cloned().collect();
        let is_ours = !ours.is_empty();
        if let Some(user) = self.token_file.user(token).filter(|_| is_ours) {
            return Ok(Known { user: user.clone(), audiences: ours });
        }
        let mut errors = Vec::new();
        let mut heard = |answer: Result<Option<Known>, String>| {
            answer.unwrap_or_else(|why| {
                errors.push(why);
                None
            })
        };
        if let Some(known) = heard(self.accounts.authenticate(registry, token, audiences).await) {
            return Ok(known);
        }
        if self.bootstrap
            && is_ours
            && let Some(known) = heard(joining::authenticate(registry, token, &ours).await)
        {
            return Ok(known);
        }
        if is_ours && let Some(known) = heard(self.issuers.authenticate(token, &ours).await) {
            return Ok(known);
        }
        if let Some(webhook) = &self.webhook
            && let Some(known) = heard(webhook.authenticate(token, audiences, &self.accounts.terms.audiences).await)
        {
            return Ok(known);
        }
        Err(errors)
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

/// Puts `identity` into the group of all who are known, unless its credential says that it is in it, or is not, or that nobody knows who it
/// is.
fn join_the_known(identity: &mut Identity) {
    if identity.user != ANONYMOUS
        && !identity.groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED)
    {
        identity.groups.push(AUTHENTICATED.to_owned());
    }
}

/// Settles the sender of `request`, then lets it go on, or refuses it in the words of the protocol it came with.
pub(crate) async fn settle(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let audit_id = audit_id(request.headers());
    let mut response = match app.auditor.get() {
        None => match admit(&app.callers, &app.registry, &mut request).await {
            Ok(()) => fairness::shaped(&app, request, next).await,
            Err(status) => refusal(&request, &status),
        },
        Some(auditor) => {
            let visit = Visit::begin(auditor, &request, audit_id.to_str().unwrap_or_default());
            Box::pin(visited(&app, visit, request, next)).await
        }
    };
    response.headers_mut().entry(AUDIT_ID).or_insert(audit_id);
    response
}

/// The same for a request that may be recorded.
async fn visited(app: &App, visit: Visit, mut request: Request, next: Next) -> Response {
    if let Err(status) = identify(&app.callers, &app.registry, &mut request).await {
        return visit.refused(refusal(&request, &status)).await;
    }
    let who = sender(request.extensions());
    if is_grpc(request.headers()) {
        return called(visit, who, request, next).await;
    }
    let record = match visit.known(&who).await {
        Ok(record) => record,
        Err(status) => return refusal(&request, &status),
    };
    let answer = async {
        if let Err(status) = act_as(&mut request).await {
            return refusal(&request, &status);
        }
        if let Some(record) = &record {
            let acting = sender(request.extensions());
            if acting != who {
                record.impersonated(&acting);
            }
            request.extensions_mut().insert(Arc::clone(record));
        }
        fairness::shaped(app, request, next).await
    };
    match record.clone() {
        Some(record) => answered(record, answer).await,
        None => answer.await,
    }
}

/// The same for a call over gRPC, which says in its message what it asks for.
async fn called(visit: Visit, who: Identity, mut request: Request, next: Next) -> Response {
    let refused = act_as(&mut request).await.err();
    let call = Call::new(visit, who, sender(request.extensions()));
    let response = match refused {
        Some(status) => refusal(&request, &status),
        None => {
            request.extensions_mut().insert(Arc::clone(&call));
            next.run(request).await
        }
    };
    call.answered(response).await
}

/// A refusal in the words of the protocol that the request came with.
fn refusal(request: &Request, status: &Status) -> Response {
    if is_grpc(request.headers()) { grpc::refusal(status) } else { rest::refusal(request, status) }
}

fn audit_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(AUDIT_ID).filter(|id| !id.is_empty()).cloned();
    let made_up = || HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
    given.or_else(|| made_up().ok()).unwrap_or(HeaderValue::from_static(""))
}

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

async fn admit(callers: &Callers, registry: &Registry, request: &mut Request) -> Result<(), Status> {
    identify(callers, registry, request).await?;
    act_as(request).await
}

/// Finds out who asks, by what comes along.
async fn identify(callers: &Callers, registry: &Registry, request: &mut Request) -> Result<(), Status> {
    let shown = request.extensions_mut().remove::<Shown>();
    if let Some(identity) = shown.as_ref().and_then(|shown| callers.by_certificate(shown, request.headers())) {
        request.extensions_mut().insert(identity);
    }
    if request.extensions().get::<Identity>().is_none()
        && let Some(identity) = Box::pin(callers.by_token(registry, request.headers())).await?
    {
        request.extensions_mut().insert(identity);
    }
    if request.extensions().get::<Identity>().is_none() {
        // A certificate that is no client's, or has ended, is a credential that nobody vouches for.
        let is_refuted = shown.is_some_and(|shown| !shown.is_client || !shown.holds(Timestamp::now().as_second()));
        if is_refuted || !callers.anonymous.allows(request.uri().path()) {
            return Err(Status::unauthorized());
        }
    }
    remove_if(request.headers_mut(), |name| callers.proxy_headers.include(name));
    if let Some(identity) = request.extensions_mut().get_mut::<Identity>() {
        join_the_known(identity);
    }
    Ok(())
}

/// What remains once it is known who asks: whom it asks for.
async fn act_as(request: &mut Request) -> Result<(), Status> {
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
    remove_if(headers, |name| name.replace('_', "-").starts_with(PROXY_HEADERS));
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
    remove_if(headers, |name| name.starts_with(prefix));
}

fn remove_if(headers: &mut HeaderMap, is_meant: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_meant(name.as_str())).cloned().collect();
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
        let headers = [
            ("authorization", "Bearer x"),
            ("x-remote-user", "root"),
            ("x_remote_group", "a"),
            ("sec-websocket-protocol", &token),
        ];
        let mut request = request(&headers, Some(Identity::node("n")));
        act_as(&mut request).await.expect("nobody is impersonated");
        let left: Vec<_> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(left, [("sec-websocket-protocol", &b"a, b"[..])]);
        let identity = request.extensions().get::<Identity>().expect("known");
        assert_eq!((identity.user.as_str(), &identity.groups[..]), ("system:node:n", &["system:nodes".to_owned()][..]));
    }
}
