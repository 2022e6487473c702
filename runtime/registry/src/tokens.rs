//! Tokens of our own (Docker's token protocol): JSON Web Tokens that say who somebody is and what they may do for a few minutes. Pure, but
//! for the random numbers of signatures.

use crate::access::{Caller, Scope};
use serde_json::{Map, Value, json};
use skiff_authn::claims::Claims;
use skiff_authn::jws::{self, Unverified};
use skiff_authn::key::{Algorithm, PublicKey, SigningKey};

/// Who makes them.
const ISSUER: &str = "skiff-registry";
/// How long they hold: long enough to push an image, too short to be worth stealing.
pub(crate) const LIFE_SECONDS: i64 = 300;

/// The key that makes and proves tokens.
pub struct Tokens {
    key: SigningKey,
}

impl Tokens {
    /// Tokens by the first private key of a PEM file.
    ///
    /// # Errors
    /// There is none.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        Ok(Self { key: SigningKey::from_pem(text).map_err(|error| error.to_string())? })
    }

    /// A token for `caller` and `scopes`, to be shown to `service`.
    pub(crate) fn make(&self, caller: &Caller, scopes: &[Scope], service: &str, now: i64) -> Result<String, String> {
        let claims = json!({
            "iss": ISSUER, "aud": service, "sub": caller.user.as_deref().unwrap_or_default(),
            "iat": now, "nbf": now, "exp": now + LIFE_SECONDS, "jti": uuid::Uuid::new_v4().to_string(),
            "groups": caller.groups, "access": scopes,
        });
        jws::sign(&self.key, &claims)
    }

    /// Who shows a token; `None`: it is not one of ours that holds now.
    pub(crate) fn caller(&self, token: &str, service: &str, now: i64) -> Option<Caller> {
        let unverified = Unverified::parse(token).filter(|token| token.issuer() == ISSUER)?;
        let keys = [self.key.public().clone()];
        let said = unverified.verified(&keys, |key| (key.id(), key), &Algorithm::ALL).ok()?;
        let claims = Claims::of(&said)?;
        let holds =
            claims.check(now).is_ok() && claims.expires.is_some() && claims.audiences.iter().any(|one| one == service);
        holds.then(|| of_claims(&said, claims.subject)).flatten()
    }
}

fn of_claims(said: &Map<String, Value>, subject: String) -> Option<Caller> {
    let groups = serde_json::from_value(said.get("groups")?.clone()).ok()?;
    let scopes = serde_json::from_value(said.get("access")?.clone()).ok()?;
    Some(Caller { user: Some(subject).filter(|user| !user.is_empty()), groups, scopes: Some(scopes) })
}

/// Tokens of a cluster's service accounts, proved by the keys that its API server publishes (`/openid/v1/jwks`).
pub struct Cluster {
    issuer: String,
    audience: String,
    keys: Vec<(String, PublicKey)>,
}

impl Cluster {
    /// Believes `issuer`'s tokens for `audience` that a key of `set` signed.
    ///
    /// # Errors
    /// It is no set of keys, or none of them is of a kind that we have.
    pub fn new(issuer: &str, audience: &str, set: &Value) -> Result<Self, String> {
        let (keys, left_out) = skiff_authn::jwk::read(set)?;
        if keys.is_empty() {
            return Err(format!("it has no key that is of use: {}", left_out.join("; ")));
        }
        let keys = keys.into_iter().map(|one| (one.id, one.key)).collect();
        Ok(Self { issuer: issuer.to_owned(), audience: audience.to_owned(), keys })
    }

    /// Who shows a token; `None`: it is none of that cluster that holds now. Whether its account still exists only the cluster knows.
    pub(crate) fn caller(&self, token: &str, now: i64) -> Option<Caller> {
        let unverified = Unverified::parse(token).filter(|token| token.issuer() == self.issuer)?;
        let said = unverified.verified(&self.keys, |(id, key)| (id.as_str(), key), &Algorithm::ALL).ok()?;
        let claims = Claims::of(&said)?;
        if claims.check(now).is_err() || claims.expires.is_none() || !claims.audiences.contains(&self.audience) {
            return None;
        }
        let (namespace, name) = claims.subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        let groups = skiff_authn::account::groups(namespace);
        Some(Caller { user: Some(skiff_authn::account::user_name(namespace, name)), groups, scopes: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::from_pem(&SigningKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_token_holds_where_and_while_it_is_meant_to() {
        let (ours, other) = (tokens(), tokens());
        let ann = Caller { user: Some("ann".into()), groups: vec!["g".into()], scopes: None };
        let scopes = vec![Scope::parse("repository:a:pull").unwrap()];
        let token = ours.make(&ann, &scopes, "here", 1000).unwrap();
        let seen = ours.caller(&token, "here", 1100).unwrap();
        assert_eq!(seen, Caller { scopes: Some(scopes), ..ann });
        assert_eq!(ours.caller(&token, "there", 1100), None, "for another registry");
        assert_eq!(ours.caller(&token, "here", 1000 + LIFE_SECONDS + 61), None, "too late");
        assert_eq!(ours.caller(&token, "here", 900), None, "too early");
        assert_eq!(other.caller(&token, "here", 1100), None, "by another key");
        let nobody = ours.make(&Caller::default(), &[], "here", 1000).unwrap();
        assert_eq!(ours.caller(&nobody, "here", 1000).unwrap().user, None);
    }

    #[test]
    fn tokens_of_a_cluster_are_believed_by_its_keys() {
        let key = SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap();
        let set = skiff_authn::jwk::set(&[key.public().clone()]);
        let cluster = Cluster::new("https://cluster", "registry", &set).unwrap();
        let token = |issuer: &str, audience: &str, subject: &str| {
            jws::sign(&key, &json!({"iss": issuer, "aud": [audience], "sub": subject, "exp": 2000, "iat": 1000}))
                .unwrap()
        };
        let robot = "system:serviceaccount:ci:build";
        let seen = cluster.caller(&token("https://cluster", "registry", robot), 1500).unwrap();
        assert_eq!(seen.user.as_deref(), Some(robot));
        assert!(seen.groups.contains(&"system:serviceaccounts:ci".to_owned()), "{:?}", seen.groups);
        for bad in [
            token("https://other", "registry", robot),
            token("https://cluster", "api", robot),
            token("https://cluster", "registry", "admin"),
        ] {
            assert_eq!(cluster.caller(&bad, 1500), None);
        }
        assert_eq!(cluster.caller(&token("https://cluster", "registry", robot), 5000), None);
        assert!(Cluster::new("x", "y", &json!({"keys": []})).is_err());
    }
}
