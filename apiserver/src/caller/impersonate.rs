//! Acting as somebody else (`kubectl --as`): the headers `Impersonate-User`, `-Group`, `-Uid` and `-Extra-…`
//! (Kubernetes "User impersonation").
//!
//! Whoever asks must be allowed to impersonate each thing named. From then on only the other one counts: with no rights of his
//! own he has none here.

use super::remove_all;
use crate::auth::{AUTHENTICATED, Act, UNAUTHENTICATED, authorize};
use crate::status::Status;
use http::{Extensions, HeaderMap, HeaderValue};
use skiff_client::Identity;
use std::collections::BTreeMap;
use std::fmt;

const PREFIX: &str = "impersonate-";
const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

const ANONYMOUS: &str = "system:anonymous";

/// Who is to be impersonated.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    user: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
}

/// One thing that one must be allowed to impersonate.
struct Thing<'a> {
    kind: &'static str,
    group: &'static str,
    resource: &'static str,
    /// The key of an extra.
    part: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl fmt::Display for Thing<'_> {
    /// As Go prints the ObjectReference by which kube-apiserver keeps it: clients see it in one refusal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.group.is_empty() { String::new() } else { format!("{}/v1", self.group) };
        write!(f, "{{{} {} {}  {version}  {}}}", self.kind, self.namespace, self.name, self.part)
    }
}

/// Reads the headers; `None`: nobody is to be impersonated.
pub(super) fn wanted(headers: &HeaderMap) -> Result<Option<Wanted>, Status> {
    let first = |name| headers.get(name).map(text).transpose();
    let mut wanted = Wanted {
        user: first(USER)?.unwrap_or_default().to_owned(),
        uid: first(UID)?.unwrap_or_default().to_owned(),
        ..Wanted::default()
    };
    for group in headers.get_all(GROUP) {
        wanted.groups.push(text(group)?.to_owned());
    }
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            wanted.extra.entry(decode(key)).or_default().push(text(value)?.to_owned());
        }
    }
    if wanted == Wanted::default() {
        return Ok(None);
    }
    if wanted.user.is_empty() {
        let things: Vec<String> = wanted.things().iter().map(ToString::to_string).collect();
        return Err(Status::bad_request(format!("requested [{}] without impersonating a user", things.join(" "))));
    }
    Ok(Some(wanted))
}

/// Takes the headers off.
pub(super) fn forget(headers: &mut HeaderMap) {
    remove_all(headers, PREFIX);
}

fn text(value: &HeaderValue) -> Result<&str, Status> {
    let name = std::str::from_utf8(value.as_bytes());
    name.map_err(|_| Status::bad_request("the name of somebody to impersonate is not UTF-8"))
}

/// Undoes percent encoding; a key that is not encoded stands for itself.
fn decode(key: &str) -> String {
    crate::rest::percent_decode(key).unwrap_or_else(|| key.to_owned())
}

impl Wanted {
    fn things(&self) -> Vec<Thing<'_>> {
        let core = |kind, resource, namespace, name| Thing { kind, group: "", resource, part: "", namespace, name };
        let authentication = |kind, resource, part, name| Thing {
            kind,
            group: "authentication.k8s.io",
            resource,
            part,
            namespace: "",
            name,
        };
        let mut things = Vec::new();
        match account(&self.user) {
            Some((namespace, name)) => things.push(core("ServiceAccount", "serviceaccounts", namespace, name)),
            None if self.user.is_empty() => {}
            None => things.push(core("User", "users", "", &self.user)),
        }
        things.extend(self.groups.iter().map(|group| core("Group", "groups", "", group)));
        for (key, values) in &self.extra {
            things.extend(values.iter().map(|value| authentication("UserExtra", "userextras", key, value)));
        }
        if !self.uid.is_empty() {
            things.push(authentication("UID", "uids", "", &self.uid));
        }
        things
    }

    /// The effective identity, if the sender of the request with these extensions may have it.
    pub(super) async fn granted_to(self, extensions: &Extensions) -> Result<Identity, Status> {
        for thing in self.things() {
            let Thing { group, resource, part, namespace, name, .. } = thing;
            authorize(extensions, Act::Resource { verb: "impersonate", group, resource, part, namespace, name })
                .await?;
        }
        let groups = self.effective_groups();
        Ok(Identity { user: self.user, groups, uid: self.uid, extra: self.extra })
    }

    /// The groups that were named, or those that a service account is in; and whether the user is known at all.
    fn effective_groups(&self) -> Vec<String> {
        let mut groups = self.groups.clone();
        if let (true, Some((namespace, _))) = (groups.is_empty(), account(&self.user)) {
            groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        }
        let named = |group: &str| groups.iter().any(|has| has == group);
        if self.user == ANONYMOUS {
            if !named(UNAUTHENTICATED) {
                groups.push(UNAUTHENTICATED.to_owned());
            }
        } else if !named(AUTHENTICATED) && !named(UNAUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        groups
    }
}

