//! What a decision costs beside a thousand roles and bindings: `SKIFF_BENCH=1 cargo test -p skiff-authz --test cost --release -- --nocapture`.

#![allow(clippy::print_stdout, reason = "a measurement prints what it measured")]

use serde_json::json;
use skiff_authz::{Act, Attributes, Kind, Nodes, Roles, User, defaults, node_then_roles};
use std::hint::black_box;
use std::time::Instant;

const DECISIONS: u32 = 200_000;

/// Kubernetes' own roles, and `count` roles and bindings of others, of whom `u7` is one.
fn roles(count: usize) -> Roles {
    let mut roles = Roles::default();
    for (kind, object) in defaults::gathered() {
        roles.put(kind, &object);
    }
    for number in 0..count {
        let metadata = json!({"name": format!("r{number}"), "namespace": format!("n{}", number % 10)});
        let rules = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "configmaps"]}]);
        roles.put(Kind::Role, &json!({"metadata": metadata, "rules": rules}));
        let subjects = json!([{"kind": "User", "name": format!("u{number}")}]);
        let role = json!({"kind": "Role", "name": format!("r{number}")});
        roles.put(Kind::RoleBinding, &json!({"metadata": metadata, "roleRef": role, "subjects": subjects}));
    }
    roles
}

fn nanoseconds(roles: &Roles, verb: &str) -> f64 {
    let (nodes, groups) = (Nodes::default(), vec!["system:authenticated".to_owned()]);
    let act = Act::Resource { verb, group: "", resource: "pods", part: "", namespace: "n7", name: "p" };
    let asked = Attributes::new(User::new("u7", &groups), act);
    let start = Instant::now();
    for _ in 0..DECISIONS {
        black_box(node_then_roles(&nodes, roles, black_box(&asked)));
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(DECISIONS)
}

#[test]
fn a_decision_costs_what_the_askers_own_bindings_cost() {
    if std::env::var_os("SKIFF_BENCH").is_none() {
        return;
    }
    for count in [10, 1000, 10_000] {
        let roles = roles(count);
        println!(
            "{count} roles and bindings: allowed {:.0} ns, refused {:.0} ns",
            nanoseconds(&roles, "get"),
            nanoseconds(&roles, "delete")
        );
    }
}
