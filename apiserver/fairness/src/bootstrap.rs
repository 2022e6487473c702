//! The objects that every cluster has: two levels and two schemas without which nothing works, and those that Kubernetes suggests. They are
//! kept as they should be, unless somebody has changed a suggested one (`apf.kubernetes.io/autoupdate-spec`).

use crate::Kind;
use serde_json::{Value, json};

/// Whether the server keeps the specification of an object up to date.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Name, shares, lendable percent, and queues with the size of a hand; no queues: requests without a seat are refused.
type LevelRow = (&'static str, u32, u32, Option<(u32, u32)>);

const LEVELS: [LevelRow; 6] = [
    ("system", 30, 33, Some((64, 6))),
    ("node-high", 40, 25, Some((64, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
    ("global-default", 20, 50, Some((128, 6))),
];

/// Something that is to be done to an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// It is missing.
    Create,
    /// It becomes this.
    Update(Box<Value>),
    /// An earlier version of the server made it, and nobody has changed it since.
    Delete,
}

/// All of them in the order in which they are made, each with whether nothing works without it.
#[must_use]
pub fn objects() -> Vec<(Kind, Value, bool)> {
    let level = |object| (Kind::Level, object);
    let schema = |object| (Kind::Schema, object);
    let suggested =
        LEVELS.into_iter().map(suggested_level).map(level).chain(suggested_schemas().into_iter().map(schema));
    let mandatory = mandatory_levels().into_iter().map(level).chain(mandatory_schemas().into_iter().map(schema));
    let all = suggested.map(|(kind, object)| (kind, object, false));
    all.chain(mandatory.map(|(kind, object)| (kind, object, true))).collect()
}

/// What is to be done to the object that should be `expected`, being `current`.
#[must_use]
pub fn step(expected: &Value, is_mandatory: bool, current: Option<&Value>) -> Step {
    let Some(current) = current else { return Step::Create };
    let said = auto_update(current);
    let is_untouched = current["metadata"]["generation"] == 1;
    let updates = is_mandatory || said.unwrap_or(is_untouched);
    let mut next = current.clone();
    if updates {
        let mut spec = expected["spec"].clone();
        // What the level that is never kept waiting lends is for administrators to say.
        if current["spec"]["exempt"].is_object() && spec["exempt"].is_object() {
            spec["exempt"] = current["spec"]["exempt"].clone();
        }
        next["spec"] = spec;
    }
    if said != Some(updates) {
        if !next["metadata"]["annotations"].is_object() {
            next["metadata"]["annotations"] = json!({});
        }
        next["metadata"]["annotations"][AUTO_UPDATE] = updates.to_string().into();
    }
    if next == *current { Step::Keep } else { Step::Update(Box::new(next)) }
}

/// What is to be done to an object that is none of them.
#[must_use]
pub fn step_of_other(current: &Value) -> Step {
    if auto_update(current) == Some(true) { Step::Delete } else { Step::Keep }
}

/// As Go's `ParseBool` reads it.
fn auto_update(object: &Value) -> Option<bool> {
    match object["metadata"]["annotations"][AUTO_UPDATE].as_str()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn object(kind: Kind, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{}/v1", crate::GROUP), "kind": kind.name(),
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec})
}

fn suggested_level((name, shares, lendable, queues): LevelRow) -> Value {
    let response = match queues {
        Some((queues, hand)) => {
            json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}})
        }
        None => json!({"type": "Reject"}),
    };
    let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
    object(Kind::Level, name, json!({"type": "Limited", "limited": limited}))
}

/// The levels without which nothing works.
#[must_use]
pub(crate) fn mandatory_levels() -> [Value; 2] {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    [suggested_level(("catch-all", 5, 0, None)), object(Kind::Level, "exempt", exempt)]
}

/// The schemas without which nothing works.
#[must_use]
pub(crate) fn mandatory_schemas() -> [Value; 2] {
    let everybody = groups(&["system:unauthenticated", "system:authenticated"]);
    [
        schema(("exempt", "exempt", 1, ""), &all_of(groups(&["system:masters"]))),
        schema(("catch-all", "catch-all", 10_000, "ByUser"), &all_of(everybody)),
    ]
}

