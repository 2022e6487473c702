//! Who may do what, asked at the doors: one question for each request, answered by the [`Authority`] that the server has put into its
//! extensions. Without one only members of `system:masters` may do anything.

use crate::audit::{self, Record};
use crate::authority::Authority;
use crate::status::Status;
use http::Extensions;
use skiff_authz::{Attributes, Decision, Selection, User};
use skiff_client::Identity;
use std::borrow::Cow;
use std::sync::Arc;

pub(crate) use skiff_authz::Act;

/// The user of a request that nobody has signed.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// The group of whoever is known.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of whoever is not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who sends a request with these extensions.
pub(crate) fn sender(extensions: &Extensions) -> Identity {
    extensions.get::<Identity>().cloned().unwrap_or_else(anonymous)
}

/// The same, lent where it is there.
pub(crate) fn sender_or(extensions: &Extensions) -> Cow<'_, Identity> {
    extensions.get::<Identity>().map_or_else(|| Cow::Owned(anonymous()), Cow::Borrowed)
}

fn anonymous() -> Identity {
    Identity { user: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Identity::default() }
}

/// Somebody, as decisions see them.
pub(crate) fn user(identity: &Identity) -> User<'_> {
    User { name: &identity.user, uid: &identity.uid, groups: &identity.groups, extra: &identity.extra }
}

/// Refuses what the sender of a request with these extensions may not do.
pub(crate) async fn authorize(extensions: &Extensions, act: Act<'_>) -> Result<(), Status> {
    authorize_selected(extensions, act, "*", &Selection::default()).await
}

/// The same about what selectors leave of the objects, in this version of their group.
pub(crate) async fn authorize_selected(
    extensions: &Extensions,
    act: Act<'_>,
    version: &str,
    selection: &Selection,
) -> Result<(), Status> {
    let nobody;
    let identity = match extensions.get::<Identity>() {
        Some(identity) => identity,
        None => {
            nobody = anonymous();
            &nobody
        }
    };
    let attributes = Attributes { user: user(identity), act, version, selection };
    let decision = match extensions.get::<Arc<Authority>>() {
        Some(authority) => authority.decide(&attributes).await,
        None => Authority::default().decide(&attributes).await,
    };
    if let Some(record) = audit::of(extensions) {
        decided(record, &decision);
    }
    if decision.is_allowed() { Ok(()) } else { Err(refusal(&attributes, &decision)) }
}

/// Adds the decision to what is recorded of the request, and who made it.
fn decided(record: &Record, decision: &Decision) {
    let (word, reason) = match decision.is_allowed() {
        true => ("allow", decision.reason.to_string()),
        false if decision.error.is_empty() => ("forbid", decision.reason.to_string()),
        false => return record.annotate("authorization.k8s.io/reason", "internal error".to_owned()),
    };
    record.annotate("authorization.k8s.io/decision", word.to_owned());
    record.annotate("authorization.k8s.io/reason", reason);
}

/// How kube-apiserver says no: who may not do what, and what authorizers had to say about it.
fn refusal(asked: &Attributes<'_>, decision: &Decision) -> Status {
    if !decision.error.is_empty() {
        return Status::internal(decision.error.clone());
    }
    let mut why = escape(&format!("User {:?} {}", asked.user.name, asked.act));
    let reason = decision.reason.to_string();
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    match asked.act {
        Act::Path { .. } => Status::may_not(("", ""), "", &why),
        Act::Resource { group, resource, name, .. } => Status::may_not((group, resource), name, &why),
    }
}

/// What a browser would take for markup is no markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extensions(identity: Option<Identity>) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(Arc::new(Authority::with_defaults()));
        if let Some(mut identity) = identity {
            identity.groups.push(AUTHENTICATED.to_owned());
            extensions.insert(identity);
        }
        extensions
    }

    #[tokio::test]
    async fn strangers_see_health_only() {
        let stranger = extensions(None);
        let path = |path| Act::Path { verb: "get", path };
        assert!(authorize(&stranger, path("/readyz")).await.is_ok());
        let error = authorize(&stranger, path("/versions")).await.expect_err("forbidden");
        assert_eq!(error.message, "forbidden: User \"system:anonymous\" cannot get path \"/versions\"");
        let act = Act::Resource { verb: "list", group: "", resource: "pods", part: "", namespace: "a", name: "" };
        let error = authorize(&stranger, act).await.expect_err("forbidden");
        assert_eq!(
            error.message,
            "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the \
             namespace \"a\""
        );
        assert_eq!(error.value()["details"], serde_json::json!({"kind": "pods"}));
        let act =
            Act::Resource { verb: "create", group: "", resource: "pods", part: "exec", namespace: "a", name: "p" };
        let error = authorize(&stranger, act).await.expect_err("forbidden");
        assert_eq!(
            error.message,
            "pods \"p\" is forbidden: User \"system:anonymous\" cannot create resource \"pods/exec\" in API group \"\" in \
             the namespace \"a\""
        );
    }

    /// A server that has lost its authority lets nobody in but administrators.
    #[tokio::test]
    async fn without_an_authority_only_administrators_pass() {
        let act = Act::Path { verb: "get", path: "/healthz" };
        assert!(authorize(&Extensions::new(), act).await.is_err());
        let mut extensions = Extensions::new();
        extensions.insert(Identity::component("admin"));
        assert!(authorize(&extensions, act).await.is_ok());
    }

    #[test]
    fn markup_in_paths_is_shown_as_text() {
        assert_eq!(escape("<a&b>"), "&lt;a&amp;b&gt;");
    }
}
