//! Public keys as JSON (RFC 7517): what our own issuer publishes, and what other issuers publish.

use crate::key::{Algorithm, Numbers, PublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A key that another issuer publishes, under the id that it gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// `kid`; may be empty.
    pub id: String,
    /// The key.
    pub key: PublicKey,
}

/// The set that publishes `keys`.
#[must_use]
pub fn set(keys: &[PublicKey]) -> Value {
    json!({"keys": keys.iter().map(one).collect::<Vec<Value>>()})
}

fn one(key: &PublicKey) -> Value {
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let mut jwk = json!({"use": "sig", "kid": key.id(), "alg": key.algorithm().name()});
    match key.numbers() {
        Numbers::Rsa { modulus, exponent } => {
            jwk["kty"] = "RSA".into();
            jwk["n"] = number(modulus).into();
            jwk["e"] = number(exponent).into();
        }
        Numbers::Point { curve, point } => {
            let (x, y) = point[1..].split_at((point.len() - 1) / 2);
            jwk["kty"] = "EC".into();
            jwk["crv"] = curve.into();
            jwk["x"] = number(x).into();
            jwk["y"] = number(y).into();
        }
    }
    jwk
}

/// The names of the algorithms by which the private halves of `keys` sign, sorted.
#[must_use]
pub fn algorithms(keys: &[PublicKey]) -> Vec<&'static str> {
    let names: BTreeSet<&str> = keys.iter().map(|key| key.algorithm().name()).collect();
    names.into_iter().collect()
}

/// The keys of a set that sign. Those of a kind that is not used here are left out, as RFC 7517 asks; the second are their reasons.
///
/// # Errors
/// It is no set.
pub fn read(set: &Value) -> Result<(Vec<Published>, Vec<String>), String> {
    let keys = set["keys"].as_array().ok_or("it has no list \"keys\"")?;
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for jwk in keys.iter().filter(|jwk| jwk["use"].is_null() || jwk["use"] == "sig") {
        let id = jwk["kid"].as_str().unwrap_or_default().to_owned();
        match key(jwk) {
            Ok(key) => found.push(Published { id, key }),
            Err(problem) => left_out.push(format!("key {id:?} is {problem}")),
        }
    }
    Ok((found, left_out))
}

fn key(jwk: &Value) -> Result<PublicKey, String> {
    let number = |name: &str| {
        let text = jwk[name].as_str().unwrap_or_default();
        URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| format!("without a number {name:?}"))
    };
    if let Some(named) = jwk["alg"].as_str()
        && Algorithm::named(named).is_none()
    {
        return Err(format!("for the algorithm {named:?}, which is not implemented"));
    }
    match jwk["kty"].as_str() {
        Some("RSA") => PublicKey::rsa(&number("n")?, &number("e")?),
        Some("EC") => {
            let curve = jwk["crv"].as_str().unwrap_or_default();
            PublicKey::point(curve, &[&[4][..], &number("x")?, &number("y")?].concat())
        }
        other => Err(format!("of the type {:?}, which is not implemented", other.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    #[test]
    fn what_is_published_is_read() {
        let keys: Vec<PublicKey> = [
            SigningKey::generate().unwrap(),
            include_str!("key/testdata/rsa.pem").to_owned(),
            include_str!("key/testdata/sec1.pem").to_owned(),
        ]
        .iter()
        .map(|text| SigningKey::from_pem(text).unwrap().public().clone())
        .collect();
        let (read, left_out) = read(&set(&keys)).unwrap();
        assert_eq!(left_out, [""; 0]);
        assert_eq!(read.iter().map(|one| &one.key).collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
        assert!(read.iter().all(|one| one.id == one.key.id()));
        assert_eq!(algorithms(&keys), ["ES256", "ES384", "RS256"]);
        assert!(!set(&keys).to_string().contains("\"d\""), "no private number is published");
    }

    #[test]
    fn what_is_not_used_is_left_out() {
        let set = json!({"keys": [
            {"kty": "oct", "kid": "a", "k": "AAAA"}, {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
            {"kty": "RSA", "use": "enc", "n": "AA", "e": "AQAB"}, {"kty": "RSA", "n": "AA", "e": "AQAB"}, 1,
        ]});
        let (found, left_out) = read(&set).unwrap();
        assert_eq!((found.len(), left_out.len()), (0, 4), "{left_out:?}");
        assert!(read(&json!([])).is_err());
    }
}
