//! Who may do what: members of `system:masters` everything, those of `system:nodes` everything as themselves, whoever
//! is known may ask what is served, anybody may ask how the server is.
//!
//! What it leaves to others: RBAC and the node authorizer; there are no roles yet.

use crate::status::Status;
use http::Extensions;
use skiff_client::Identity;

/// Paths that anybody may read (Kubernetes' `system:public-info-viewer`).
const PUBLIC: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// Paths that whoever is known may read (Kubernetes' `system:discovery`).
const DISCOVERY: [&str; 3] = ["/api", "/apis", "/openapi"];
/// The group of whoever is known.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of whoever is not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of those who may do everything.
const ADMINISTRATORS: &str = "system:masters";
/// The group of kubelets.
const NODES: &str = "system:nodes";

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act<'a> {
    /// A path that is no resource.
    Path { verb: &'a str, path: &'a str },
    /// A resource, or a part of it.
    Resource { verb: &'a str, group: &'a str, resource: &'a str, part: &'a str, namespace: &'a str, name: &'a str },
}

impl Act<'_> {
    /// Kubelets may do everything but act as somebody else.
    fn is_for_nodes(self) -> bool {
        !matches!(self, Self::Resource { verb: "impersonate", .. })
    }

    fn is_for_all(self) -> bool {
        matches!(self, Self::Path { path, .. } if is_below(&PUBLIC, path))
    }

    fn is_for_the_known(self) -> bool {
        matches!(self, Self::Path { verb: "get" | "head", path } if is_below(&DISCOVERY, path))
    }

    /// `cannot get resource "pods/log" in API group "" in the namespace "a"`.
    fn denied(self) -> String {
        match self {
            Self::Path { verb, path } => format!("cannot {verb} path {path:?}"),
            Self::Resource { verb, group, resource, part, namespace, .. } => {
                let what = if part.is_empty() { resource.to_owned() } else { format!("{resource}/{part}") };
                let place = if namespace.is_empty() {
                    "at the cluster scope".to_owned()
                } else {
                    format!("in the namespace {namespace:?}")
                };
                format!("cannot {verb} resource {what:?} in API group {group:?} {place}")
            }
        }
    }
}

/// Refuses what the sender of a request with these extensions may not do.
pub(crate) fn authorize(extensions: &Extensions, act: Act<'_>) -> Result<(), Status> {
    let identity = extensions.get::<Identity>();
    let is_in = |group: &str| identity.is_some_and(|identity| identity.groups.iter().any(|has| has == group));
    let allowed = is_in(ADMINISTRATORS)
        || (is_in(NODES) && act.is_for_nodes())
        || (is_in(AUTHENTICATED) && act.is_for_the_known())
        || act.is_for_all();
    if allowed {
        return Ok(());
    }
    let user = identity.map_or("system:anonymous", |identity| identity.user.as_str());
    let why = format!("User {user:?} {}", act.denied());
    Err(match act {
        Act::Path { .. } => Status::may_not(("", ""), "", &why),
        Act::Resource { group, resource, name, .. } => Status::may_not((group, resource), name, &why),
    })
}

fn is_below(roots: &[&str], path: &str) -> bool {
    roots.iter().any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_see_health_only() {
        let stranger = Extensions::new();
        assert!(authorize(&stranger, Act::Path { verb: "get", path: "/readyz/ping" }).is_ok());
        let error = authorize(&stranger, Act::Path { verb: "get", path: "/versions" }).expect_err("forbidden");
        assert_eq!(error.message, "forbidden: User \"system:anonymous\" cannot get path \"/versions\"");
        let act = Act::Resource { verb: "list", group: "", resource: "pods", part: "", namespace: "a", name: "" };
        let error = authorize(&stranger, act).expect_err("forbidden");
        assert_eq!(
            error.message,
            "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the \
             namespace \"a\""
        );
        assert_eq!(error.value()["details"], serde_json::json!({"kind": "pods"}));
        let act =
            Act::Resource { verb: "create", group: "", resource: "pods", part: "exec", namespace: "a", name: "p" };
        let error = authorize(&stranger, act).expect_err("forbidden");
        assert_eq!(
            error.message,
            "pods \"p\" is forbidden: User \"system:anonymous\" cannot create resource \"pods/exec\" in API group \"\" in \
             the namespace \"a\""
        );
    }

    #[test]
    fn nodes_do_not_act_as_others() {
        let mut node = Extensions::new();
        node.insert(Identity::node("n"));
        let act = |verb| Act::Resource { verb, group: "", resource: "users", part: "", namespace: "", name: "x" };
        assert!(authorize(&node, act("impersonate")).is_err());
        assert!(authorize(&node, act("get")).is_ok());
    }
}
