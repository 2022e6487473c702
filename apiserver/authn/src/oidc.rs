//! Tokens of other issuers (OpenID Connect): which are believed, and what their claims make of a user.
//!
//! Issuers come from `--oidc-*` or from a file (AuthenticationConfiguration); both become an [`Issuer`].

mod config; // the file
mod expression; // what it says in CEL

pub use config::{Anonymous, Configuration, parse};
pub use expression::{Expression, Rule};

use crate::claims::Claims;
use crate::jws::Unverified;
use crate::key::Algorithm;
use crate::user::User;
use expression::About;
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

/// Where a field of the user comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A claim.
    Claim(Mapping),
    /// An expression over all of them.
    Expression(Expression),
}

impl Default for Source {
    fn default() -> Self {
        Self::Claim(Mapping::default())
    }
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
    pub username: Source,
    /// The user's groups.
    pub groups: Option<Source>,
    /// The user's uid.
    pub uid: Option<Source>,
    /// What else is known of the user, by its key.
    pub extra: Vec<(String, Expression)>,
    /// What its tokens must fulfil.
    pub claim_rules: Vec<Rule>,
    /// What its users must fulfil.
    pub user_rules: Vec<Rule>,
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

    /// Whether `token` would be believed at `now` if its signature were right: whoever makes tokens up does not make us ask for keys.
    ///
    /// # Errors
    /// It would not be.
    pub fn plausible(&self, token: &Unverified<'_>, now: i64) -> Result<(), String> {
        self.timely(token.claims(), now).map(drop)
    }

    fn timely(&self, said: &Map<String, Value>, now: i64) -> Result<Claims, String> {
        let claims = Claims::of(said).ok_or("oidc: verify token: oidc: failed to unmarshal claims")?;
        self.verify(&claims, now).map_err(|why| format!("oidc: verify token: oidc: {why}"))?;
        Ok(claims)
    }

