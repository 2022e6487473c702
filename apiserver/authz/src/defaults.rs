//! What every cluster grants: Kubernetes 1.36's default roles and bindings, and what is done about those that are stored.
//!
//! `policy.txt` has them one after another. A line that begins in the first column names an object; those below it say what it has:
//!
//! ```text
//! clusterrole NAME                       role NAMESPACE/NAME
//!   label KEY                            a label whose value is "true"
//!   aggregates KEY                       gathers the rules of roles with this label
//!   VERBS GROUPS RESOURCES [NAMES]       a rule; - is the core group
//!   paths VERBS PATHS
//! clusterrolebinding NAME clusterrole ROLE          rolebinding NAMESPACE/NAME role ROLE
//!   user NAME        group NAME          account NAMESPACE/NAME
//! ```

mod reconcile; // what is missing of what is stored

pub use reconcile::{Step, step};

use crate::{GROUP, Kind, Rule, aggregated};
use serde_json::{Value, json};

const POLICY: &str = include_str!("defaults/policy.txt");
/// What our controllers need beyond [`CONTROLLERS`].
const OURS: &str = include_str!("defaults/ours.txt");
/// The controllers that run. They are one user, as those of a kube-controller-manager without `--use-service-account-credentials`: it is
/// given the role of each.
const CONTROLLERS: [&str; 31] = [
    "deployment-controller",
    "replicaset-controller",
    "replication-controller",
    "daemon-set-controller",
    "statefulset-controller",
    "job-controller",
    "cronjob-controller",
    "horizontal-pod-autoscaler",
    "ttl-after-finished-controller",
    "disruption-controller",
    "pod-garbage-collector",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "namespace-controller",
    "node-controller",
    "service-account-controller",
    "generic-garbage-collector",
    "certificate-controller",
    "service-controller",
    "root-ca-cert-publisher",
    "clusterrole-aggregation-controller",
    "resourcequota-controller",
    "persistent-volume-binder",
    "attachdetach-controller",
    "expand-controller",
    "ephemeral-volume-controller",
    "pv-protection-controller",
    "pvc-protection-controller",
    "volumeattributesclass-protection-controller",
    "resource-claim-controller",
];

/// The annotation by which an object says whether a server that starts may add what it lacks.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");

/// All default roles and bindings, as they would be written to a server, roles first.
#[must_use]
pub fn objects() -> Vec<(Kind, Value)> {
    let mut objects = read(POLICY);
    objects.extend(CONTROLLERS.into_iter().flat_map(binding_of));
    objects.extend(read(OURS));
    objects
}

/// What gives a controller its role.
fn binding_of(controller: &str) -> Vec<(Kind, Value)> {
    read(&format!(
        "clusterrolebinding skiff:controller:{controller} clusterrole system:controller:{controller}\n  \
         user system:kube-controller-manager"
    ))
}

/// Objects that are written as in the table.
#[must_use]
pub fn read(table: &str) -> Vec<(Kind, Value)> {
    let mut objects: Vec<(Kind, Value)> = Vec::new();
    for line in table.lines() {
        match (line.strip_prefix("  "), objects.last_mut()) {
            (Some(detail), Some((kind, object))) => add(*kind, object, detail),
            _ => objects.extend(begin(line)),
        }
    }
    objects
}

/// The same, roles that gather the rules of others with these rules.
#[must_use]
pub fn gathered() -> Vec<(Kind, Value)> {
    let mut objects = objects();
    loop {
        // Those that have a label more than all have.
        let is_labelled = |role: &&Value| role["metadata"]["labels"].as_object().is_some_and(|labels| labels.len() > 1);
        let roles: Vec<Value> = objects.iter().map(|(_, object)| object).filter(is_labelled).cloned().collect();
        let mut changed = false;
        for (_, role) in &mut objects {
            let Some(rules) = aggregated(role, roles.iter()) else { continue };
            let rules = Value::from(rules);
            changed |= role["rules"] != rules;
            role["rules"] = rules;
        }
        if !changed {
            return objects;
        }
    }
}

/// The rules of a default cluster role.
#[must_use]
pub fn rules_of(role: &str) -> Vec<Rule> {
    let header = format!("clusterrole {role}");
    let lines = POLICY.lines().skip_while(|line| *line != header).skip(1);
    lines.map_while(|line| line.strip_prefix("  ")).filter_map(rule).collect()
}

