//! Tokens, keys and certificates by chance: nothing but what was signed is believed, and nothing panics. `skiff_harness::chance` says how often.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use skiff_authn::key::{Algorithm, PublicKey, SigningKey};
use skiff_authn::{bootstrap, certificate, claims::Claims, jwk, jws, token_file};
use skiff_harness::chance::{Chance, runs};

/// Takes PEM apart, and puts other bytes into it.
fn with_body(pem: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let lines: Vec<&str> = pem.lines().collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    let mut bytes = BASE64_STANDARD.decode(lines[1..lines.len() - 1].concat()).expect("PEM");
    change(&mut bytes);
    let body = BASE64_STANDARD.encode(bytes);
    format!("{first}\n{body}\n{last}\n")
}

#[test]
fn only_what_was_signed_is_believed() {
    let mut chance = Chance::seeded("tokens");
    let key = SigningKey::from_pem(&SigningKey::generate().expect("a key")).expect("a key");
    let claims = json!({"iss": "https://issuer.example.com", "aud": ["a"], "sub": "system:serviceaccount:n:a", "exp": 4_000_000_000_u64,
        "iat": 1, "nbf": 1, "kubernetes.io": {"namespace": "n", "serviceaccount": {"name": "a", "uid": "u"}}});
    let token = jws::sign(&key, &claims).expect("signed");
    let keys = [key.public().clone()];
    let allowed =
        [Algorithm::named("RS256"), Algorithm::named("ES256"), Algorithm::named("ES384"), Algorithm::named("PS256")];
    let allowed: Vec<Algorithm> = allowed.into_iter().flatten().collect();
    let verified = |text: &str| {
        let unverified = jws::Unverified::parse(text)?;
        unverified.verified(&keys, |key| (key.id(), key), &allowed).ok()
    };
    assert_eq!(verified(&token).map(serde_json::Value::from).as_ref(), Some(&claims));
    for _ in 0..runs() {
        let mut parts: Vec<Vec<u8>> =
            token.split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).expect("its own form")).collect();
        let at = chance.index(3);
        let before = parts[at].clone();
        chance.damage(&mut parts[at]);
        let text = parts.iter().map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).collect::<Vec<_>>().join(".");
        let mut raw = token.clone().into_bytes();
        chance.damage(&mut raw);
        let raw = String::from_utf8_lossy(&raw).into_owned();
        for text in [&text, &raw] {
            let Some(claimed) = verified(text) else { continue };
            assert!(*text == token || parts[at] == before, "{text} is believed, {chance}");
            let _known_or_not = Claims::of(&claimed).map(|claims| claims.check(1_700_000_000));
        }
        let _none = bootstrap::Token::parse(&raw);
    }
}

#[test]
fn damaged_certificates_and_requests_are_refused() {
    let mut chance = Chance::seeded("certificates");
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]).expect("names");
    let request = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    let own = params.self_signed(&key).expect("a certificate").pem();
    assert!(certificate::Request::from_pem(request.as_bytes()).is_ok());
    for _ in 0..runs() / 4 {
        let mut changed = false;
        let damaged = with_body(&request, |bytes| {
            let before = bytes.clone();
            chance.damage(bytes);
            changed = *bytes != before;
        });
        // What stands behind a request is nothing of it.
        if let Ok(read) = certificate::Request::from_pem(damaged.as_bytes()) {
            let whole = certificate::Request::from_pem(request.as_bytes()).expect("whole");
            assert!(!changed || format!("{read:?}") == format!("{whole:?}"), "{damaged} is believed, {chance}");
        }
        let damaged = with_body(&own, |bytes| chance.damage(bytes));
        let _known_or_not = certificate::validity(damaged.as_bytes());
        let mut raw = own.clone().into_bytes();
        chance.damage(&mut raw);
        let _known_or_not = (certificate::ends(&raw), certificate::Request::from_pem(&raw).is_ok());
    }
}

#[test]
fn damaged_keys_are_read_or_refused() {
    let mut chance = Chance::seeded("keys");
    let pem = SigningKey::generate().expect("a key");
    let key = SigningKey::from_pem(&pem).expect("a key");
    let set = jwk::set(&[key.public().clone()]);
    for _ in 0..runs() / 4 {
        let damaged = with_body(&pem, |bytes| chance.damage(bytes));
        let _read_or_refused = (SigningKey::from_pem(&damaged).is_ok(), PublicKey::from_pem(&damaged).is_ok());
        let mut raw = pem.clone().into_bytes();
        chance.damage(&mut raw);
        let raw = String::from_utf8_lossy(&raw);
        let _read_or_refused = (PublicKey::from_pem(&raw).is_ok(), token_file::TokenFile::parse(&raw).is_ok());
        let mut other = set.clone();
        chance.disturb(&mut other);
        let _read_or_refused = jwk::read(&other).is_ok();
    }
}
