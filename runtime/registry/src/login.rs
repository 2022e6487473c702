//! Who a request comes from, and the token server (Docker's token protocol).

use crate::access::{Access, Caller, Scope};
use crate::htpasswd::Htpasswd;
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::rules::Rules;
use crate::store::now;
use crate::text::{find, parameters};
use crate::tokens::{Cluster, LIFE_SECONDS, Tokens};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Passwords that are checked at a time: each takes a processor for a while, and strangers can ask for it.
const CHECKS_MAX: usize = 2;
/// How long a password that was right is remembered: clients send it with every request.
const REMEMBERED: Duration = Duration::from_secs(300);
/// How many.
const REMEMBERED_MAX: usize = 1024;

/// Asks a cluster whose token this is (TokenReview).
pub type Review = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<Caller>> + Send>> + Send + Sync>;

/// Who is believed.
pub struct Login {
    /// Users and passwords.
    pub passwords: Htpasswd,
    /// Tokens of ours.
    pub tokens: Tokens,
    /// Clusters whose keys we have.
    pub clusters: Vec<Cluster>,
    /// A cluster that is asked.
    pub review: Option<Review>,
    /// Where clients get tokens; none: at `/token` of the address that they came to.
    pub realm: Option<String>,
    /// For whom tokens are; none: for that address.
    pub service: Option<String>,
    /// Passwords that were right.
    pub remembered: Remembered,
}

/// Passwords that were right, as hashes under a key that nobody knows.
pub struct Remembered {
    key: ring::hmac::Key,
    seen: Mutex<HashMap<Vec<u8>, Instant>>,
    checks: Semaphore,
}

impl Remembered {
    /// None yet.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> Result<Self, String> {
        let key = ring::hmac::Key::generate(ring::hmac::HMAC_SHA256, &ring::rand::SystemRandom::new());
        let key = key.map_err(|_| "the system gives no random numbers".to_owned())?;
        Ok(Self { key, seen: Mutex::default(), checks: Semaphore::new(CHECKS_MAX) })
    }

    fn tag(&self, user: &str, password: &str) -> Vec<u8> {
        let text = format!("{}:{user}:{password}", user.len());
        ring::hmac::sign(&self.key, text.as_bytes()).as_ref().to_vec()
    }

    fn has(&self, tag: &[u8]) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(tag).is_some_and(|until| *until > Instant::now())
    }

    fn put(&self, tag: Vec<u8>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if seen.len() >= REMEMBERED_MAX {
            seen.retain(|_, until| *until > now);
        }
        if seen.len() < REMEMBERED_MAX {
            seen.insert(tag, now + REMEMBERED);
        }
    }
}

/// What a header `Authorization` shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Password(String, String),
    Token(String),
    Nonsense,
}

fn shown(header: Option<&str>) -> Shown {
    let Some((scheme, rest)) = header.map(|text| text.trim().split_once(' ').unwrap_or((text, ""))) else {
        return Shown::Nothing;
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        return Shown::Token(rest.trim().to_owned());
    }
    let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        // Podman sends this when it has no credentials.
        Some(("", "")) => Shown::Nothing,
        Some((user, password)) if scheme.eq_ignore_ascii_case("basic") => Shown::Password(user.into(), password.into()),
        _ => Shown::Nonsense,
    }
}

/// The address that a client came to.
pub(crate) struct Here<'a> {
    pub(crate) secure: bool,
    pub(crate) host: &'a str,
}

impl Login {
    fn service<'a>(&'a self, here: &Here<'a>) -> &'a str {
        self.service.as_deref().unwrap_or(here.host)
    }

    /// Who shows this; `None`: they are not believed.
    pub(crate) async fn caller(self: &Arc<Self>, header: Option<&str>, here: &Here<'_>) -> Option<Caller> {
        match shown(header) {
            Shown::Nothing => Some(Caller::default()),
            Shown::Nonsense => None,
            Shown::Token(token) => match self.tokens.caller(&token, self.service(here), now()) {
                Some(caller) => Some(caller),
                None => self.account(token).await,
            },
            Shown::Password(user, password) => self.password(user, password).await,
        }
    }

