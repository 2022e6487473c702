//! What a real kube-scheduler 1.36.2 said of random small clusters (`cases.jsonl`, one a line): the same message or the same
//! node, the same victims, the same volumes.
//!
//! Among nodes that are equally good, kube-scheduler takes any: then its node has to be one of those that are best here.

use super::*;
use crate::decide::{Nominate, Wait};
use std::collections::BTreeSet;

fn object(kind: &str, value: &Value) -> Object {
    fn read<K: serde::de::DeserializeOwned>(value: &Value) -> Arc<K> {
        Arc::new(serde_json::from_value(value.clone()).unwrap())
    }
    match kind {
        "Node" => Object::Node(read(value)),
        "Pod" => Object::Pod(read(value)),
        "Namespace" => Object::Namespace(read(value)),
        "Service" => Object::Service(read(value)),
        "Budget" => Object::Budget(read(value)),
        "Claim" => Object::Claim(read(value)),
        "Volume" => Object::Volume(read(value)),
        "Class" => Object::Class(read(value)),
        other => panic!("a case has a {other}"),
    }
}

/// What differs from what was recorded; nothing if all is the same.
fn difference(case: &Value) -> Option<String> {
    let mut cluster = Cluster::new();
    for one in case["objects"].as_array().unwrap() {
        let (kind, value) = one.as_object().unwrap().iter().next().unwrap();
        cluster.put(&object(kind, value));
    }
    let pod = PodInfo::new(Arc::new(serde_json::from_value(case["pod"].clone()).unwrap()));
    let decision = decide(&cluster, &pod);
    match (&case["node"], decision) {
        (Value::String(node), Decision::Bind(_)) => not_among_best(&cluster, &pod, node),
        (Value::String(node), Decision::Wait(wait)) => Some(format!("there on {node}, here: {}", wait.message)),
        (_, Decision::Bind(placement)) => Some(format!("there: {}, here on {}", case["message"], placement.node)),
        (_, Decision::Wait(wait)) => other_words(case, &wait),
    }
}

fn not_among_best(cluster: &Cluster, pod: &PodInfo, node: &str) -> Option<String> {
    let profile = profile();
    let cycle = Cycle { cluster, profile: &profile, pod };
    let scored = cycle.scores(&look(cluster, &profile, pod, 0).found.fit);
    let best = scored.iter().map(|one| one.total).max();
    let shown: Vec<String> =
        scored.iter().map(|one| format!("{} {:?}", cluster.nodes[one.at].name, one.parts)).collect();
    let theirs = scored.iter().find(|one| cluster.nodes[one.at].name == node).map(|one| one.total);
    (theirs != best || best.is_none()).then(|| format!("there on {node}, here: {}", shown.join("; ")))
}

fn other_words(case: &Value, wait: &Wait) -> Option<String> {
    let theirs = case["message"].as_str().unwrap();
    if wait.message != theirs {
        return Some(format!("there: {theirs}\n  here:  {}", wait.message));
    }
    let nominated = match &wait.nominate {
        Nominate::Set(Some(node)) => json!(node),
        _ => Value::Null,
    };
    let victims = wait.preemption.iter().flat_map(|plan| &plan.victims);
    let victims: BTreeSet<String> = victims.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    let victims = if victims.is_empty() { Value::Null } else { json!(victims) };
    let theirs = (&case["nominated"], &case["victims"]);
    (theirs != (&nominated, &victims)).then(|| format!("there: {theirs:?}, here: {nominated} {victims}"))
}

#[test]
fn what_kube_scheduler_said_is_said() {
    let file = std::env::var("SKIFF_SCHEDULER_CASES")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/cases.jsonl").to_owned());
    let text = std::fs::read_to_string(&file).unwrap();
    let cases: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let known = cases.iter().filter(|case| case["error"].is_null() && case["timeout"].is_null());
    let different: Vec<String> =
        known.filter_map(|case| Some(format!("seed {}: {}", case["seed"], difference(case)?))).collect();
    assert!(different.is_empty(), "{} of {}:\n{}", different.len(), cases.len(), different.join("\n"));
    assert!(!cases.is_empty());
}
