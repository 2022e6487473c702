//! What becomes of a TokenRequest (`serviceaccounts/token`): whose token, for whom, for how long, bound to what.

use crate::account::{Bound, Ref, user_name};
use serde_json::{Value, json};

/// The shortest life that may be asked for.
pub const SECONDS_MIN: i64 = 600;
/// The longest.
pub const SECONDS_MAX: i64 = 1 << 32;
/// The life that the admission of pods asks for. Clients that never read their file again would lose access after an hour, so such a token
/// really lives for a year, and its use after the hour is noted.
pub const WARN_ONLY_SECONDS: i64 = 3607;
/// How long it really lives.
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// What the issuer allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// `iss` of the tokens.
    pub issuer: String,
    /// Whom tokens are for that say nothing of it: the API server.
    pub audiences: Vec<String>,
    /// The longest life of a token; `None`: no limit but [`SECONDS_MAX`].
    pub seconds_max: Option<i64>,
    /// Whether tokens of [`WARN_ONLY_SECONDS`] live longer.
    pub extends: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Where the account is.
    pub namespace: String,
    /// The account.
    pub account: Ref,
    /// Whom the token is for.
    pub audiences: Vec<String>,
    /// How long it lives.
    pub seconds: i64,
    /// The pod that it ends with.
    pub pod: Option<Ref>,
    /// The node that it ends with, or where the pod is.
    pub node: Option<Ref>,
    /// The secret that it ends with.
    pub secret: Option<Ref>,
}

/// What is issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// All claims of the token.
    pub claims: Value,
    /// For how long its holder should use it.
    pub seconds: i64,
    /// What whoever asks is told.
    pub warning: Option<String>,
}

/// The token for `asked`, with the id `id`, made at `now` (seconds since 1970). What is asked for must be between the limits.
#[must_use]
pub fn plan(asked: Asked, terms: &Terms, id: &str, now: i64) -> Plan {
    let mut seconds = asked.seconds;
    let mut warning = None;
    if let Some(max) = terms.seconds_max.filter(|max| seconds > *max) {
        warning = Some(format!("requested expiration of {seconds} seconds shortened to {max} seconds"));
        seconds = max;
    }
    let for_us = asked.audiences.iter().all(|audience| terms.audiences.contains(audience));
    let extended = terms.extends && asked.pod.is_some() && seconds == WARN_ONLY_SECONDS && for_us;
    let (life, warn_after) = if extended { (EXTENDED_SECONDS, Some(now + seconds)) } else { (seconds, None) };
    let subject = user_name(&asked.namespace, &asked.account.name);
    let mut claims = json!({
        "iss": terms.issuer, "sub": subject, "aud": asked.audiences, "jti": id,
        "iat": now, "nbf": now, "exp": now.saturating_add(life),
    });
    let Asked { namespace, account, pod, node, secret, .. } = asked;
    let (name, claim) = Bound { namespace, account, pod, secret, node, warn_after }.claim();
    claims[name] = claim;
    Plan { claims, seconds, warning }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms { issuer: "https://i".to_owned(), audiences: vec!["api".to_owned()], seconds_max: None, extends: true }
    }

    fn asked(seconds: i64) -> Asked {
        let account = Ref { name: "a".to_owned(), uid: "u".to_owned() };
        Asked { namespace: "ns".to_owned(), account, audiences: vec!["api".to_owned()], seconds, ..Asked::default() }
    }

    #[test]
    fn a_token_says_whose_it_is() {
        let plan = plan(asked(600), &terms(), "j", 100);
        let expected = json!({
            "iss": "https://i", "sub": "system:serviceaccount:ns:a", "aud": ["api"], "jti": "j", "iat": 100, "nbf": 100, "exp": 700,
            "kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "a", "uid": "u"}},
        });
        assert_eq!((plan.claims, plan.seconds, plan.warning), (expected, 600, None));
    }

    #[test]
    fn a_life_is_shortened_or_extended() {
        let pod = Some(Ref { name: "p".to_owned(), uid: "u".to_owned() });
        let short = Terms { seconds_max: Some(3600), ..terms() };
        let strict = Terms { extends: false, ..terms() };
        let year = EXTENDED_SECONDS;
        for (seconds, pod, audience, terms, told, lives) in [
            (7200, None, "api", &short, 3600, 3600),
            (7200, None, "api", &terms(), 7200, 7200),
            (WARN_ONLY_SECONDS, pod.clone(), "api", &terms(), WARN_ONLY_SECONDS, year),
            (WARN_ONLY_SECONDS, pod.clone(), "api", &strict, WARN_ONLY_SECONDS, WARN_ONLY_SECONDS),
            (WARN_ONLY_SECONDS, pod.clone(), "vault", &terms(), WARN_ONLY_SECONDS, WARN_ONLY_SECONDS),
            (WARN_ONLY_SECONDS, None, "api", &terms(), WARN_ONLY_SECONDS, WARN_ONLY_SECONDS),
            (3600, pod, "api", &terms(), 3600, 3600),
        ] {
            let asked = Asked { pod, audiences: vec![audience.to_owned()], ..asked(seconds) };
            let plan = plan(asked, terms, "j", 0);
            assert_eq!((plan.seconds, plan.claims["exp"].as_i64()), (told, Some(lives)));
            assert_eq!(plan.claims["kubernetes.io"]["warnafter"].as_i64(), (lives == year).then_some(told));
            assert_eq!(plan.warning.is_some(), told < seconds);
        }
    }
}
