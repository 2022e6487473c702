//! Who may do what: members of `system:masters` everything; those of `system:nodes` everything as themselves, but write
//! no node other than their own; scheduler, controllers and proxy what they ask for by the list of uses; whoever is known
//! may ask what is served and what they may do themselves; anybody may ask how the server is.
//!
//! What it leaves to others: RBAC and the node authorizer; there are no roles yet.

use crate::status::Status;
use http::Extensions;
use serde_json::{Value, json};
use skiff_client::{Identity, USES, Use};

/// Paths that anybody may read (Kubernetes' `system:public-info-viewer`).
const PUBLIC: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// Paths that whoever is known may read (Kubernetes' `system:discovery`).
const DISCOVERY: [&str; 3] = ["/api", "/apis", "/openapi"];
/// Questions about oneself, by group, that whoever is known may ask (Kubernetes' `system:basic-user`).
const ABOUT_ONESELF: [(&str, &str); 3] = [
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
];
/// The user of a request that nobody has signed.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// The group of whoever is known.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of whoever is not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of those who may do everything.
const ADMINISTRATORS: &str = "system:masters";
/// The group of kubelets.
const NODES: &str = "system:nodes";

/// The users that may do what the list of uses says of a crate.
const COMPONENTS: [(&str, &str); 3] = [
    ("system:kube-scheduler", "scheduler"),
    ("system:kube-controller-manager", "controllers"),
    ("system:kube-proxy", "proxy"),
];

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act<'a> {
    /// A path that is no resource.
    Path { verb: &'a str, path: &'a str },
    /// A resource, or a part of it.
    Resource { verb: &'a str, group: &'a str, resource: &'a str, part: &'a str, namespace: &'a str, name: &'a str },
}

impl Act<'_> {
    /// Kubelets may do everything but act as somebody else and write what is another node's: its object and its lease.
    fn is_for_node(self, user: &str) -> bool {
        let Self::Resource { verb, group, resource, namespace, name, .. } = self else { return true };
        let reads = matches!(verb, "get" | "list" | "watch");
        let of_a_node = match (group, resource) {
            ("", "nodes") => true,
            ("coordination.k8s.io", "leases") => namespace == "kube-node-lease",
            _ => false,
        };
        // Whoever creates names the object in the body, and an object that is there already is refused anyway.
        let own = verb == "create" && name.is_empty() || user.strip_prefix("system:node:") == Some(name);
        !matches!(verb, "impersonate" | "*") && (reads || !of_a_node || own)
    }

    /// What the list of uses says of the component that `user` is.
    fn is_for_component(self, user: &str) -> bool {
        let Self::Resource { verb, group, resource, part, .. } = self else { return false };
        uses_of(user).filter(|one| one.verbs.contains(&verb)).any(|one| {
            let (plural, its_part) = one.resource.split_once('/').unwrap_or((one.resource, ""));
            let same = |listed: &str, asked: &str| listed == "*" || listed == asked;
            same(one.group, group) && same(plural, resource) && its_part == part
        })
    }

    fn is_for_all(self) -> bool {
        matches!(self, Self::Path { path, .. } if is_below(&PUBLIC, path))
    }

    fn is_for_the_known(self) -> bool {
        match self {
            Self::Path { verb: "get" | "head", path } => is_below(&DISCOVERY, path),
            Self::Resource { verb: "create", group, resource, part: "", .. } => {
                ABOUT_ONESELF.contains(&(group, resource))
            }
            _ => false,
        }
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

/// Who sends a request with these extensions.
pub(crate) fn sender(extensions: &Extensions) -> Identity {
    let anonymous = || Identity { user: ANONYMOUS.to_owned(), ..Identity::default() };
    extensions.get::<Identity>().cloned().unwrap_or_else(anonymous)
}

/// Refuses what the sender of a request with these extensions may not do.
pub(crate) fn authorize(extensions: &Extensions, act: Act<'_>) -> Result<(), Status> {
    let identity = extensions.get::<Identity>();
    if may(identity, act) {
        return Ok(());
    }
    let user = identity.map_or(ANONYMOUS, |identity| identity.user.as_str());
    let why = format!("User {user:?} {}", act.denied());
    Err(match act {
        Act::Path { .. } => Status::may_not(("", ""), "", &why),
        Act::Resource { group, resource, name, .. } => Status::may_not((group, resource), name, &why),
    })
}

/// Whether `identity` may do it.
pub(crate) fn may(identity: Option<&Identity>, act: Act<'_>) -> bool {
    let is_in = |group: &str| identity.is_some_and(|identity| is_in(identity, group));
    is_in(ADMINISTRATORS)
        || identity.is_some_and(|identity| act.is_for_component(&identity.user))
        || (is_in(NODES) && identity.is_some_and(|identity| act.is_for_node(&identity.user)))
        || (is_in(AUTHENTICATED) && act.is_for_the_known())
        || act.is_for_all()
}

/// What the component that `user` is asks for; nothing, if it is none.
fn uses_of(user: &str) -> impl Iterator<Item = &'static Use> {
    let by = COMPONENTS.iter().find(|(component, _)| *component == user).map(|(_, by)| *by);
    USES.iter().filter(move |one| Some(one.by) == by)
}