/// A schema by its name, level, precedence and what tells flows apart.
fn schema((name, level, precedence, by): (&str, &str, u32, &str), rule: &Value) -> Value {
    let mut spec =
        json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule]});
    if !by.is_empty() {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    object(Kind::Schema, name, spec)
}

fn suggested_schemas() -> Vec<Value> {
    let nodes = || groups(&["system:nodes"]);
    let everybody = || groups(&["system:unauthenticated", "system:authenticated"]);
    let user = |name: &str| json!([{"kind": "User", "user": {"name": name}}]);
    let account = json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}});
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let leaders = json!([user(manager)[0], user(scheduler)[0], account]);
    let elect = resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false);
    let of_nodes = json!([
        resources(&["*"], "", &["nodes", "nodes/status"], true),
        resources(&["*"], "coordination.k8s.io", &["leases"], false)
    ]);
    let probes = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]);
    let (by_user, by_namespace) = ("ByUser", "ByNamespace");
    let accounts = groups(&["system:serviceaccounts"]);
    vec![
        schema(("system-nodes", "system", 500, by_user), &all_of(nodes())),
        schema(
            ("system-node-high", "node-high", 400, by_user),
            &json!({"subjects": nodes(), "resourceRules": of_nodes}),
        ),
        schema(("probes", "exempt", 2, ""), &json!({"subjects": everybody(), "nonResourceRules": probes})),
        schema(
            ("system-leader-election", "leader-election", 100, by_user),
            &json!({"subjects": leaders, "resourceRules": [elect]}),
        ),
        schema(("kube-controller-manager", "workload-high", 800, by_namespace), &all_of(user(manager))),
        schema(("kube-scheduler", "workload-high", 800, by_namespace), &all_of(user(scheduler))),
        schema(("kube-system-service-accounts", "workload-high", 900, by_namespace), &all_of(json!([account]))),
        schema(("service-accounts", "workload-low", 9000, by_user), &all_of(accounts)),
        schema(("global-default", "global-default", 9900, by_user), &all_of(everybody())),
    ]
}

fn groups(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}

/// Everything that some ask for.
fn all_of(subjects: Value) -> Value {
    json!({"subjects": subjects, "resourceRules": [resources(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_made_kept_and_brought_up_to_date() {
        for (_, expected, is_mandatory) in objects() {
            assert_eq!(step(&expected, is_mandatory, None), Step::Create);
            assert_eq!(step(&expected, is_mandatory, Some(&expected)), Step::Keep);
            let mut changed = expected.clone();
            changed["spec"]["more"] = 1.into();
            assert_eq!(step(&expected, is_mandatory, Some(&changed)), Step::Update(Box::new(expected.clone())));
            changed["metadata"]["annotations"][AUTO_UPDATE] = "false".into();
            let found = step(&expected, is_mandatory, Some(&changed));
            let wanted = if is_mandatory { Step::Update(Box::new(expected)) } else { Step::Keep };
            assert_eq!(found, wanted);
        }
    }

    /// Who has removed the annotation is asked by the generation whether the specification was changed.
    #[test]
    fn a_changed_object_is_left_alone() {
        let (_, expected, _) = objects().remove(0);
        let mut bare = expected.clone();
        bare["metadata"]["annotations"] = Value::Null;
        for (generation, said) in [(1, "true"), (2, "false")] {
            bare["metadata"]["generation"] = generation.into();
            let Step::Update(next) = step(&expected, false, Some(&bare)) else { panic!("no annotation") };
            assert_eq!(next["metadata"]["annotations"][AUTO_UPDATE], said);
        }
        assert_eq!(step_of_other(&expected), Step::Delete);
        assert_eq!(step_of_other(&bare), Step::Keep);
    }

    #[test]
    fn what_the_exempt_level_lends_is_for_administrators_to_say() {
        let [_, exempt] = mandatory_levels();
        let mut other = exempt.clone();
        other["spec"]["exempt"] = json!({"nominalConcurrencyShares": 7, "lendablePercent": 50});
        assert_eq!(step(&exempt, true, Some(&other)), Step::Keep);
    }
}
