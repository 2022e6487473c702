//! What becomes of a secret that is to hold an account's token.

use crate::Trust;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::ResourceExt;
use skiff_authn::account::{Legacy, Ref};
use skiff_authn::jws::sign;

const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// The account that a secret names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    name: String,
    uid: String,
}

impl Account {
    pub(super) fn of(account: &ServiceAccount) -> Self {
        Self { name: account.name_any(), uid: account.uid().unwrap_or_default() }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing.
    Leave,
    /// Its account is gone.
    Delete,
    /// It lacks something.
    Fill(Box<Secret>),
}

/// Name and, once it is known, uid of the account that `secret` is for.
pub(super) fn account_of(secret: &Secret) -> Option<(&str, Option<&str>)> {
    let text = |key: &str| secret.annotations().get(key).map(String::as_str).filter(|text| !text.is_empty());
    Some((text(ACCOUNT)?, text(ACCOUNT_UID)))
}

/// Decides it.
pub(super) fn next(secret: &Secret, account: Option<&Account>, trust: &Trust) -> Result<Next, String> {
    if secret.metadata.deletion_timestamp.is_some() {
        return Ok(Next::Leave);
    }
    let Some(account) = account else { return Ok(Next::Delete) };
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    let authority = trust.authority.as_ref().map(|text| text.as_bytes()).filter(|text| data("ca.crt") != Some(text));
    let lacks = |key: &str| data(key).is_none_or(<[u8]>::is_empty);
    let (needs_namespace, needs_token) = (lacks("namespace"), lacks("token"));
    if authority.is_none() && !needs_namespace && !needs_token {
        return Ok(Next::Leave);
    }
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
    let mut filled = secret.clone();
    let into = filled.data.get_or_insert_default();
    let mut put = |key: &str, value: &[u8]| into.insert(key.to_owned(), ByteString(value.to_vec()));
    if let Some(authority) = authority {
        put("ca.crt", authority);
    }
    if needs_namespace {
        put("namespace", namespace.as_bytes());
    }
    if let (true, Some(signer)) = (needs_token, &trust.signer) {
        let reference = Ref { name: account.name.clone(), uid: account.uid.clone() };
        put("token", sign(signer, &Legacy::new(&namespace, reference, &name).claims())?.as_bytes());
    }
    let annotations = filled.annotations_mut();
    annotations.insert(ACCOUNT.to_owned(), account.name.clone());
    annotations.insert(ACCOUNT_UID.to_owned(), account.uid.clone());
    Ok(Next::Fill(Box::new(filled)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_authn::key::SigningKey;
    use std::sync::Arc;

    fn secret() -> Secret {
        let mut secret = Secret::default();
        secret.metadata.name = Some("s".to_owned());
        secret.metadata.namespace = Some("ns".to_owned());
        secret.annotations_mut().insert(ACCOUNT.to_owned(), "a".to_owned());
        secret
    }

    fn trust() -> Trust {
        let key = SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap();
        Trust { authority: Some("pem".into()), signer: Some(Arc::new(key)), ..Trust::default() }
    }

    #[test]
    fn a_secret_is_filled_once() {
        let (trust, account) = (trust(), Account { name: "a".to_owned(), uid: "u".to_owned() });
        let Next::Fill(filled) = next(&secret(), Some(&account), &trust).unwrap() else {
            panic!("it lacks everything")
        };
        assert_eq!(account_of(&filled), Some(("a", Some("u"))));
        let keys: Vec<&str> = filled.data.iter().flatten().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["ca.crt", "namespace", "token"]);
        assert_eq!(next(&filled, Some(&account), &trust).unwrap(), Next::Leave);
        let other = Trust { authority: Some("other".into()), ..trust };
        let Next::Fill(again) = next(&filled, Some(&account), &other).unwrap() else { panic!("another authority") };
        assert_eq!(again.data.as_ref().unwrap()["token"], filled.data.as_ref().unwrap()["token"], "the token stays");
    }

    #[test]
    fn a_secret_goes_with_its_account() {
        assert_eq!(next(&secret(), None, &trust()).unwrap(), Next::Delete);
        assert_eq!(account_of(&Secret::default()), None);
    }
}
