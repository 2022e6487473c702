//! The claims that every token has (RFC 7519): by whom, about whom, for whom, from when, until when.

use serde_json::{Map, Value};

/// How far the clocks of whoever signs and whoever checks may differ, as in Kubernetes.
pub const LEEWAY_SECONDS: i64 = 60;

/// Registered claims of a token whose signature was checked. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `aud`: one text or a list of them.
    pub audiences: Vec<String>,
    /// `exp`.
    pub expires: Option<i64>,
    /// `nbf`.
    pub not_before: Option<i64>,
    /// `iat`.
    pub issued: Option<i64>,
    /// `jti`.
    pub id: String,
}

/// Why a token does not hold at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untimely {
    /// It has expired.
    Expired,
    /// It is for later.
    NotYet,
    /// It says that it will be made later.
    FromTheFuture,
}

impl Claims {
    /// Reads them; `None`: one is not of its type.
    #[must_use]
    pub fn of(claims: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| match claims.get(name) {
            None | Some(Value::Null) => Some(String::new()),
            Some(value) => value.as_str().map(str::to_owned),
        };
        Some(Self {
            issuer: text("iss")?,
            subject: text("sub")?,
            audiences: audiences(claims.get("aud"))?,
            expires: time(claims.get("exp"))?,
            not_before: time(claims.get("nbf"))?,
            issued: time(claims.get("iat"))?,
            id: text("jti")?,
        })
    }

    /// Whether the token holds at `now`.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, now: i64) -> Result<(), Untimely> {
        let (early, late) = (now.saturating_sub(LEEWAY_SECONDS), now.saturating_add(LEEWAY_SECONDS));
        if self.not_before.is_some_and(|from| late < from) {
            Err(Untimely::NotYet)
        } else if self.expires.is_some_and(|until| early > until) {
            Err(Untimely::Expired)
        } else if self.issued.is_some_and(|at| late < at) {
            Err(Untimely::FromTheFuture)
        } else {
            Ok(())
        }
    }
}

fn audiences(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(one)) => Some(vec![one.clone()]),
        Some(Value::Array(all)) => all.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    }
}

/// A NumericDate, which may have a fraction.
fn time(value: Option<&Value>) -> Option<Option<i64>> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Some(None) };
    if let Some(seconds) = value.as_i64() {
        return Some(Some(seconds));
    }
    #[allow(clippy::cast_possible_truncation, reason = "Rust cuts at the ends, and neither end is a time that passes")]
    value.as_f64().map(|seconds| Some(seconds as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: Value) -> Option<Claims> {
        Claims::of(value.as_object().unwrap())
    }

    #[test]
    fn a_token_holds_from_then_until_then() {
        for (claims, now, expected) in [
            (json!({"nbf": 100, "exp": 200}), 150, Ok(())),
            (json!({"nbf": 100, "exp": 200}), 260, Ok(())),
            (json!({"nbf": 100, "exp": 200}), 261, Err(Untimely::Expired)),
            (json!({"nbf": 100, "exp": 200}), 40, Ok(())),
            (json!({"nbf": 100, "exp": 200}), 39, Err(Untimely::NotYet)),
            (json!({"iat": 100}), 39, Err(Untimely::FromTheFuture)),
            (json!({"exp": 1.5e3}), 1561, Err(Untimely::Expired)),
            (json!({"exp": 1e300}), i64::MAX, Ok(())),
            (json!({"exp": -1e300}), 0, Err(Untimely::Expired)),
            (json!({}), 0, Ok(())),
        ] {
            assert_eq!(of(claims.clone()).unwrap().check(now), expected, "{claims} at {now}");
        }
    }

    #[test]
    fn claims_have_types() {
        assert_eq!(of(json!({"aud": "a"})).unwrap().audiences, ["a"]);
        assert_eq!(of(json!({"aud": ["a", "b"]})).unwrap().audiences, ["a", "b"]);
        for wrong in
            [json!({"aud": 1}), json!({"aud": [1]}), json!({"exp": "1"}), json!({"sub": 1}), json!({"iss": []})]
        {
            assert_eq!(of(wrong.clone()), None, "{wrong}");
        }
    }
}