    /// Who a token with these claims, whose signature was checked, says it is at `now`.
    ///
    /// # Errors
    /// It is not for us, not now, lacks a claim, or does not fulfil a rule.
    pub fn user(&self, said: &Map<String, Value>, now: i64) -> Result<User, String> {
        let claims = self.timely(said, now)?;
        let seen = if self.has_expressions() { expression::claims(said) } else { Value::Null };
        let mut user = User {
            name: self.name(said, &seen)?,
            groups: self.groups(said, &seen)?,
            uid: self.uid(said, &seen)?,
            extra: BTreeMap::new(),
        };
        if !claims.id.is_empty() {
            let id = vec![format!("JTI={}", claims.id)];
            user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), id);
        }
        for (key, expression) in &self.extra {
            let values = expression.texts(&seen).map_err(|why| {
                format!("oidc: error evaluating extra claim expression: {}: {why}", expression.as_str())
            })?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        self.check_required(said)?;
        expression::check(&self.claim_rules, About::Claims, &seen)
            .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
        expression::check(&self.user_rules, About::User, &expression::of_user(&user))
            .map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
        Ok(user)
    }

    fn has_expressions(&self) -> bool {
        let sources = [Some(&self.username), self.groups.as_ref(), self.uid.as_ref()];
        sources.into_iter().flatten().any(|source| matches!(source, Source::Expression(_)))
            || !self.extra.is_empty()
            || !self.claim_rules.is_empty()
    }

    fn name(&self, said: &Map<String, Value>, seen: &Value) -> Result<String, String> {
        let mapping = match &self.username {
            Source::Claim(mapping) => mapping,
            Source::Expression(expression) => {
                let name = expression.text(seen, "username");
                let name = name.map_err(|why| format!("oidc: error evaluating username claim expression: {why}"))?;
                let empty = || "oidc: empty username via CEL expression is not allowed".to_owned();
                return if name.is_empty() { Err(empty()) } else { Ok(name) };
            }
        };
        let claim = &mapping.claim;
        let name = text(said, claim).map_err(|why| format!("oidc: parse username claims {claim:?}: {why}"))?;
        // An address that nobody has verified is anybody's.
        if claim == "email" && said.get("email_verified").is_some_and(|verified| *verified != true) {
            return Err("oidc: email not verified".to_owned());
        }
        if name.is_empty() {
            return Err("oidc: the username is empty".to_owned());
        }
        Ok(format!("{}{name}", mapping.prefix))
    }

    fn uid(&self, said: &Map<String, Value>, seen: &Value) -> Result<String, String> {
        match &self.uid {
            None => Ok(String::new()),
            Some(Source::Claim(Mapping { claim, .. })) => {
                let uid = text(said, claim).map_err(|why| format!("oidc: parse uid claim {claim:?}: {why}"))?;
                Ok(uid.to_owned())
            }
            Some(Source::Expression(expression)) => expression
                .text(seen, "uid")
                .map_err(|why| format!("oidc: error evaluating uid claim expression: {why}")),
        }
    }

    fn check_required(&self, said: &Map<String, Value>) -> Result<(), String> {
        for (claim, value) in &self.required {
            if !said.contains_key(claim) {
                return Err(format!("oidc: required claim {claim} not present in ID token"));
            }
            let got = text(said, claim).map_err(|why| format!("oidc: parse claim {claim}: {why}"))?;
            if got != *value {
                return Err(format!("oidc: required claim {claim} value does not match. Got = {got}, want = {value}"));
            }
        }
        Ok(())
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

    fn groups(&self, said: &Map<String, Value>, seen: &Value) -> Result<Vec<String>, String> {
        let mapping = match &self.groups {
            None => return Ok(Vec::new()),
            Some(Source::Claim(mapping)) => mapping,
            Some(Source::Expression(expression)) => {
                let groups = expression.texts(seen);
                return groups.map_err(|why| format!("oidc: error evaluating group claim expression: {why}"));
            }
        };
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
    let value = said.get(claim).ok_or("claim not present")?;
    value.as_str().ok_or_else(|| format!("claim {claim:?} is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(claim: &str, prefix: &str) -> Source {
        Source::Claim(Mapping { claim: claim.to_owned(), prefix: prefix.to_owned() })
    }

    fn issuer() -> Issuer {
        Issuer {
            url: "https://i".to_owned(),
            audiences: vec!["us".to_owned(), "them".to_owned()],
            username: claim("sub", "i:"),
            groups: Some(claim("roles", "g:")),
            required: [("hd".to_owned(), "example.com".to_owned())].into(),
            uid: Some(claim("oid", "")),
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
        let email = Issuer { username: claim("email", ""), ..issuer() };
        for (issuer, more, now, why) in [
            (issuer(), json!({"aud": "x"}), 50, "expected audience"),
            (issuer(), json!({"iss": "https://j"}), 50, "different provider"),
            (issuer(), json!({}), 101, "token is expired"),
            (issuer(), json!({"exp": null}), 50, "no claim exp"),
            (issuer(), json!({"nbf": 400}), 50, "not before"),
            (issuer(), json!({"sub": 1}), 50, "failed to unmarshal"),
            (issuer(), json!({"sub": ""}), 50, "username is empty"),
            (issuer(), json!({"hd": 1}), 50, "parse claim hd"),
            (issuer(), json!({"hd": "other"}), 50, "does not match. Got = other, want = example.com"),
            (issuer(), json!({"roles": {"a": 1}}), 50, "parse groups claim"),
            (issuer(), json!({"roles": [1]}), 50, "parse groups claim"),
            (issuer(), json!({"oid": 1}), 50, "parse uid claim"),
            (email.clone(), json!({}), 50, "parse username claims \"email\": claim not present"),
            (email.clone(), json!({"email": "a@b", "email_verified": false}), 50, "email not verified"),
            (email, json!({"email": "a@b", "email_verified": "true"}), 50, "email not verified"),
        ] {
            let error = issuer.user(&claims(more.clone()), now).unwrap_err();
            assert!(error.contains(why), "{more}: {error}");
        }
    }

    #[test]
    fn a_token_that_is_of_no_use_is_not_worth_a_key() {
        let part = |value: &Value| {
            base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, value.to_string())
        };
        for (more, is_plausible) in [(json!({}), true), (json!({"exp": 40}), false), (json!({"aud": "x"}), false)] {
            let token = format!("{}.{}.AA", part(&json!({"alg": "RS256"})), part(&claims(more).into()));
            let token = Unverified::parse(&token).unwrap();
            assert_eq!(issuer().plausible(&token, 50).is_ok(), is_plausible);
        }
    }

    #[test]
    fn the_configuration_is_where_it_is_said_to_be() {
        assert_eq!(issuer().configuration_url(), "https://i/.well-known/openid-configuration");
        let other = Issuer { discovery_url: Some("https://d/x".to_owned()), ..issuer() };
        assert_eq!(other.configuration_url(), "https://d/x");
    }
}
