//! Tokens that registries' servers gave (the distribution project's token specification, and its OAuth 2 form), kept until they run out.

use crate::challenge::Challenge;
use crate::credentials::Credentials;
use crate::error::{Kind, RegistryError};
use crate::exchange::Ask;
use crate::hosts::{Endpoint, Shared};
use crate::realm;
use crate::repository::collect;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Empty, Full};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a token is good if nobody says it (token specification: "at least 60 seconds").
const LIFE: u64 = 60;
/// It is not used in its last seconds: the clocks differ, and the request is on its way.
const MARGIN: Duration = Duration::from_secs(10);
/// How long a server of tokens may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of its answer; tokens are a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How many are kept; a node has that many repositories, and more are asked for again.
const KEPT_MAX: usize = 1024;

/// What a token is for: `repository:NAME:pull,push`, separated by spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope(pub(crate) String);

/// Where, for what, as whom.
type Key = (String, Scope, u64);

/// Tokens by what they are for.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<Key, (HeaderValue, Option<Instant>)>>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

fn key(endpoint: &Endpoint, scope: &Scope) -> Key {
    let mut hasher = DefaultHasher::new();
    endpoint.credentials.hash(&mut hasher);
    (endpoint.origin.url(), scope.clone(), hasher.finish())
}

impl Tokens {
    /// The value of `Authorization` that was good for this lately.
    pub(crate) fn known(&self, endpoint: &Endpoint, scope: &Scope) -> Option<HeaderValue> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, until) = kept.get(&key(endpoint, scope))?;
        until.is_none_or(|until| Instant::now() < until).then(|| value.clone())
    }

    pub(crate) fn forget(&self, endpoint: &Endpoint, scope: &Scope) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(endpoint, scope));
    }

    fn keep(&self, endpoint: &Endpoint, scope: &Scope, value: HeaderValue, until: Option<Instant>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key(endpoint, scope), (value, until));
    }
}

impl Shared {
    /// What answers a challenge.
    pub(crate) async fn authorize(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        challenge: &Challenge,
    ) -> Result<HeaderValue, RegistryError> {
        let denied = |reason: &str| RegistryError::new(Kind::Denied, reason);
        let own = endpoint.credentials.as_ref();
        let (header, until) = match (challenge, own) {
            (_, Some(Credentials::Token(token))) => (format!("Bearer {token}"), None),
            (Challenge::Basic, Some(credentials)) => {
                let header = credentials.header();
                (
                    header.ok_or_else(|| denied("401 Unauthorized: it wants a password, and there is only a token"))?,
                    None,
                )
            }
            (Challenge::Basic, None) => return Err(denied("401 Unauthorized: it wants a user and a password")),
            (Challenge::Bearer { realm, service, scope: asked }, own) => {
                let realm_of = realm::check(&endpoint.origin, realm, &endpoint.realms, own.is_some());
                let origin = realm_of.map_err(|reason| denied(&reason))?;
                let scope = if scope.0.is_empty() { asked.clone().unwrap_or_default() } else { scope.0.clone() };
                let wanted = Wanted { origin, realm, service: service.as_deref(), scope: &scope };
                let (token, seconds) = self.fetch(endpoint, &wanted).await?;
                let life = Duration::from_secs(seconds.max(LIFE)).saturating_sub(MARGIN);
                (format!("Bearer {token}"), Instant::now().checked_add(life))
            }
        };
        let mut value =
            HeaderValue::from_str(&header).map_err(|_| denied("the credentials cannot be sent in a header"))?;
        value.set_sensitive(true);
        self.tokens.keep(endpoint, scope, value.clone(), until);
        Ok(value)
    }

