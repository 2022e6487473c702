//! Who may do what: members of `system:masters` and `system:nodes` everything, anybody may ask how the server is.
//!
//! What it leaves to others: RBAC and the node authorizer; there are no roles yet.

use crate::status::Status;
use http::Extensions;
use skiff_client::Identity;

/// Paths that anybody may read (Kubernetes' `system:public-info-viewer`).
const PUBLIC: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act<'a> {
    /// A path that is no resource.
    Path { verb: &'a str, path: &'a str },
    /// A resource.
    Resource { verb: &'a str, group: &'a str, resource: &'a str, namespace: &'a str, name: &'a str },
}

/// Refuses what the sender of a request with these extensions may not do.
pub(crate) fn authorize(extensions: &Extensions, act: Act<'_>) -> Result<(), Status> {
    let identity = extensions.get::<Identity>();
    let groups = identity.map(|identity| identity.groups.as_slice()).unwrap_or_default();
    if groups.iter().any(|group| group == "system:masters" || group == "system:nodes") {
        return Ok(());
    }
    let user = identity.map_or("system:anonymous", |identity| identity.user.as_str());
    match act {
        Act::Path { path, .. } if is_public(path) => Ok(()),
        Act::Path { verb, path } => {
            Err(Status::forbidden_path(format!("forbidden: User {user:?} cannot {verb} path {path:?}")))
        }
        Act::Resource { verb, group, resource, namespace, name } => {
            let place = if namespace.is_empty() {
                " at the cluster scope".to_owned()
            } else {
                format!(" in the namespace {namespace:?}")
            };
            let what = if name.is_empty() { String::new() } else { format!(" {name:?}") };
            let title = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
            Err(Status::forbidden_path(format!(
                "{title}{what} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group {group:?}{place}"
            )))
        }
    }
}

fn is_public(path: &str) -> bool {
    PUBLIC.iter().any(|public| path.strip_prefix(public).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
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
        let act = Act::Resource { verb: "list", group: "", resource: "pods", namespace: "a", name: "" };
        let error = authorize(&stranger, act).expect_err("forbidden");
        assert_eq!(
            error.message,
            "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the \
             namespace \"a\""
        );
    }
}
