//! Bootstrap tokens (`kubeadm join`): an id and a secret, kept in a secret of `kube-system`, with which a node asks for its certificate.

use crate::account::same;
use crate::user::User;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use std::collections::BTreeMap;

/// The type of secrets that hold them.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The namespace of these secrets.
pub const NAMESPACE: &str = "kube-system";
/// With which their names begin; the id follows.
const PREFIX: &str = "bootstrap-token-";
/// The user, before the id.
const USER: &str = "system:bootstrap:";
/// The group of all of them, and the beginning of the names of others that they may be in.
const GROUP: &str = "system:bootstrappers";

/// A token, read and not yet believed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token<'a> {
    id: &'a str,
    secret: &'a str,
}

/// What stands in the secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// Its type.
    pub kind: String,
    /// Whether its deletion has begun.
    pub deleted: bool,
    /// Its data, as text.
    pub data: BTreeMap<String, String>,
    /// When it ends, seconds since 1970; an error if it says so in words that nobody understands.
    pub ends: Option<Result<i64, ()>>,
}

impl<'a> Token<'a> {
    /// Reads `abcdef.0123456789abcdef`; `None`: it is something else.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let plain = |part: &str, length| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        (plain(id, 6) && plain(secret, 16)).then_some(Self { id, secret })
    }

    /// Name of the secret that holds it.
    #[must_use]
    pub fn secret_name(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    /// Who has it, if `home` holds it and says that it may be used so at `now`.
    #[must_use]
    pub fn holds(&self, home: &Home, now: i64) -> Option<User> {
        let data = |key: &str| home.data.get(key).map_or("", String::as_str);
        let fits = home.kind == TYPE
            && !home.deleted
            && same(data("token-secret").as_bytes(), self.secret.as_bytes())
            && data("token-id") == self.id
            && data("usage-bootstrap-authentication") == "true"
            && !has_ended(home, now);
        if !fits {
            return None;
        }
        let groups = groups(data("auth-extra-groups"))?;
        Some(User { name: format!("{USER}{}", self.id), groups, ..User::default() })
    }
}

impl Home {
    /// Id and secret of the token that this holds, if it may sign at `now` what nodes read before they have joined. `name` is that of the
    /// secret.
    #[must_use]
    pub fn signer(&self, name: &str, now: i64) -> Option<(&str, &str)> {
        let data = |key: &str| self.data.get(key).map_or("", String::as_str);
        let (id, secret) = (data("token-id"), data("token-secret"));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_named = name.strip_prefix(PREFIX) == Some(id) && id.len() == 6 && id.bytes().all(plain);
        let signs = self.kind == TYPE && is_named && !secret.is_empty() && data("usage-bootstrap-signing") == "true";
        (signs && !has_ended(self, now)).then_some((id, secret))
    }
}

/// The signature of a token under `content`: a JWS (RFC 7515) with HS256, without what it signs (appendix F).
#[must_use]
pub fn signature(content: &str, id: &str, secret: &str) -> String {
    // An id of letters and digits needs no escapes.
    let head = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"HS256\",\"kid\":\"{id}\"}}"));
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(content));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{head}..{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Whether the time of the token in `home` is over. A time that nobody understands is over.
#[must_use]
pub fn has_ended(home: &Home, now: i64) -> bool {
    match home.ends {
        None => false,
        Some(Ok(at)) => at < now,
        Some(Err(())) => true,
    }
}

/// The groups of its user; `None`: one is not a bootstrapper's.
fn groups(extra: &str) -> Option<Vec<String>> {
    let mut groups = vec![GROUP.to_owned()];
    for group in extra.split(',').filter(|group| !group.is_empty()) {
        let rest = group.strip_prefix(GROUP)?.strip_prefix(':')?;
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let last = rest.bytes().next_back().is_some_and(fits);
        if !last || rest.len() > 256 || !rest.bytes().all(|byte| fits(byte) || byte == b':' || byte == b'-') {
            return None;
        }
        groups.push(group.to_owned());
    }
    Some(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(more: &[(&str, &str)]) -> Home {
        let usual =
            [("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-authentication", "true")];
        let data = usual.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Home { kind: TYPE.to_owned(), data, ..Home::default() }
    }

    #[test]
    fn a_token_has_one_form() {
        assert_eq!(Token::parse("abcdef.0123456789abcdef").unwrap().secret_name(), "bootstrap-token-abcdef");
        for wrong in
            ["", "abcdef", "abcde.0123456789abcdef", "Abcdef.0123456789abcdef", "abcdef.0123456789abcdef0", "a.b.c"]
        {
            assert!(Token::parse(wrong).is_none(), "{wrong}");
        }
    }

    /// The examples of Kubernetes (`cluster-bootstrap/token/jws`).
    #[test]
    fn signatures_are_those_that_kubeadm_checks() {
        let content = "Hello from the other side. I must have called a thousand times.";
        for (content, secret, expected) in [
            (content, "my voice is my passcode", "VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"),
            ("", "my voice is my passcode", "7Ui1ALizW4jXphVUB7xUqC9vLYLL9RZeOFfVLoB7Tgk"),
            (content, "", "UfkqvDGiIFxrMnFseDj9LYJOLNrvjW8aHhF71mvvAs8"),
        ] {
            let signed = signature(content, "joshua", secret);
            assert_eq!(signed, format!("eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..{expected}"));
        }
    }

    #[test]
    fn only_some_tokens_sign() {
        let signs = |home: Home, name: &str| home.signer(name, 100).map(|(id, _)| id.to_owned());
        let good = || home(&[("usage-bootstrap-signing", "true")]);
        assert_eq!(signs(good(), "bootstrap-token-abcdef").as_deref(), Some("abcdef"));
        for (home, name) in [
            (good(), "bootstrap-token-abcdeg"),
            (good(), "abcdef"),
            (home(&[]), "bootstrap-token-abcdef"),
            (Home { ends: Some(Ok(99)), ..good() }, "bootstrap-token-abcdef"),
            (Home { kind: "Opaque".to_owned(), ..good() }, "bootstrap-token-abcdef"),
        ] {
            assert_eq!(signs(home, name), None);
        }
    }

    #[test]
    fn a_token_is_believed_as_its_secret_says() {
        let token = Token::parse("abcdef.0123456789abcdef").unwrap();
        let user = token.holds(&home(&[("auth-extra-groups", "system:bootstrappers:a,system:bootstrappers:b:c-d")]), 0);
        let user = user.expect("believed");
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b:c-d"]);
        for (name, home) in [
            ("another secret", home(&[("token-secret", "0123456789abcdeX")])),
            ("no secret", home(&[("token-secret", "")])),
            ("another id", home(&[("token-id", "abcdeg")])),
            ("for signing only", home(&[("usage-bootstrap-authentication", "false")])),
            ("a group of its own", home(&[("auth-extra-groups", "system:masters")])),
            ("a group that ends badly", home(&[("auth-extra-groups", "system:bootstrappers:a-")])),
            ("another type", Home { kind: "Opaque".to_owned(), ..home(&[]) }),
            ("being deleted", Home { deleted: true, ..home(&[]) }),
            ("ended", Home { ends: Some(Ok(99)), ..home(&[]) }),
            ("an end that nobody understands", Home { ends: Some(Err(())), ..home(&[]) }),
        ] {
            assert!(token.holds(&home, 100).is_none(), "{name}");
        }
        assert!(token.holds(&Home { ends: Some(Ok(101)), ..home(&[]) }, 100).is_some());
    }
}