    /// Who a user name and a password are.
    ///
    /// A user of the file; or a service account, whose token may stand where a password does, under any name.
    async fn password(self: &Arc<Self>, user: String, password: String) -> Option<Caller> {
        if password.matches('.').count() == 2
            && let Some(caller) = self.account(password.clone()).await
        {
            return Some(caller);
        }
        let tag = self.remembered.tag(&user, &password);
        let named = Caller { user: Some(user.clone()), ..Caller::default() };
        if self.remembered.has(&tag) {
            return Some(named);
        }
        let _permit = self.remembered.checks.acquire().await.ok()?;
        let this = self.clone();
        let right = spawn_blocking(move || this.passwords.knows(&user, &password)).await.ok()?;
        if right {
            self.remembered.put(tag);
        }
        right.then_some(named)
    }

    async fn account(&self, token: String) -> Option<Caller> {
        let found = self.clusters.iter().find_map(|cluster| cluster.caller(&token, now()));
        match (found, &self.review) {
            (Some(caller), _) => Some(caller),
            (None, Some(review)) => review(token).await,
            (None, None) => None,
        }
    }

    /// Refuses with 401 and says where tokens are to be had (RFC 6750, and Docker's token protocol).
    ///
    /// It asks for credentials, or for a token that is for `scope`.
    pub(crate) fn challenge(&self, here: &Here<'_>, scope: Option<&str>, message: &str) -> Refusal {
        let scheme = if here.secure { "https" } else { "http" };
        let host = here.host;
        let realm = self.realm.clone().unwrap_or_else(|| format!("{scheme}://{host}/token"));
        let scope = scope.map_or_else(String::new, |scope| format!(",scope=\"{scope}\""));
        let asked = format!("Bearer realm=\"{realm}\",service=\"{}\"{scope}", self.service(here));
        Refusal::new(401, Code::Unauthorized, message).header("www-authenticate", asked)
    }

    /// Gives a token, also to nobody: anonymous clients pull from public repositories with one.
    ///
    /// It is asked for by `GET` with a query, or `POST` with a form (OAuth 2 with a password).
    pub(crate) async fn token(
        self: &Arc<Self>,
        asked: Asked<'_>,
        access: &Access,
        rules: &(dyn Fn(&Name) -> Rules + Sync),
    ) -> Result<Value, Refusal> {
        let fields = parameters(asked.fields);
        let caller = match find(&fields, "grant_type") {
            Some("password") if asked.form => {
                let text = |name: &str| find(&fields, name).unwrap_or_default().to_owned();
                self.password(text("username"), text("password")).await
            }
            Some(_) if asked.form => {
                return Err(Refusal::new(400, Code::Unsupported, "grant_type: only password is known"));
            }
            _ => self.caller(asked.header, &asked.here).await,
        };
        let caller = caller.filter(|caller| caller.scopes.is_none()).ok_or_else(|| {
            let basic = "Basic realm=\"skiff registry\"";
            Refusal::new(401, Code::Unauthorized, "the user or the password is wrong").header("www-authenticate", basic)
        })?;
        let scopes = fields.iter().filter(|(name, _)| name == "scope");
        let scopes: Vec<Scope> = scopes.flat_map(|(_, text)| text.split(' ')).filter_map(Scope::parse).collect();
        let granted = access.granted(&caller, &scopes, rules);
        let at = now();
        let token = self.tokens.make(&caller, &granted, self.service(&asked.here), at);
        let token = token.map_err(|reason| {
            tracing::error!(reason, "sign a token");
            Refusal::new(500, Code::Unknown, "the registry cannot sign tokens; its log says why")
        })?;
        let issued = jiff::Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default();
        Ok(json!({"token": token, "access_token": token, "expires_in": LIFE_SECONDS, "issued_at": issued}))
    }
}

/// A request for a token.
pub(crate) struct Asked<'a> {
    pub(crate) form: bool,
    pub(crate) fields: &'a str,
    pub(crate) header: Option<&'a str>,
    pub(crate) here: Here<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_show_what_they_show() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (header, meant) in [
            (None, Shown::Nothing),
            (Some(basic(":")), Shown::Nothing),
            (Some(basic("a:b:c")), Shown::Password("a".into(), "b:c".into())),
            (Some("bearer x.y.z".into()), Shown::Token("x.y.z".into())),
            (Some(basic("nobody")), Shown::Nonsense),
            (Some("Basic !".into()), Shown::Nonsense),
            (Some("Digest x".into()), Shown::Nonsense),
            (Some(String::new()), Shown::Nonsense),
        ] {
            assert_eq!(shown(header.as_deref()), meant, "{header:?}");
        }
    }
}