/// Reads a rule as the table has it; `None`: it is something else.
#[must_use]
pub fn rule(text: &str) -> Option<Rule> {
    let list = |text: &str| -> Vec<String> {
        text.split(',').map(|one| if one == "-" { String::new() } else { one.to_owned() }).collect()
    };
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["label" | "aggregates" | "user" | "group" | "account", _] => None,
        ["paths", verbs, paths] => Some(Rule { verbs: list(verbs), paths: list(paths), ..Rule::default() }),
        [verbs, groups, resources] | [verbs, groups, resources, _] => Some(Rule {
            verbs: list(verbs),
            groups: list(groups),
            resources: list(resources),
            names: words.get(3).map(|names| list(names)).unwrap_or_default(),
            ..Rule::default()
        }),
        _ => None,
    }
}

fn begin(line: &str) -> Option<(Kind, Value)> {
    let words: Vec<&str> = line.split(' ').collect();
    let kind = Kind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(words[0]))?;
    let place = words.get(1)?;
    let mut metadata = json!({"labels": {BOOTSTRAPPING.0: BOOTSTRAPPING.1}, "annotations": {AUTOUPDATE: "true"}});
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    metadata["name"] = name.into();
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    let mut object = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind.name(), "metadata": metadata});
    match (kind, words.get(2), words.get(3)) {
        (Kind::ClusterRole | Kind::Role, ..) => object["rules"] = Value::Null,
        (_, Some(role), Some(name)) => {
            let role = if *role == "role" { "Role" } else { "ClusterRole" };
            object["roleRef"] = json!({"apiGroup": GROUP, "kind": role, "name": name});
        }
        _ => return None,
    }
    Some((kind, object))
}

fn push(list: &mut Value, value: Value) {
    match list {
        Value::Array(list) => list.push(value),
        none => *none = Value::Array(vec![value]),
    }
}

fn add(kind: Kind, object: &mut Value, detail: &str) {
    let (word, rest) = detail.split_once(' ').unwrap_or((detail, ""));
    match (kind, word) {
        (_, "label") => object["metadata"]["labels"][rest] = "true".into(),
        (_, "aggregates") => {
            push(&mut object["aggregationRule"]["clusterRoleSelectors"], json!({"matchLabels": {rest: "true"}}));
        }
        (Kind::ClusterRole | Kind::Role, _) => {
            if let Some(rule) = rule(detail) {
                push(&mut object["rules"], rule.write());
            }
        }
        (_, "account") => {
            let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
            push(&mut object["subjects"], json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
        }
        (_, word) => {
            let kind = if word == "user" { "User" } else { "Group" };
            push(&mut object["subjects"], json!({"apiGroup": GROUP, "kind": kind, "name": rest}));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_what_kubernetes_has() {
        let objects = objects();
        let count = |kind| objects.iter().filter(|(one, _)| *one == kind).count();
        let ours = |word: &str| OURS.lines().filter(|line| line.starts_with(word)).count();
        let (roles, bindings) = (ours("clusterrole "), ours("clusterrolebinding ") + CONTROLLERS.len());
        assert_eq!(Kind::ALL.map(count), [70 + roles, 7, 51 + bindings, 7 + ours("rolebinding ")]);
        let admin = &objects.iter().find(|(_, object)| object["metadata"]["name"] == "cluster-admin").expect("there").1;
        assert_eq!(
            *admin,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "cluster-admin", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                    "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}},
                "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}],
            })
        );
    }

    /// Every line below a role is a rule or a label, and every binding gives a role that is there.
    #[test]
    fn nothing_in_the_table_is_lost() {
        let objects = objects();
        let rules: usize = objects.iter().map(|(_, object)| object["rules"].as_array().map_or(0, Vec::len)).sum();
        let lines = POLICY.lines().chain(OURS.lines()).filter_map(|line| line.strip_prefix("  "));
        let lines = lines.filter_map(rule).count();
        assert_eq!(rules, lines);
        for (_, binding) in objects.iter().filter(|(_, object)| !object["roleRef"].is_null()) {
            let role = &binding["roleRef"];
            let namespace = if role["kind"] == "Role" { &binding["metadata"]["namespace"] } else { &Value::Null };
            assert!(
                objects.iter().any(|(_, object)| object["kind"] == role["kind"]
                    && object["metadata"]["name"] == role["name"]
                    && object["metadata"]["namespace"] == *namespace),
                "{binding}"
            );
        }
        assert_eq!(rules_of("system:kube-dns"), [rule("list,watch - endpoints,services").expect("a rule")]);
        assert!(rules_of("system:node").len() > 20);
    }
}
