//! Tokens of other issuers (OpenID Connect): which are believed, and what their claims make of a user.
//!
//! Issuers come from `--oidc-*` or from a file (AuthenticationConfiguration); both become an [`Issuer`].

mod config; // the file

pub use config::{Anonymous, Configuration, parse};

use crate::claims::Claims;
use crate::key::Algorithm;
use crate::user::User;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How far the clock of an issuer may be ahead of ours, seconds, for `nbf`.
const AHEAD_SECONDS: i64 = 300;

/// What becomes the text of a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Name of the claim.
    pub claim: String,
    /// What is put before it.
    pub prefix: String,
}

/// One issuer whose tokens are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Issuer {
    /// `iss` of its tokens; where its configuration is found, unless [`Self::discovery_url`] says otherwise.
    pub url: String,
    /// Where its configuration is found.
    pub discovery_url: Option<String>,
    /// Who vouches for it, PEM; `None`: the authorities of this machine.
    pub authority: Option<String>,
    /// Whom its tokens must be for: one of these.
    pub audiences: Vec<String>,
    /// How its tokens may be signed; empty: in every way that is known.
    pub algorithms: Vec<Algorithm>,
    /// Claims that a token must have with these values.
    pub required: BTreeMap<String, String>,
    /// The user's name.
    pub username: Mapping,
    /// The user's groups.
    pub groups: Option<Mapping>,
    /// The claim that is the user's uid.
    pub uid: Option<String>,
}

impl Issuer {
    /// How its tokens may be signed.
    #[must_use]
    pub fn allowed(&self) -> &[Algorithm] {
        if self.algorithms.is_empty() { &Algorithm::ALL } else { &self.algorithms }
    }

    /// Where its configuration is found.
    #[must_use]
    pub fn configuration_url(&self) -> String {
        let usual = || format!("{}/.well-known/openid-configuration", self.url.trim_end_matches('/'));
        self.discovery_url.clone().unwrap_or_else(usual)
    }

    /// Who a token with these claims, whose signature was checked, says it is at `now`.
    ///
    /// # Errors
    /// It is not for us, not now, or lacks a claim.
    pub fn user(&self, said: &Map<String, Value>, now: i64) -> Result<User, String> {
        let claims = Claims::of(said).ok_or("oidc: verify token: oidc: failed to unmarshal claims")?;
        self.verify(&claims, now).map_err(|why| format!("oidc: verify token: oidc: {why}"))?;
        let name = text(said, &self.username.claim).map_err(|why| format!("oidc: parse username claims: {why}"))?;
        // An address that nobody has verified is anybody's.
        if self.username.claim == "email" && said.get("email_verified").is_some_and(|verified| *verified != true) {
            return Err("oidc: email not verified".to_owned());
        }
        for (claim, value) in &self.required {
            let got = text(said, claim).map_err(|_| format!("oidc: required claim {claim} not present in ID token"))?;
            if got != *value {
                return Err(format!("oidc: required claim {claim} value does not match. Got = {got}, want = {value}"));
            }
        }
        if name.is_empty() {
            return Err("oidc: the username is empty".to_owned());
        }
        let uid = match &self.uid {
            Some(claim) => text(said, claim).map_err(|why| format!("oidc: error getting uid: {why}"))?.to_owned(),
            None => String::new(),
        };
        let mut extra = BTreeMap::new();
        if !claims.id.is_empty() {
            extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("JTI={}", claims.id)]);
        }
        Ok(User { name: format!("{}{name}", self.username.prefix), uid, groups: self.groups(said)?, extra })
    }

    fn verify(&self, claims: &Claims, now: i64) -> Result<(), String> {
        if claims.issuer != self.url {
            return Err(format!(
                "id token issued by a different provider, expected {:?} got {:?}",
                self.url, claims.issuer
            ));
        }
        if !claims.audiences.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(format!("expected audience in {:?} got {:?}", self.audiences, claims.audiences));
        }
        let ends = claims.expires.ok_or("token has no claim exp")?;
        if now > ends {
            return Err("token is expired".to_owned());
        }
        if claims.not_before.is_some_and(|from| now + AHEAD_SECONDS < from) {
            return Err("current time is before the nbf (not before) time".to_owned());
        }
        Ok(())
    }

    fn groups(&self, said: &Map<String, Value>) -> Result<Vec<String>, String> {
        let Some(mapping) = &self.groups else { return Ok(Vec::new()) };
        let wrong =
            || format!("oidc: parse groups claim {:?}: it is neither a text nor a list of texts", mapping.claim);
        let prefixed = |name: &str| format!("{}{name}", mapping.prefix);
        match said.get(&mapping.claim) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![prefixed(one)]),
            Some(Value::Array(all)) => all.iter().map(|one| one.as_str().map(prefixed).ok_or_else(wrong)).collect(),
            Some(_) => Err(wrong()),
        }
    }
}

