//! What a front proxy says about who asks (kube-apiserver's `--requestheader-*`): names of headers, and what is read from them.

use crate::user::User;
use std::collections::BTreeMap;

/// Which headers say it. Names are in lower case; of user and uid the first that says something counts, of groups and extras all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// `--requestheader-username-headers`.
    pub user: Vec<String>,
    /// `--requestheader-uid-headers`.
    pub uid: Vec<String>,
    /// `--requestheader-group-headers`.
    pub group: Vec<String>,
    /// `--requestheader-extra-headers-prefix`.
    pub extra_prefix: Vec<String>,
}

impl Headers {
    /// Whether the header `name` (in lower case) says something of the kind, or would to a server that takes `_` for `-`, as those do that
    /// make variables of headers (RFC 3875).
    #[must_use]
    pub fn include(&self, name: &str) -> bool {
        let name = name.replace('_', "-");
        let named = [&self.user, &self.uid, &self.group].into_iter().flatten().any(|header| *header == name);
        named || self.extra_prefix.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Who `headers` (names in lower case, with values) say it is; `None`: they do not say.
    #[must_use]
    pub fn user(&self, headers: &[(&str, &str)]) -> Option<User> {
        let all = |names: &[String]| -> Vec<String> {
            let of = names.iter().flat_map(|name| headers.iter().filter(move |(header, _)| header == name));
            of.map(|(_, value)| (*value).to_owned()).filter(|value| !value.is_empty()).collect()
        };
        // A header that comes twice says what its first line says, be it nothing: whoever adds a line behind it adds nothing.
        let first = |names: &[String]| {
            let of = names.iter().filter_map(|name| headers.iter().find(|(header, _)| header == name));
            of.map(|(_, value)| (*value).to_owned()).find(|value| !value.is_empty())
        };
        let name = first(&self.user)?;
        let uid = first(&self.uid).unwrap_or_default();
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefix {
            for (header, value) in headers {
                if let Some(key) = header.strip_prefix(prefix.as_str()) {
                    extra.entry(unescaped(key)).or_default().push((*value).to_owned());
                }
            }
        }
        Some(User { name, uid, groups: all(&self.group), extra })
    }
}

/// Undoes percent encoding; a key that is not encoded stands for itself.
fn unescaped(key: &str) -> String {
    let decode = || {
        let (mut bytes, mut rest) = (Vec::new(), key.as_bytes());
        while let [byte, tail @ ..] = rest {
            rest = tail;
            if *byte == b'%' {
                let (digits, tail) = rest.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = tail;
            } else {
                bytes.push(*byte);
            }
        }
        String::from_utf8(bytes).ok()
    };
    decode().unwrap_or_else(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Headers {
        let one = |name: &str| vec![name.to_owned()];
        Headers {
            user: one("x-remote-user"),
            uid: one("x-remote-uid"),
            group: one("x-remote-group"),
            extra_prefix: one("x-remote-extra-"),
        }
    }

    #[test]
    fn headers_say_who_asks() {
        let said = [
            ("x-remote-user", "u"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-uid", "7"),
            ("x-remote-extra-acme.com%2fproject", "p"),
            ("x-remote-extra-scopes", "view"),
            ("x-remote-extra-scopes", "edit"),
            ("accept", "x"),
        ];
        let user = usual().user(&said).expect("they say it");
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("u", "7"));
        assert_eq!(user.groups, ["a", "b"]);
        assert_eq!(user.extra["acme.com/project"], ["p"]);
        assert_eq!(user.extra["scopes"], ["view", "edit"]);
        assert_eq!(usual().user(&[("x-remote-group", "system:masters")]), None);
        assert_eq!(usual().user(&[("x-remote-user", "")]), None);
        assert_eq!(usual().user(&[("x-remote-user", ""), ("x-remote-user", "root")]), None);
        let twice = usual().user(&[("x-remote-user", "u"), ("x-remote-user", "root"), ("x_remote_group", "masters")]);
        assert_eq!(twice.map(|user| (user.name, user.groups)), Some(("u".to_owned(), Vec::new())));
        assert_eq!(Headers::default().user(&said), None);
    }

    #[test]
    fn whoever_is_not_the_proxy_loses_them() {
        for (name, is_one) in [
            ("x-remote-user", true),
            ("x_remote_user", true),
            ("x-remote_extra_a", true),
            ("x-remote-extra-a", true),
            ("x-remote-extra", false),
            ("accept", false),
        ] {
            assert_eq!(usual().include(name), is_one, "{name}");
        }
    }
}
