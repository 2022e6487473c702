//! A signature over claims: the compact form of JSON Web Signature (RFC 7515), `header.claims.signature`.

use crate::key::{Algorithm, PublicKey, SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

/// The longest token that is looked at. Tokens of service accounts have about 1 KiB; those of identity providers that list hundreds of
/// groups have 16 KiB, which is what a header of HTTP/2 may have here.
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// A token in its three parts, nothing of which may be believed.
#[derive(Debug)]
pub struct Unverified<'a> {
    algorithm: String,
    key_id: String,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

/// Why a token's signature is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No key has the id that the token names.
    #[error("invalid signature, no keys found")]
    NoKey,
    /// It is by another algorithm or another key, or of something else. The text is the one that clients of Kubernetes know.
    #[error("go-jose/go-jose: error in cryptographic primitive")]
    Wrong,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart; `None`: it is none.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = object(header)?;
        // RFC 7515: whoever does not know what is critical refuses the token. We know of nothing.
        if header.contains_key("crit") || header.contains_key("b64") {
            return None;
        }
        let word = |name: &str| header.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self {
            algorithm: word("alg"),
            key_id: word("kid"),
            claims: object(claims)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// What it claims about who made it, to find the keys that could prove it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }

    /// What it claims, to refuse what would be of no use even if it were proved.
    #[must_use]
    pub(crate) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The key that it says it is signed by; empty: it does not say.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Its claims, once one of `keys` proves them. Only a key of the id that the token names is tried, if it names one; `id_of` says which
    /// id a key has.
    ///
    /// # Errors
    /// No key proves them.
    pub fn verified<K>(
        self,
        keys: &[K],
        id_of: impl Fn(&K) -> (&str, &PublicKey),
        allowed: &[Algorithm],
    ) -> Result<Map<String, Value>, SignatureError> {
        let mut meant =
            keys.iter().map(id_of).filter(|(id, _)| self.key_id.is_empty() || *id == self.key_id).peekable();
        if meant.peek().is_none() {
            return Err(SignatureError::NoKey);
        }
        let algorithm = Algorithm::named(&self.algorithm).filter(|one| allowed.contains(one));
        let algorithm = algorithm.ok_or(SignatureError::Wrong)?;
        let proves = |(_, key): (&str, &PublicKey)| key.verifies(algorithm, self.signed.as_bytes(), &self.signature);
        if meant.any(proves) { Ok(self.claims) } else { Err(SignatureError::Wrong) }
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    match serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

/// A token that makes `claims`, signed by `key`.
///
/// # Errors
/// The system gives no random numbers.
pub fn sign(key: &SigningKey, claims: &Value) -> Result<String, String> {
    let header = json!({"alg": key.public().algorithm().name(), "kid": key.public().id()});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap()
    }

    fn check(token: &str, keys: &[&SigningKey]) -> Result<Map<String, Value>, SignatureError> {
        let keys: Vec<PublicKey> = keys.iter().map(|key| key.public().clone()).collect();
        let unverified = Unverified::parse(token).ok_or(SignatureError::Wrong)?;
        unverified.verified(&keys, |key| (key.id(), key), &Algorithm::ALL)
    }

    fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn a_token_is_believed_by_its_key_only() {
        let (ours, other) = (key(), key());
        let token = sign(&ours, &json!({"sub": "x"})).unwrap();
        assert_eq!(check(&token, &[&other, &ours]).unwrap()["sub"], "x");
        assert_eq!(check(&token, &[&other]), Err(SignatureError::NoKey));
    }

    /// Attacks by name.
    #[test]
    fn a_token_does_not_choose_how_it_is_checked() {
        let ours = key();
        let (claims, id) = (json!({"sub": "root"}), ours.public().id().to_owned());
        let point = match ours.public().numbers() {
            crate::key::Numbers::Point { point, .. } => point.to_vec(),
            crate::key::Numbers::Rsa { .. } => unreachable!("it is on a curve"),
        };
        // HS256 with the public key as the secret: what a confused checker would take for a signature.
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &point);
        let header = json!({"alg": "HS256", "kid": id});
        let signed = forged(&header, &claims, b"");
        let mac = ring::hmac::sign(&secret, signed.trim_end_matches('.').as_bytes());
        let confused = forged(&header, &claims, mac.as_ref());
        for (name, token) in [
            ("alg none", forged(&json!({"alg": "none"}), &claims, b"")),
            ("alg None", forged(&json!({"alg": "None", "kid": id}), &claims, b"")),
            ("no alg", forged(&json!({}), &claims, b"x")),
            ("HS256 with the public key", confused),
            ("another algorithm of the key's kind", forged(&json!({"alg": "ES384", "kid": id}), &claims, &[0; 96])),
            ("an empty signature", forged(&json!({"alg": "ES256", "kid": id}), &claims, b"")),
            ("a signature of zeros", forged(&json!({"alg": "ES256", "kid": id}), &claims, &[0; 64])),
            ("a key of its own", forged(&json!({"alg": "ES256", "jwk": {"kty": "EC"}}), &claims, &[1; 64])),
            ("critical extensions", forged(&json!({"alg": "ES256", "kid": id, "crit": ["x"]}), &claims, &[1; 64])),
        ] {
            assert_eq!(check(&token, &[&ours]), Err(SignatureError::Wrong), "{name}");
        }
        let wrong = forged(&json!({"alg": "ES256", "kid": "other"}), &claims, &[1; 64]);
        assert_eq!(check(&wrong, &[&ours]), Err(SignatureError::NoKey));
    }

    #[test]
    fn a_token_is_whole_or_nothing() {
        let ours = key();
        let token = sign(&ours, &json!({"sub": "x"})).unwrap();
        for end in 0..token.len() {
            assert!(check(&token[..end], &[&ours]).is_err(), "the first {end} bytes");
        }
        for more in ["a", ".", "=", " ", ".a"] {
            assert!(check(&format!("{token}{more}"), &[&ours]).is_err(), "{more:?} behind");
        }
        assert!(Unverified::parse(&"a".repeat(TOKEN_BYTES_MAX + 1)).is_none());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[A-Za-z0-9_.{}\":-]{0,200}") {
            let _ = Unverified::parse(&text);
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..200, to in 0u8..128) {
            let ours = key();
            let mut token = sign(&ours, &json!({"sub": "x", "aud": ["y"]})).unwrap().into_bytes();
            let at = at % token.len();
            prop_assume!(token[at] != to);
            token[at] = to;
            if let Ok(text) = std::str::from_utf8(&token) {
                prop_assert!(check(text, &[&ours]).is_err());
            }
        }
    }
}