fn text<'a>(said: &'a Map<String, Value>, claim: &str) -> Result<&'a str, String> {
    let value = said.get(claim).ok_or_else(|| format!("claim {claim:?} is not there"))?;
    value.as_str().ok_or_else(|| format!("claim {claim:?} is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn issuer() -> Issuer {
        Issuer {
            url: "https://i".to_owned(),
            audiences: vec!["us".to_owned(), "them".to_owned()],
            username: Mapping { claim: "sub".to_owned(), prefix: "i:".to_owned() },
            groups: Some(Mapping { claim: "roles".to_owned(), prefix: "g:".to_owned() }),
            required: [("hd".to_owned(), "example.com".to_owned())].into(),
            uid: Some("oid".to_owned()),
            ..Issuer::default()
        }
    }

    fn claims(more: Value) -> Map<String, Value> {
        let mut claims = json!({"iss": "https://i", "aud": "us", "exp": 100, "sub": "u", "hd": "example.com", "oid": "7", "roles": "a"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims.as_object().unwrap().clone()
    }

    #[test]
    fn claims_make_a_user() {
        let user = issuer().user(&claims(json!({"jti": "j"})), 50).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("i:u", "7"));
        assert_eq!(user.groups, ["g:a"]);
        assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=j"]);
        let many = issuer().user(&claims(json!({"roles": ["a", "b"], "aud": ["x", "them"]})), 50).unwrap();
        assert_eq!(many.groups, ["g:a", "g:b"]);
        assert_eq!(issuer().user(&claims(json!({"roles": null})), 50).unwrap().groups, [""; 0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let email = Issuer { username: Mapping { claim: "email".to_owned(), prefix: String::new() }, ..issuer() };
        for (issuer, more, now, why) in [
            (issuer(), json!({"aud": "x"}), 50, "expected audience"),
            (issuer(), json!({"iss": "https://j"}), 50, "different provider"),
            (issuer(), json!({}), 101, "token is expired"),
            (issuer(), json!({"exp": null}), 50, "no claim exp"),
            (issuer(), json!({"nbf": 400}), 50, "not before"),
            (issuer(), json!({"sub": 1}), 50, "failed to unmarshal"),
            (issuer(), json!({"sub": ""}), 50, "username is empty"),
            (issuer(), json!({"hd": "other"}), 50, "does not match. Got = other, want = example.com"),
            (issuer(), json!({"roles": {"a": 1}}), 50, "parse groups claim"),
            (issuer(), json!({"roles": [1]}), 50, "parse groups claim"),
            (issuer(), json!({"oid": 1}), 50, "error getting uid"),
            (email.clone(), json!({}), 50, "claim \"email\" is not there"),
            (email.clone(), json!({"email": "a@b", "email_verified": false}), 50, "email not verified"),
            (email, json!({"email": "a@b", "email_verified": "true"}), 50, "email not verified"),
        ] {
            let error = issuer.user(&claims(more.clone()), now).unwrap_err();
            assert!(error.contains(why), "{more}: {error}");
        }
    }

    #[test]
    fn the_configuration_is_where_it_is_said_to_be() {
        assert_eq!(issuer().configuration_url(), "https://i/.well-known/openid-configuration");
        let other = Issuer { discovery_url: Some("https://d/x".to_owned()), ..issuer() };
        assert_eq!(other.configuration_url(), "https://d/x");
    }
}