    /// A token and how many seconds it is good.
    async fn fetch(&self, endpoint: &Endpoint, wanted: &Wanted<'_>) -> Result<(String, u64), RegistryError> {
        let during = |error: RegistryError| error.during(&format!("token of {}", wanted.origin.url()));
        let failed = |kind: Kind, reason: String| during(RegistryError::new(kind, reason));
        let (request, ask) = wanted.request(endpoint).map_err(|reason| failed(Kind::Protocol, reason))?;
        let is_home = wanted.origin.host() == endpoint.origin.host();
        let tls = if is_home { &endpoint.trust.tls } else { &endpoint.trust.others };
        let answer = self.agent.send(&wanted.origin, tls, request, PATIENCE).await;
        let (head, body) = answer.map_err(during)?.into_parts();
        if !head.status.is_success() {
            let answer = crate::exchange::Answer { status: head.status, headers: head.headers, body };
            let refusal = answer.refusal(&ask).await;
            let kind = if refusal.kind == Kind::Protocol { Kind::Denied } else { refusal.kind };
            return Err(failed(kind, refusal.text));
        }
        let bytes = collect(body, ANSWER_BYTES_MAX).await.map_err(during)?;
        let document: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| failed(Kind::Protocol, format!("no JSON: {error}")))?;
        let text = |name: &str| document[name].as_str().filter(|text| !text.is_empty());
        let token = text("token").or_else(|| text("access_token"));
        let token = token.ok_or_else(|| failed(Kind::Protocol, "there is no token in the answer".to_owned()))?;
        Ok((token.to_owned(), document["expires_in"].as_u64().unwrap_or(LIFE)))
    }
}

/// A token that is asked for.
struct Wanted<'a> {
    origin: realm::Origin,
    realm: &'a str,
    service: Option<&'a str>,
    scope: &'a str,
}

impl Wanted<'_> {
    fn request(&self, endpoint: &Endpoint) -> Result<(Request<crate::connect::Body>, Ask), String> {
        let uri: http::Uri = self.realm.parse().map_err(|error| format!("realm: {error}"))?;
        let (path, query) = (uri.path(), uri.query());
        let mut pairs: Vec<String> =
            self.service.map(|service| format!("service={}", encoded(service))).into_iter().collect();
        // Each repository by itself, as the specification has it.
        pairs.extend(self.scope.split(' ').filter(|one| !one.is_empty()).map(|one| format!("scope={}", encoded(one))));
        let mut ask = Ask::new(Method::GET, format!("{}{path}", self.origin.url()));
        let builder = Request::builder().header(http::header::HOST, &self.origin.authority);
        let builder = builder.header(http::header::USER_AGENT, concat!("skiff/", env!("CARGO_PKG_VERSION")));
        let request = if let Some(Credentials::Refresh(token)) = &endpoint.credentials {
            let scope = format!("scope={}", encoded(self.scope));
            let service = self.service.map(|service| format!("service={}", encoded(service)));
            let token = format!("refresh_token={}", encoded(token));
            let form = ["grant_type=refresh_token".to_owned(), "client_id=skiff".to_owned(), scope, token];
            let form = form.into_iter().chain(service).collect::<Vec<_>>().join("&");
            ask.method = Method::POST;
            let target = query.map_or(path.to_owned(), |query| format!("{path}?{query}"));
            let builder = builder.method(Method::POST).uri(target);
            let builder = builder.header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            let builder = builder.header(http::header::CONTENT_LENGTH, form.len());
            builder.body(Full::from(form).map_err(|never| match never {}).boxed_unsync())
        } else {
            pairs.splice(0..0, query.map(str::to_owned));
            let target = if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) };
            let mut builder = builder.method(Method::GET).uri(target);
            if let Some(header) = endpoint.credentials.as_ref().and_then(Credentials::header) {
                builder = builder.header(AUTHORIZATION, header);
            }
            builder.body(Empty::new().map_err(|never| match never {}).boxed_unsync())
        };
        request.map(|request| (request, ask)).map_err(|error| error.to_string())
    }
}

/// Percent-encoded for a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                encoded.push(char::from(byte))
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
