//! Deployments, jobs, namespaces, owners: what the controllers make of them, down to processes.

use crate::support::{
    apply, container_id, deployment, in_pod, logs, names, pod, programs_beside, ready_pod, shell, until, until_none,
    web, with,
};
use serde_json::{Value, json};
use skiff_harness::TestNode;

/// A deployment of web servers that say `text` in a variable.
fn version(text: &str, replicas: usize) -> Value {
    deployment("web", replicas, with(web(), json!({"env": [{"name": "VERSION", "value": text}]})))
}

/// Waits until all pods say `text`, and only as many as wanted are there.
fn all_say(node: &TestNode, text: &str, replicas: usize) {
    until(node, &["deployment", "web"], "is rolled out", |object| {
        let (status, wanted) = (&object["status"], json!(replicas));
        let numbers = ["replicas", "updatedReplicas", "availableReplicas"];
        status["observedGeneration"] == object["metadata"]["generation"] && numbers.iter().all(|n| status[n] == wanted)
    });
    for name in names(&node.ready_pods("app=web", replicas)) {
        assert_eq!(in_pod(node, &name, "echo $VERSION").ok().trim(), text, "{name}");
    }
}

#[test]
fn a_deployment_rolls_out_and_back_and_scales() {
    let node = TestNode::up(&[]);
    apply(&node, &[version("one", 3)]);
    all_say(&node, "one", 3);
    apply(&node, &[version("two", 3)]);
    all_say(&node, "two", 3);
    let sets = node.json(&["replicasets"])["items"].as_array().cloned().unwrap();
    assert_eq!(sets.len(), 2, "{:?}", names(&sets));
    apply(&node, &[version("one", 3)]);
    all_say(&node, "one", 3);
    let sets = node.json(&["replicasets"])["items"].as_array().cloned().unwrap();
    assert_eq!(sets.len(), 2, "going back makes no third: {:?}", names(&sets));
    for replicas in [5, 1] {
        apply(&node, &[version("one", replicas)]);
        all_say(&node, "one", replicas);
    }
    node.down();
}

#[test]
fn a_bad_rollout_keeps_the_old_pods() {
    let node = TestNode::up(&[]);
    apply(&node, &[version("one", 2)]);
    all_say(&node, "one", 2);
    let mut broken = version("two", 2);
    broken["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["/no/such/program"]);
    apply(&node, &[broken]);
    let stuck = until(&node, &["pods", "-l", "app=web"], "include one that cannot start", |list| {
        list["items"].as_array().is_some_and(|pods| pods.len() == 3)
    });
    drop(stuck);
    let available = node.json(&["deployment", "web"])["status"]["availableReplicas"].clone();
    assert_eq!(available, 2);
    apply(&node, &[version("one", 2)]);
    all_say(&node, "one", 2);
    node.down();
}

fn job(name: &str, script: &str, more: Value) -> Value {
    let pod = json!({"restartPolicy": "Never", "containers": [shell(script)]});
    let spec = with(json!({"template": {"metadata": {"labels": {"app": name}}, "spec": pod}}), more);
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn jobs_complete_and_fail() {
    let node = TestNode::up(&[]);
    let good = job("good", "echo done", json!({"completions": 3, "parallelism": 2}));
    let bad = job("bad", "exit 7", json!({"backoffLimit": 0}));
    apply(&node, &[good, bad]);
    let has = |object: &Value, kind: &str| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == "True"))
    };
    let good = until(&node, &["job", "good"], "is complete", |job| has(job, "Complete"));
    assert_eq!(good["status"]["succeeded"], 3);
    let pods = node.json(&["pods", "-l", "app=good"])["items"].as_array().cloned().unwrap();
    assert_eq!(pods.len(), 3);
    for pod in &pods {
        assert_eq!(pod["status"]["phase"], "Succeeded");
        assert_eq!(logs(&node, pod["metadata"]["name"].as_str().unwrap()), "done\n");
    }
    until(&node, &["job", "bad"], "has failed", |job| has(job, "Failed"));
    drop(node.skiff(["delete", "job", "good", "bad"]).ok());
    until_none(&node, &["pods"]);
    node.down();
}

#[test]
fn what_is_owned_goes_with_its_owner() {
    let node = TestNode::up(&[]);
    apply(&node, &[deployment("web", 2, web()), pod("other", &[shell("exec sleep 1000")])]);
    node.ready_pods("app=web", 2);
    let other = container_id(&ready_pod(&node, "other"), 0);
    drop(node.skiff(["delete", "deployment", "web"]).ok());
    until_none(&node, &["replicasets"]);
    until_none(&node, &["pods", "-l", "app=web"]);
    assert_eq!(programs_beside(&other, "skiff-web"), 0);
    // Orphans stay, and a new owner takes them.
    apply(&node, &[deployment("web", 2, web())]);
    let pods = names(&node.ready_pods("app=web", 2));
    drop(node.skiff(["delete", "deployment", "web", "--cascade", "Orphan"]).ok());
    let sets = node.json(&["replicasets"])["items"].as_array().cloned().unwrap();
    let owners = sets[0]["metadata"]["ownerReferences"].as_array();
    assert!(owners.is_none_or(Vec::is_empty), "{}", sets[0]["metadata"]);
    assert_eq!(names(&node.ready_pods("app=web", 2)), pods);
    node.down();
}

#[test]
fn a_namespace_is_emptied_and_gone() {
    let node = TestNode::up(&[]);
    apply(&node, &[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})]);
    let mut inside = [
        deployment("web", 2, web()),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "b"}}),
    ];
    for object in &mut inside {
        object["metadata"]["namespace"] = json!("team");
    }
    apply(&node, &inside);
    until(&node, &["deployment", "web", "-n", "team"], "is available", |object| {
        object["status"]["availableReplicas"] == 2
    });
    assert_eq!(node.skiff(["delete", "namespace", "team"]).ok(), "namespace/team deleted\n");
    assert!(node.skiff(["get", "namespace", "team"]).refused().contains("not found"));
    let left = node.json(&["pods,deployments,replicasets", "-A"]);
    assert_eq!(left["items"], json!([]));
    node.down();
}
