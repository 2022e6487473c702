//! Tokens of service accounts: whose they are, and that all they depend on is still there.

use super::Known;
use super::options::Authentication;
use crate::pki::Pki;
use crate::registry::object::Object;
use crate::registry::{Change, Registry, Target, built_in};
use crate::request::Request;
use crate::server::ApiError;
use crate::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use skiff_authn::User;
use skiff_authn::account::{Bound, Found, Home, INVALID_SINCE, LEGACY_ISSUER, Legacy, Present};
use skiff_authn::claims::Claims;
use skiff_authn::jws::Unverified;
use skiff_authn::key::{Algorithm, PublicKey, SigningKey};
use skiff_authn::request::Terms;
use skiff_authn::seen::Seen;
use skiff_schema::Decoded;

/// Who issues, unless it is said (kubeadm's default).
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// How many tokens are known without checking their signature again. A node's pods have one each: 110; a token takes 2 KiB here.
const SEEN_MAX: usize = 4096;
/// The label of a secret that says on which day its token was last used.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";

/// Tokens of service accounts.
pub(crate) struct Accounts {
    pub(super) terms: Terms,
    pub(super) signer: SigningKey,
    pub(super) keys: Vec<PublicKey>,
    issuers: Vec<String>,
    seen: Seen,
}

fn refused(flag: &'static str, problem: impl ToString) -> ApiError {
    ApiError::Authentication { flag, problem: problem.to_string() }
}

impl Accounts {
    pub(super) fn new(options: &Authentication, pki: &Pki) -> Result<Self, ApiError> {
        let accounts = &options.service_accounts;
        let signing = accounts.signing_key.as_deref().unwrap_or(pki.service_account_key());
        let signer =
            SigningKey::from_pem(signing).map_err(|error| refused("--service-account-signing-key-file", error))?;
        let mut keys = Vec::new();
        for text in &accounts.keys {
            keys.extend(PublicKey::from_pem(text).map_err(|error| refused("--service-account-key-file", error))?);
        }
        // Who signs is believed, whatever else is: a key is added to all servers before one of them signs with it.
        if !keys.contains(signer.public()) {
            keys.push(signer.public().clone());
        }
        let issuers = match &accounts.issuers[..] {
            [] => vec![ISSUER.to_owned()],
            given => given.to_vec(),
        };
        if let Some(wrong) = issuers.iter().find(|issuer| issuer.is_empty()) {
            return Err(refused("--service-account-issuer", format!("{wrong:?} is no issuer")));
        }
        let audiences = if options.api_audiences.is_empty() { issuers.clone() } else { options.api_audiences.clone() };
        let (issuer, seconds_max, extends) = (issuers[0].clone(), accounts.seconds_max, accounts.extends);
        let terms = Terms { issuer, audiences, seconds_max, extends };
        Ok(Self { terms, signer, keys, issuers, seen: Seen::new(SEEN_MAX) })
    }

    /// Whose tokens are believed.
    pub(super) fn issuers(&self) -> &[String] {
        &self.issuers
    }

    /// Who `token` says it is. `None`: it is no token of a service account.
    pub(super) async fn authenticate(
        &self,
        registry: &Registry,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<Known>, String> {
        let Some(unverified) = Unverified::parse(token) else { return Ok(None) };
        let issuer = unverified.issuer();
        let legacy = issuer == LEGACY_ISSUER;
        if !legacy && !self.issuers.iter().any(|known| known == issuer) {
            return Ok(None);
        }
        let prove = || unverified.verified(&self.keys, |key| (key.id(), key), &Algorithm::ALL);
        let proved = self.seen.get(token, prove).map_err(|error| error.to_string())?;
        let claims = Claims::of(&proved).ok_or("a claim of the token is not of its type")?;
        // Those in secrets name nobody: they are for the API server.
        let named = if claims.audiences.is_empty() { &self.terms.audiences } else { &claims.audiences };
        let meant: Vec<String> = named.iter().filter(|one| audiences.contains(one)).cloned().collect();
        if meant.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(named),
                quoted(audiences)
            ));
        }
        let user = match legacy {
            true => legacy_user(registry, token, &Legacy::of(&proved)).await?,
            false => bound_user(registry, &claims, &Bound::of(&proved)).await?,
        };
        Ok(Some(Known { user, audiences: meant }))
    }
}

/// As Go prints texts with `%q`.
fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

/// Reads an object that a token names.
async fn look(registry: &Registry, plural: &str, namespace: &str, name: &str) -> Result<Object, Status> {
    registry.get(&Target { resource: built_in("", plural)?, namespace, name }).await
}