fn is_in(identity: &Identity, group: &str) -> bool {
    identity.groups.iter().any(|has| has == group)
}

/// What `identity` may do in any namespace, as the status of a SelfSubjectRulesReview; the same as [`may`] answers.
pub(crate) fn rules(identity: &Identity) -> Value {
    let below = |roots: &[&str]| -> Vec<String> {
        roots.iter().flat_map(|root| [(*root).to_owned(), format!("{root}/*")]).collect()
    };
    let mut resources = Vec::new();
    let mut paths = vec![json!({"verbs": ["*"], "nonResourceURLs": below(&PUBLIC)})];
    let mut incomplete = None;
    if is_in(identity, AUTHENTICATED) {
        paths.push(json!({"verbs": ["get", "head"], "nonResourceURLs": below(&DISCOVERY)}));
        resources.extend(
            ABOUT_ONESELF
                .map(|(group, resource)| json!({"verbs": ["create"], "apiGroups": [group], "resources": [resource]})),
        );
    }
    resources.extend(
        uses_of(&identity.user)
            .map(|one| json!({"verbs": one.verbs, "apiGroups": [one.group], "resources": [one.resource]})),
    );
    if is_in(identity, NODES) {
        let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        resources.push(json!({"verbs": verbs, "apiGroups": ["*"], "resources": ["*"]}));
        incomplete = Some(
            "members of system:nodes may also use every other verb but impersonate, and write no node but their own",
        );
    }
    if is_in(identity, ADMINISTRATORS) {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
    }
    if is_in(identity, NODES) || is_in(identity, ADMINISTRATORS) {
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    let mut rules = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": incomplete.is_some()});
    if let Some(why) = incomplete {
        rules["evaluationError"] = why.into();
    }
    rules
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

    fn allowed(identity: &Identity, verb: &str, (group, resource): (&str, &str), namespace: &str, name: &str) -> bool {
        let mut extensions = Extensions::new();
        extensions.insert(identity.clone());
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        authorize(&extensions, Act::Resource { verb, group, resource, part, namespace, name }).is_ok()
    }

    #[test]
    fn a_node_writes_itself_only() {
        let node = Identity::node("n");
        for (verb, what, namespace) in [
            ("patch", ("", "nodes/status"), ""),
            ("patch", ("", "nodes"), ""),
            ("delete", ("", "nodes"), ""),
            ("update", ("coordination.k8s.io", "leases"), "kube-node-lease"),
        ] {
            assert!(allowed(&node, verb, what, namespace, "n"), "{verb} {what:?}");
            assert!(!allowed(&node, verb, what, namespace, "other"), "{verb} {what:?} of another");
            assert!(!allowed(&node, verb, what, namespace, ""), "{verb} {what:?} of all");
            assert!(allowed(&node, "get", what, namespace, "other"), "get {what:?} of another");
        }
        assert!(allowed(&node, "create", ("", "nodes"), "", ""));
        assert!(allowed(&node, "create", ("coordination.k8s.io", "leases"), "kube-node-lease", ""));
        assert!(allowed(&node, "patch", ("", "pods/status"), "a", "p"));
    }

    /// Each component may do what it does, and nothing that only others do.
    #[test]
    fn components_may_do_what_they_do() {
        let all = [
            (Identity::scheduler(), "scheduler"),
            (Identity::controller_manager(), "controllers"),
            (Identity::proxy(), "proxy"),
        ];
        for (identity, by) in &all {
            for one in USES.iter().filter(|one| one.by == *by) {
                for verb in one.verbs {
                    assert!(
                        allowed(identity, verb, (one.group, one.resource), "a", "x"),
                        "{identity:?}: {verb} {one:?}"
                    );
                }
            }
            for (verb, what) in [
                ("impersonate", ("", "users")),
                ("create", ("", "pods/exec")),
                ("create", ("rbac.authorization.k8s.io", "clusterrolebindings")),
                ("update", ("", "secrets")),
            ] {
                assert!(!allowed(identity, verb, what, "a", "x"), "{identity:?}: {verb} {what:?}");
            }
        }
        let [(scheduler, _), (controllers, _), (proxy, _)] = &all;
        assert!(!allowed(scheduler, "list", ("", "secrets"), "", ""));
        assert!(!allowed(scheduler, "delete", ("", "pods"), "a", "p"));
        assert!(!allowed(proxy, "list", ("", "pods"), "", ""));
        assert!(!allowed(controllers, "create", ("", "pods/binding"), "a", "p"));
        // Widgets are whatever discovery names.
        assert!(allowed(controllers, "delete", ("example.com", "widgets"), "a", "w"));
        assert!(!allowed(&Identity::default(), "list", ("", "pods"), "a", ""));
    }
}
