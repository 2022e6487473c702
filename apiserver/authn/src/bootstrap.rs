//! Bootstrap tokens (`kubeadm join`): an id and a secret, kept in a secret of `kube-system`, with which a node asks for its certificate.

use crate::account::same;
use crate::user::User;
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