fn present(object: &Object) -> Result<Present, String> {
    let value = object.value().map_err(|status| status.to_string())?;
    let metadata = &value["metadata"];
    let deleted = metadata["deletionTimestamp"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let uid = metadata["uid"].as_str().unwrap_or_default().to_owned();
    Ok(Present { uid, deleted: deleted.map(Timestamp::as_second) })
}

/// One that may be gone; that the store does not answer is no proof of it, and no token is believed then either.
async fn perhaps(registry: &Registry, plural: &str, namespace: &str, name: &str) -> Result<Option<Present>, String> {
    match look(registry, plural, namespace, name).await {
        Ok(object) => present(&object).map(Some),
        Err(status) if status.reason == "NotFound" => Ok(None),
        Err(status) => Err(status.to_string()),
    }
}

async fn account(registry: &Registry, namespace: &str, name: &str) -> Result<Present, String> {
    let found = look(registry, "serviceaccounts", namespace, name).await;
    found.map_err(|status| status.to_string()).and_then(|object| present(&object))
}

async fn bound_user(registry: &Registry, claims: &Claims, bound: &Bound) -> Result<User, String> {
    let namespace = bound.namespace.as_str();
    let mut found =
        Found { account: Some(account(registry, namespace, &bound.account.name).await), ..Found::default() };
    if let Some(secret) = &bound.secret {
        found.secret = perhaps(registry, "secrets", namespace, &secret.name).await?;
    }
    if let Some(pod) = &bound.pod {
        found.pod = perhaps(registry, "pods", namespace, &pod.name).await?;
    }
    if let Some(node) = bound.binding_node() {
        found.node = perhaps(registry, "nodes", "", &node.name).await?;
    }
    let now = Timestamp::now().as_second();
    let user = bound.holds(claims, &found, now)?;
    if let Some(after) = bound.warn_after.filter(|after| now > *after) {
        tracing::debug!(
            subject = claims.subject,
            seconds = now - after,
            "a token is used after it should be read again"
        );
    }
    Ok(user)
}

async fn legacy_user(registry: &Registry, token: &str, legacy: &Legacy) -> Result<User, String> {
    let (namespace, name) = (legacy.namespace.as_str(), legacy.secret.as_str());
    let secret = match look(registry, "secrets", namespace, name).await {
        Ok(object) => Some(object.value().map_err(|status| status.to_string())?),
        Err(status) if status.reason == "NotFound" => None,
        Err(status) => return Err(status.to_string()),
    };
    let home = secret.as_ref().map(home);
    let account = account(registry, namespace, &legacy.account.name).await;
    let user = legacy.holds(token, home.as_ref(), &account);
    let invalid = home.is_some_and(|home| !home.invalid_since.is_empty());
    if let Some(secret) = secret.filter(|_| user.is_ok() || invalid) {
        note_use(registry, &secret).await;
    }
    user
}

fn home(secret: &Value) -> Home {
    let token = secret["data"]["token"].as_str().unwrap_or_default();
    Home {
        token: STANDARD.decode(token).unwrap_or_default(),
        deleted: !secret["metadata"]["deletionTimestamp"].is_null(),
        invalid_since: secret["metadata"]["labels"][INVALID_SINCE].as_str().unwrap_or_default().to_owned(),
    }
}

/// Writes the day onto the secret, once a day. The token is believed whether this works or not.
async fn note_use(registry: &Registry, secret: &Value) {
    let now = Timestamp::now();
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    let (today, tomorrow) = (day(now), day(now + jiff::SignedDuration::from_hours(24)));
    let noted = secret["metadata"]["labels"][LAST_USED].as_str().unwrap_or_default();
    if noted == today || noted == tomorrow {
        return;
    }
    let text = |field: &str| secret["metadata"][field].as_str().unwrap_or_default();
    let Ok(resource) = built_in("", "secrets") else { return };
    let target = Target { resource, namespace: text("namespace"), name: text("name") };
    let uid = text("uid");
    let change = Change::of_present(|current| {
        if current["metadata"]["uid"] != uid {
            return Err(Status::not_found(resource, target.name));
        }
        let mut next = current.clone();
        next["metadata"]["labels"][LAST_USED] = today.as_str().into();
        Ok(Decoded { object: next, warnings: Vec::new() })
    });
    if let Err(status) = registry.write(&Request::own("patch", &target), &change).await {
        tracing::warn!(secret = target.name, message = status.message, "the day of a token's use is not written down");
    }
}
