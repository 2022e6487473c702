//! Roles and bindings that come and go at random, and random requests: the index by subject decides as the plain model does.
//!
//! `SKIFF_DECISIONS_RANDOM` says how many requests; a million is the long run.

mod model;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use skiff_authz::{Act, Attributes, Kind, Roles, User};
use std::collections::BTreeMap;

const REQUESTS: usize = 20_000;
const REQUESTS_A_WORLD: usize = 500;

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(words)
}

fn some_of(words: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(one_of(words), 1..3)
}

const VERBS: &[&str] = &["get", "list", "create", "*", "bind"];
const GROUPS: &[&str] = &["", "apps", "x.io", "*"];
const RESOURCES: &[&str] = &["pods", "pods/log", "deployments", "*/scale", "*", "deployments/scale"];
const NAMES: &[&str] = &["a", "b", "c"];
const PATHS: &[&str] = &["/healthz", "/healthz/*", "/a/b", "/a/*", "*"];
const NAMESPACES: &[&str] = &["", "n", "m"];
const USERS: &[&str] = &["u", "v", "system:serviceaccount:n:s", "system:serviceaccount:m:s"];
const TEAMS: &[&str] = &["g", "h"];

fn rule(namespace: &str) -> BoxedStrategy<Value> {
    let names = prop::option::of(some_of(NAMES));
    let of_resources = (some_of(VERBS), some_of(GROUPS), some_of(RESOURCES), names).prop_map(|(verbs, groups, resources, names)| {
        json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
    });
    let of_paths =
        (some_of(VERBS), some_of(PATHS)).prop_map(|(verbs, paths)| json!({"verbs": verbs, "nonResourceURLs": paths}));
    if namespace.is_empty() { prop_oneof![3 => of_resources, 1 => of_paths].boxed() } else { of_resources.boxed() }
}

fn subject() -> impl Strategy<Value = Value> {
    prop_oneof![
        one_of(USERS).prop_map(|name| json!({"kind": "User", "name": name})),
        one_of(TEAMS).prop_map(|name| json!({"kind": "Group", "name": name})),
        one_of(&["n", "m"])
            .prop_map(|namespace| json!({"kind": "ServiceAccount", "name": "s", "namespace": namespace})),
    ]
}

/// A role or a binding, which may name a role that is not there.
fn object() -> impl Strategy<Value = (Kind, Value)> {
    one_of(NAMESPACES).prop_flat_map(|namespace| {
        let metadata = move |name: &str| json!({"namespace": Some(namespace).filter(|text| !text.is_empty()), "name": name});
        let role = (one_of(NAMES), prop::collection::vec(rule(namespace), 0..3)).prop_map(move |(name, rules)| {
            let kind = if namespace.is_empty() { Kind::ClusterRole } else { Kind::Role };
            (kind, json!({"kind": kind.name(), "metadata": metadata(name), "rules": rules}))
        });
        let subjects = prop::collection::vec(subject(), 0..3);
        let binding = (one_of(NAMES), one_of(NAMES), any::<bool>(), subjects).prop_map(move |(name, role, own, subjects)| {
            let kind = if namespace.is_empty() { Kind::ClusterRoleBinding } else { Kind::RoleBinding };
            let of = if own && kind == Kind::RoleBinding { "Role" } else { "ClusterRole" };
            (kind, json!({"kind": kind.name(), "metadata": metadata(name), "roleRef": {"kind": of, "name": role}, "subjects": subjects}))
        });
        prop_oneof![role, binding]
    })
}

type Asked = (&'static str, Vec<&'static str>, [&'static str; 6]);

fn asked() -> impl Strategy<Value = Asked> {
    let place = (one_of(NAMESPACES), one_of(&["", "a", "b"]));
    let what = (one_of(&["get", "list", "create", "bind", "delete"]), one_of(&["", "apps", "x.io"]), place);
    let resource =
        (one_of(&["pods", "deployments", "/healthz", "/healthz/x", "/a/b", "/c"]), one_of(&["", "log", "scale"]));
    (one_of(USERS), prop::collection::vec(one_of(TEAMS), 0..2), what, resource).prop_map(
        |(user, teams, (verb, group, (namespace, name)), (resource, part))| {
            (user, teams, [verb, group, resource, part, namespace, name])
        },
    )
}

fn act<'a>([verb, group, resource, part, namespace, name]: [&'a str; 6]) -> Act<'a> {
    if resource.starts_with('/') {
        return Act::Path { verb, path: resource };
    }
    Act::Resource { verb, group, resource, part, namespace, name }
}

fn check(objects: &[(Kind, Value)], roles: &Roles, (user, teams, words): &Asked) {
    let groups: Vec<String> = teams.iter().map(ToString::to_string).collect();
    let act = act(*words);
    let decision = roles.decide(&Attributes::new(User::new(user, &groups), act));
    let reasons = model::reasons(objects, user, &groups, &act);
    let said = decision.reason.to_string();
    assert_eq!(decision.is_allowed(), !reasons.is_empty(), "{user} {groups:?} {act}: {said} {reasons:?}\n{objects:#?}");
    if let Some(reason) = said.strip_prefix("RBAC: allowed by ") {
        assert!(reasons.iter().any(|one| one == reason), "{reason} is none of {reasons:?}");
    }
}

#[test]
fn the_index_decides_as_the_plain_model_does() {
    let wanted = std::env::var("SKIFF_DECISIONS_RANDOM").ok().and_then(|text| text.parse().ok()).unwrap_or(REQUESTS);
    let mut runner = TestRunner::default();
    let history = prop::collection::vec((object(), any::<bool>()), 1..40);
    let requests = prop::collection::vec(asked(), REQUESTS_A_WORLD);
    for _ in 0..wanted.div_ceil(REQUESTS_A_WORLD) {
        let (mut roles, mut present) = (Roles::default(), BTreeMap::new());
        for ((kind, object), goes) in history.new_tree(&mut runner).expect("a history").current() {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            let key = (kind, text("namespace"), text("name"));
            // One of four is gone again when the requests come.
            if goes && present.len() % 4 == 0 {
                roles.remove(kind, &key.1, &key.2);
                present.remove(&key);
            } else {
                roles.put(kind, &object);
                present.insert(key, (kind, object));
            }
        }
        let objects: Vec<(Kind, Value)> = present.into_values().collect();
        for request in requests.new_tree(&mut runner).expect("requests").current() {
            check(&objects, &roles, &request);
        }
    }
}