/// Namespace and name of `system:serviceaccount:<namespace>:<name>`.
fn account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_name = |text: &str, more: &str| {
        let fits = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || more.as_bytes().contains(&byte)
        };
        !text.is_empty() && text.bytes().all(fits)
    };
    (is_name(namespace, "") && is_name(name, ".")).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse::<HeaderValue>().expect("a value"))
        });
        pairs.collect()
    }

    async fn as_administrator(pairs: &[(&str, &str)]) -> Identity {
        let mut extensions = Extensions::new();
        extensions.insert(Identity::component("admin"));
        wanted(&headers(pairs)).expect("sound").expect("somebody").granted_to(&extensions).await.expect("allowed")
    }

    #[tokio::test]
    async fn groups_follow_from_the_user() {
        for (user, groups, expected) in [
            ("nobody", &[][..], &["system:authenticated"][..]),
            ("nobody", &["a"], &["a", "system:authenticated"]),
            ("nobody", &["system:unauthenticated"], &["system:unauthenticated"]),
            ("system:anonymous", &[], &["system:unauthenticated"]),
            (
                "system:serviceaccount:a:b",
                &[],
                &["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"],
            ),
            ("system:serviceaccount:a:b", &["g"], &["g", "system:authenticated"]),
            ("system:serviceaccount:A:b", &[], &["system:authenticated"]),
        ] {
            let mut pairs = vec![("Impersonate-User", user)];
            pairs.extend(groups.iter().map(|group| ("Impersonate-Group", *group)));
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
            }
            let mut administrator = Extensions::new();
            administrator.insert(Identity::component("admin"));
            let identity =
                wanted(&map).expect("sound").expect("somebody").granted_to(&administrator).await.expect("allowed");
            assert_eq!(
                (identity.user.as_str(), &identity.groups[..]),
                (user, &expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
            );
        }
    }

    #[tokio::test]
    async fn uid_and_extra_come_along() {
        let identity = as_administrator(&[
            ("Impersonate-User", "u"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Extra-Scopes", "view"),
            ("Impersonate-Extra-acme.com%2Fproject", "p"),
        ])
        .await;
        assert_eq!(identity.uid, "7");
        let extra = [("scopes", "view"), ("acme.com/project", "p")];
        assert_eq!(identity.extra, extra.map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).into());
    }

    #[test]
    fn groups_without_a_user_are_refused() {
        let error = wanted(&headers(&[("Impersonate-Group", "system:masters")])).expect_err("no user");
        assert_eq!(error.message, "requested [{Group  system:masters    }] without impersonating a user");
        assert_eq!(wanted(&HeaderMap::new()), Ok(None));
    }

    #[tokio::test]
    async fn only_administrators_impersonate() {
        let asked = async |pairs: &[(&str, &str)], identity: Option<Identity>| {
            let mut extensions = Extensions::new();
            if let Some(identity) = identity {
                extensions.insert(identity);
            }
            let outcome = wanted(&headers(pairs)).expect("sound").expect("somebody").granted_to(&extensions).await;
            outcome.expect_err("forbidden").message
        };
        assert_eq!(
            asked(&[("Impersonate-User", "x")], Some(Identity::node("n"))).await,
            "users \"x\" is forbidden: User \"system:node:n\" cannot impersonate resource \"users\" in API group \"\" at the \
             cluster scope"
        );
        assert_eq!(
            asked(&[("Impersonate-User", "system:serviceaccount:a:b")], None).await,
            "serviceaccounts \"b\" is forbidden: User \"system:anonymous\" cannot impersonate resource \"serviceaccounts\" in \
             API group \"\" in the namespace \"a\""
        );
    }
}
