//! The small client: get, describe, apply, delete.

use crate::support::{apply, deployment, pod, ready_pod, shell, until, web};
use serde_json::{Value, json};
use skiff_harness::{TestNode, eventually};

/// The words of the first line that contains `part`.
#[track_caller]
fn row<'a>(table: &'a str, part: &str) -> Vec<&'a str> {
    let found = table.lines().find(|line| line.contains(part));
    found.unwrap_or_else(|| panic!("no {part} in:\n{table}")).split_whitespace().collect()
}

fn get_prints(node: &TestNode, ip: &str) {
    let table = node.skiff(["get", "pods"]).ok();
    assert_eq!(row(&table, "NAME"), ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(row(&table, "web")[..4], ["web", "1/1", "Running", "0"]);
    let wide = node.skiff(["get", "po", "web", "-o", "wide"]).ok();
    assert!(row(&wide, "web").contains(&ip) && row(&wide, "web").contains(&"node"), "{wide}");
    assert_eq!(node.skiff(["get", "pods", "-o", "name"]).ok(), "pod/web\n");
    let one = node.json(&["pod/web"]);
    assert_eq!((&one["kind"], &one["apiVersion"]), (&json!("Pod"), &json!("v1")));
    let yaml = node.skiff(["get", "pod", "web", "-o", "yaml"]).ok();
    assert!(yaml.contains("kind: Pod\n") && yaml.contains("image: skiff.local/demo"), "{yaml}");
    assert!(node.skiff(["get", "pods", "-n", "kube-system"]).err.contains("No resources found in kube-system"));
    assert_eq!(row(&node.skiff(["get", "pods", "-A"]).ok(), "web")[..2], ["default", "web"]);
    assert_eq!(node.skiff(["get", "pods", "-l", "app!=web", "-o", "name"]).ok(), "");
    assert_eq!(node.skiff(["get", "pods", "--field-selector", "status.phase=Running", "-o", "name"]).ok(), "pod/web\n");
    let node_row = node.skiff(["get", "nodes"]).ok();
    assert_eq!(row(&node_row, "node ")[..2], ["node", "Ready"]);
}

fn describe_tells(node: &TestNode) {
    let told = eventually("events are told", || {
        let told = node.skiff(["describe", "pod", "web"]).ok();
        if told.contains("Started") { Ok(told) } else { Err(told) }
    });
    assert_eq!(row(&told, "Name:"), ["Name:", "web"]);
    for reason in ["Scheduled", "Created", "Started"] {
        let is_it = |line: &str| line.split_whitespace().take(2).eq(["Normal", reason]);
        assert!(told.lines().any(is_it), "{told}");
    }
    let told = node.skiff(["describe", "node", "node"]).ok();
    assert!(told.contains("allocatable"), "{told}");
}

#[test]
fn get_and_describe() {
    let node = TestNode::up(&[]);
    apply(&node, &[pod("web", &[web()])]);
    let ip = ready_pod(&node, "web")["status"]["podIP"].as_str().unwrap().to_owned();
    get_prints(&node, &ip);
    describe_tells(&node);
    node.down();
}

fn apply_file(node: &TestNode, object: &Value, flags: &[&str]) -> String {
    let file = node.scratch().join("object.yaml");
    std::fs::write(&file, object.to_string()).unwrap();
    node.skiff(["apply".as_ref(), "-f".as_ref(), file.as_os_str()].into_iter().chain(flags.iter().map(AsRef::as_ref)))
        .ok()
}

#[test]
fn apply_creates_configures_and_leaves_alone() {
    let node = TestNode::up(&[]);
    let mut web = deployment("web", 1, web());
    web["metadata"]["labels"] = json!({"tier": "front"});
    assert_eq!(apply_file(&node, &web, &["--dry-run"]), "deployment.apps/web created (dry run)\n");
    assert_eq!(node.skiff(["get", "deployments", "-o", "name"]).ok(), "");
    assert_eq!(apply_file(&node, &web, &[]), "deployment.apps/web created\n");
    until(&node, &["deployment", "web"], "is available", |object| object["status"]["availableReplicas"] == 1);
    assert_eq!(apply_file(&node, &web, &[]), "deployment.apps/web unchanged\n");
    web["spec"]["replicas"] = json!(2);
    web["metadata"].as_object_mut().unwrap().remove("labels");
    assert_eq!(apply_file(&node, &web, &[]), "deployment.apps/web configured\n");
    let live = until(&node, &["deployment", "web"], "has two", |object| object["status"]["availableReplicas"] == 2);
    assert!(
        live["metadata"]["labels"].get("tier").is_none(),
        "what is not applied any more stays: {}",
        live["metadata"]
    );
    assert_eq!(apply_file(&node, &web, &[]), "deployment.apps/web unchanged\n");
    node.down();
}

#[test]
fn delete_waits_until_the_pod_is_gone() {
    let node = TestNode::up(&[]);
    let mut slow = pod("slow", &[shell("trap 'sleep 2; exit 0' TERM; while :; do sleep 0.1; done")]);
    slow["spec"]["terminationGracePeriodSeconds"] = json!(20);
    apply(&node, &[slow, pod("fast", &[shell("exec sleep 1000")]), pod("other", &[web()])]);
    for name in ["slow", "fast", "other"] {
        ready_pod(&node, name);
    }
    assert_eq!(node.skiff(["delete", "pod", "slow"]).ok(), "pod/slow deleted\n");
    assert_eq!(node.skiff(["get", "pods", "-o", "name"]).ok(), "pod/fast\npod/other\n");
    assert_eq!(node.skiff(["delete", "pod", "fast", "--grace-period", "0"]).ok(), "pod/fast deleted\n");
    let said = node.skiff(["delete", "pod", "fast"]).refused();
    assert!(said.contains("pods \"fast\" not found"), "{said}");
    assert_eq!(node.skiff(["delete", "pod", "fast", "--ignore-not-found"]).ok(), "");
    let file = node.scratch().join("other.yaml");
    std::fs::write(&file, pod("other", &[web()]).to_string()).unwrap();
    assert_eq!(node.skiff(["delete".as_ref(), "-f".as_ref(), file.as_os_str()]).ok(), "pod/other deleted\n");
    assert_eq!(node.skiff(["get", "pods", "-o", "name"]).ok(), "");
    node.down();
}

fn get_all_shows(node: &TestNode) {
    let all = node.skiff(["get", "all"]).ok();
    let names: Vec<&str> = all.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for kind in ["pod/web-", "service/kubernetes", "deployment.apps/web", "replicaset.apps/web-"] {
        assert!(names.iter().any(|name| name.starts_with(kind)), "{kind}: {all}");
    }
    assert_eq!(names.iter().filter(|name| **name == "NAME").count(), 4, "a table each: {all}");
    assert!(node.skiff(["get", "all", "-n", "nowhere"]).err.contains("No resources found in nowhere namespace."));
    let two = node.skiff(["get", "svc/kubernetes", "deploy/web", "-o", "name"]).ok();
    assert_eq!(two, "service/kubernetes\ndeployment.apps/web\n");
}

fn scripts_are_served(node: &TestNode) {
    let described = node.skiff(["describe", "deploy", "web", "-o", "json"]).ok();
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["object"]["metadata"]["name"], "web");
    assert!(described["events"].is_array(), "{described}");
    let told = node.skiff(["describe", "deploy", "web"]).ok();
    assert!(row(&told, "Created:").last().is_some_and(|word| *word == "ago"), "{told}");
    let mut web = deployment("web", 1, web());
    web["metadata"]["labels"] = json!({"tier": "front"});
    assert_eq!(apply_file(node, &web, &["-o", "name"]), "deployment.apps/web\n");
    let applied: Value = serde_json::from_str(&apply_file(node, &web, &["-o", "json"])).unwrap();
    assert_eq!(applied["metadata"]["labels"]["tier"], "front");
    assert_eq!(node.skiff(["-n", "default", "delete", "deploy/web", "-o", "name"]).ok(), "deployment.apps/web\n");
}

/// Fault N16.
#[test]
fn everything_at_once_and_for_scripts() {
    let node = TestNode::up(&[]);
    apply(&node, &[deployment("web", 1, web())]);
    until(&node, &["deployment", "web"], "is available", |object| object["status"]["availableReplicas"] == 1);
    get_all_shows(&node);
    scripts_are_served(&node);
    node.down();
}
