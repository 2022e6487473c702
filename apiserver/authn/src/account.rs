//! What a service account's token claims, and whether that still holds (KEP-1205, KEP-4193).
//!
//! Two kinds: tokens that were asked for (`serviceaccounts/token`), which are bound to objects and end with them; and those in secrets,
//! which end with the secret and have neither audience nor end.

use crate::claims::{Claims, LEEWAY_SECONDS, Untimely};
use crate::user::User;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Issuer of the tokens in secrets.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Group of all accounts; those of one namespace are in a group of its name behind a colon too.
const GROUP: &str = "system:serviceaccounts";
/// The private claim of tokens that were asked for.
const PRIVATE: &str = "kubernetes.io";
/// Prefix of the private claims of tokens in secrets.
const LEGACY: &str = "kubernetes.io/serviceaccount/";
/// Prefix of what is known of an account beside its name.
const EXTRA: &str = "authentication.kubernetes.io/";
/// Label of a secret whose token is believed no more, since a day.
pub const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// An object that a token names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ref {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What a token is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bound {
    /// Where the account is.
    pub namespace: String,
    /// The account.
    pub account: Ref,
    /// A pod; with it the node names where the pod was.
    pub pod: Option<Ref>,
    /// A secret.
    pub secret: Option<Ref>,
    /// A node.
    pub node: Option<Ref>,
    /// From when on the use of the token is worth a word, seconds since 1970.
    pub warn_after: Option<i64>,
}

/// An object, as far as tokens depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    /// Its uid.
    pub uid: String,
    /// When its deletion began, seconds since 1970.
    pub deleted: Option<i64>,
}

/// The objects that a token is bound to, as they are now. An error is why the object cannot be had.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The account.
    pub account: Option<Result<Present, String>>,
    /// The secret, if the token names one; `None`: it is gone.
    pub secret: Option<Present>,
    /// The pod, if the token names one.
    pub pod: Option<Present>,
    /// The node, if the token is bound to one.
    pub node: Option<Present>,
}

/// Name of the user that an account is.
#[must_use]
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The groups of every account in `namespace`.
#[must_use]
pub fn groups(namespace: &str) -> Vec<String> {
    vec![GROUP.to_owned(), format!("{GROUP}:{namespace}")]
}

impl Bound {
    /// What the claims of a token say.
    #[must_use]
    pub fn of(claims: &Map<String, Value>) -> Self {
        let private = claims.get(PRIVATE).unwrap_or(&Value::Null);
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let reference = |value: &Value| Ref { name: text(value, "name"), uid: text(value, "uid") };
        let part = |name: &str| private.get(name).filter(|value| value.is_object()).map(reference);
        Self {
            namespace: text(private, "namespace"),
            account: part("serviceaccount").unwrap_or_default(),
            pod: part("pod"),
            secret: part("secret"),
            node: part("node"),
            warn_after: private["warnafter"].as_i64().filter(|at| *at != 0),
        }
    }

    /// The private claim that says it.
    #[must_use]
    pub fn claim(&self) -> (&'static str, Value) {
        let value = |reference: &Ref| {
            let mut value = json!({"name": reference.name});
            if !reference.uid.is_empty() {
                value["uid"] = reference.uid.as_str().into();
            }
            value
        };
        let mut claim = json!({"namespace": self.namespace, "serviceaccount": value(&self.account)});
        for (name, part) in [("pod", &self.pod), ("secret", &self.secret), ("node", &self.node)] {
            if let Some(part) = part {
                claim[name] = value(part);
            }
        }
        if let Some(at) = self.warn_after {
            claim["warnafter"] = at.into();
        }
        (PRIVATE, claim)
    }

    /// The node whose end would end the token: a pod's node only says where the pod was.
    #[must_use]
    pub fn binding_node(&self) -> Option<&Ref> {
        self.node.as_ref().filter(|_| self.pod.is_none())
    }

    /// Who the token says it is, if time and objects still fit.
    ///
    /// # Errors
    /// What does not fit, in the words of kube-apiserver.
    pub fn holds(&self, claims: &Claims, found: &Found, now: i64) -> Result<User, String> {
        claims.check(now).map_err(|untimely| {
            let why = match untimely {
                Untimely::Expired => "has expired",
                Untimely::NotYet => "is not valid yet",
                Untimely::FromTheFuture => "is issued in the future",
            };
            format!("service account token {why}")
        })?;
        let (namespace, name) = (&self.namespace, &self.account.name);
        let gone = |present: &Present| present.deleted.is_some_and(|at| at < now - LEEWAY_SECONDS);
        let account = found.account.clone().unwrap_or_else(|| Err(format!("serviceaccounts {name:?} not found")))?;
        if account.uid != self.account.uid {
            return Err(differs("service account UID", &account.uid, "claim", &self.account.uid));
        }
        if gone(&account) {
            return Err(format!("service account {namespace}/{name} has been deleted"));
        }
        for (what, claimed, present) in [
            ("secret", self.secret.as_ref(), &found.secret),
            ("pod", self.pod.as_ref(), &found.pod),
            ("node", self.binding_node(), &found.node),
        ] {
            let Some(claimed) = claimed else { continue };
            let invalidated = || "service account token has been invalidated".to_owned();
            let present = present.as_ref().ok_or_else(invalidated)?;
            if present.uid != claimed.uid {
                let claim = format!("service account {what} ref claim");
                return Err(differs(&format!("{what} UID"), &present.uid, &claim, &claimed.uid));
            }
            if gone(present) {
                return Err(invalidated());
            }
        }
        Ok(self.user(&claims.id))
    }

