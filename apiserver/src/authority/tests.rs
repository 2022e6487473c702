//! Our own components may do what they do under Kubernetes' default roles, and nothing that only others do.

use super::*;
use crate::auth::{AUTHENTICATED, user};
use skiff_authz::{MASTERS, Requirement, Selection};
use skiff_client::{Identity, USES, Use};

fn known(mut identity: Identity) -> Identity {
    identity.groups.push(AUTHENTICATED.to_owned());
    identity
}

/// An authority that knows one pod of node `n`, its volume, and that this is attached.
fn authority() -> Authority {
    let authority = Authority::with_defaults();
    let pod = serde_json::json!({"metadata": {"namespace": "a", "name": "x"}, "spec": {
        "nodeName": "n", "serviceAccountName": "x", "resourceClaims": [{"name": "x", "resourceClaimName": "x"}],
        "volumes": [{"secret": {"secretName": "x"}}, {"configMap": {"name": "x"}},
            {"persistentVolumeClaim": {"claimName": "x"}}]}});
    let volume = serde_json::json!({"metadata": {"name": "x"}, "spec": {"claimRef": {"namespace": "a", "name": "x"}}});
    let attachment = serde_json::json!({"metadata": {"name": "x"}, "spec": {"nodeName": "n"}});
    let mut nodes = authority.nodes_mut();
    for (plural, object) in [("pods", &pod), ("persistentvolumes", &volume), ("volumeattachments", &attachment)] {
        nodes.put(plural, object);
    }
    drop(nodes);
    authority
}

fn may(authority: &Authority, identity: &Identity, verb: &str, one: (&str, &str), namespace: &str, name: &str) -> bool {
    let (group, (resource, part)) = (one.0, one.1.split_once('/').unwrap_or((one.1, "")));
    let act = Act::Resource { verb, group, resource, part, namespace, name };
    let node = identity.user.strip_prefix("system:node:").unwrap_or_default();
    let selection = Selection { fields: vec![Requirement::equals("spec.nodeName", node)], labels: Vec::new() };
    let asked = Attributes { selection: &selection, ..Attributes::new(user(identity), act) };
    authority.decide_now(&asked).is_allowed()
}

/// Namespace and name of what a component asks for.
fn place(one: &Use) -> (&'static str, &'static str) {
    match (one.by, one.resource) {
        ("kubelet", "nodes" | "nodes/status" | "csinodes") => ("", "n"),
        (_, "persistentvolumes" | "volumeattachments") => ("", "x"),
        ("kubelet", "leases") => ("kube-node-lease", "n"),
        ("scheduler", "leases") => ("kube-system", "kube-scheduler"),
        ("controllers", "leases") => ("kube-system", "kube-controller-manager"),
        _ => ("a", "x"),
    }
}

#[test]
fn components_may_do_what_they_do() {
    let authority = authority();
    let all = [
        (known(Identity::scheduler()), "scheduler"),
        (known(Identity::controller_manager()), "controllers"),
        (known(Identity::proxy()), "proxy"),
        (known(Identity::node("n")), "kubelet"),
    ];
    let mut refused = Vec::new();
    for (identity, by) in &all {
        for one in USES.iter().filter(|one| one.by == *by) {
            let (namespace, name) = place(one);
            for verb in one.verbs {
                if !may(&authority, identity, verb, (one.group, one.resource), namespace, name) {
                    refused.push(format!("{by}: {verb} {}/{}", one.group, one.resource));
                }
            }
        }
    }
    assert_eq!(refused, [""; 0]);
}

#[test]
fn components_may_do_nothing_else() {
    let authority = authority();
    let [scheduler, controllers, proxy, node] =
        [Identity::scheduler(), Identity::controller_manager(), Identity::proxy(), Identity::node("n")].map(known);
    for identity in [&scheduler, &controllers, &proxy, &node] {
        for (verb, what) in [
            ("impersonate", ("", "users")),
            ("create", ("", "pods/exec")),
            ("create", ("rbac.authorization.k8s.io", "clusterrolebindings")),
            ("bind", ("rbac.authorization.k8s.io", "clusterroles")),
            ("approve", ("certificates.k8s.io", "signers")),
        ] {
            assert!(!may(&authority, identity, verb, what, "a", "x"), "{}: {verb} {what:?}", identity.user);
        }
    }
    assert!(!may(&authority, &scheduler, "list", ("", "secrets"), "", ""));
    assert!(!may(&authority, &scheduler, "update", ("coordination.k8s.io", "leases"), "kube-node-lease", "n"));
    assert!(!may(&authority, &proxy, "list", ("", "pods"), "", ""));
    assert!(!may(&authority, &node, "get", ("", "secrets"), "a", "other"));
    assert!(!may(&authority, &node, "update", ("coordination.k8s.io", "leases"), "kube-node-lease", "m"));
    // Widgets are whatever discovery names.
    assert!(may(&authority, &controllers, "delete", ("example.com", "widgets"), "a", "w"));
    assert!(!may(&authority, &Identity::default(), "list", ("", "pods"), "a", ""));
}

#[tokio::test]
async fn requests_about_roles_wait_until_they_are_there() {
    let authority = std::sync::Arc::new(Authority::with_defaults());
    authority.seeded.send_replace(false);
    let asking = authority.clone();
    let answer = tokio::spawn(async move {
        let groups = [MASTERS.to_owned()];
        let act = Act::Resource { verb: "list", group: GROUP, resource: "roles", part: "", namespace: "", name: "" };
        asking.decide(&Attributes::new(User::new("admin", &groups), act)).await.is_allowed()
    });
    authority.wanted.notified().await;
    assert!(!answer.is_finished());
    authority.seeded.send_replace(true);
    assert!(answer.await.expect("no panic"));
}