    fn user(&self, id: &str) -> User {
        let mut extra = BTreeMap::new();
        let mut note = |key: &str, value: &str| {
            if !value.is_empty() {
                extra.insert(format!("{EXTRA}{key}"), vec![value.to_owned()]);
            }
        };
        if let Some(pod) = self.pod.as_ref().filter(|pod| !pod.name.is_empty() && !pod.uid.is_empty()) {
            note("pod-name", &pod.name);
            note("pod-uid", &pod.uid);
        }
        if !id.is_empty() {
            note("credential-id", &format!("JTI={id}"));
        }
        if let Some(node) = self.node.as_ref().filter(|node| !node.name.is_empty()) {
            note("node-name", &node.name);
            note("node-uid", &node.uid);
        }
        let (name, groups) = (user_name(&self.namespace, &self.account.name), groups(&self.namespace));
        User { name, uid: self.account.uid.clone(), groups, extra }
    }
}

fn differs(what: &str, present: &str, claim: &str, claimed: &str) -> String {
    format!("{what} ({present}) does not match {claim} ({claimed})")
}

/// What the token in a secret claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Legacy {
    /// Where account and secret are.
    pub namespace: String,
    /// The account.
    pub account: Ref,
    /// Name of the secret that the token is in.
    pub secret: String,
    subject: String,
}

/// The secret that such a token must still be in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// The token in it.
    pub token: Vec<u8>,
    /// Whether its deletion has begun.
    pub deleted: bool,
    /// Value of the label [`INVALID_SINCE`].
    pub invalid_since: String,
}

impl Legacy {
    /// That of the token in `secret`.
    #[must_use]
    pub fn new(namespace: &str, account: Ref, secret: &str) -> Self {
        let subject = user_name(namespace, &account.name);
        Self { namespace: namespace.to_owned(), account, secret: secret.to_owned(), subject }
    }

    /// What the claims of a token say.
    #[must_use]
    pub fn of(claims: &Map<String, Value>) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let private = |name: &str| text(&format!("{LEGACY}{name}"));
        let account = Ref { name: private("service-account.name"), uid: private("service-account.uid") };
        Self { namespace: private("namespace"), account, secret: private("secret.name"), subject: text("sub") }
    }

    /// All claims of the token.
    #[must_use]
    pub fn claims(&self) -> Value {
        let key = |name: &str| format!("{LEGACY}{name}");
        json!({
            "iss": LEGACY_ISSUER, "sub": self.subject, key("namespace"): self.namespace,
            key("secret.name"): self.secret, key("service-account.name"): self.account.name,
            key("service-account.uid"): self.account.uid,
        })
    }

    /// Who the token says it is, if its secret and account are still there.
    ///
    /// # Errors
    /// What does not fit, in the words of kube-apiserver.
    pub fn holds(&self, token: &str, home: Option<&Home>, account: &Result<Present, String>) -> Result<User, String> {
        let (namespace, name) = (&self.namespace, &self.account.name);
        for (claim, value) in [
            ("sub", &self.subject),
            ("namespace", namespace),
            ("secretName", &self.secret),
            ("serviceAccountName", name),
            ("serviceAccountUID", &self.account.uid),
        ] {
            if value.is_empty() {
                return Err(format!("{claim} claim is missing"));
            }
        }
        if self.subject != user_name(namespace, name) {
            return Err("sub claim is invalid".to_owned());
        }
        let home = home.filter(|home| !home.deleted).ok_or("Token has been invalidated")?;
        if !same(&home.token, token.as_bytes()) {
            return Err("Token does not match server's copy".to_owned());
        }
        let account = account.clone()?;
        if account.deleted.is_some() {
            return Err(format!("ServiceAccount {namespace}/{name} has been deleted"));
        }
        if account.uid != self.account.uid {
            return Err(differs("ServiceAccount UID", &account.uid, "claim", &self.account.uid));
        }
        if !home.invalid_since.is_empty() {
            let secret = &self.secret;
            return Err(format!(
                "the token in secret {namespace}/{secret} for service account {namespace}/{name} has been marked invalid. Use \
                 tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' \
                 label from the secret to temporarily allow use of this token"
            ));
        }
        let uid = self.account.uid.clone();
        Ok(User { name: self.subject.clone(), uid, groups: groups(namespace), extra: BTreeMap::new() })
    }
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
#[must_use]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (one, other)| sum | (one ^ other)) == 0
}

#[cfg(test)]
mod tests;
