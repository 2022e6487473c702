//! What pods use, and how many there are because of it.

use crate::support::{apply, deployment, in_pod, names, shell, with};
use serde_json::{Value, json};
use skiff_harness::{TestNode, eventually_within};
use std::time::Duration;

/// An autoscaler looks every 15 s, and a rate needs a second answer of the kubelet: some looks are enough.
const LOOKS: Duration = Duration::from_secs(180);

/// Uses all that it may, which is twice what it asks for, until its file is gone.
fn burner() -> Value {
    let script = "touch /tmp/burn; while :; do [ -e /tmp/burn ] || sleep 1; done";
    let resources = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "100m"}});
    deployment("burner", 1, with(shell(script), json!({ "resources": resources })))
}

fn autoscaler() -> Value {
    let rules =
        json!({"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 5, "periodSeconds": 1}]});
    let target = json!({"type": "Utilization", "averageUtilization": 60});
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "burner"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "burner"}, "minReplicas": 1, "maxReplicas": 3,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        "behavior": {"scaleUp": rules, "scaleDown": rules}}})
}

fn becomes(node: &TestNode, replicas: usize) {
    eventually_within(LOOKS, &format!("there are {replicas} burners"), || {
        let deployment = node.json(&["deployment", "burner"]);
        if deployment["status"]["readyReplicas"] == replicas && deployment["spec"]["replicas"] == replicas {
            return Ok(());
        }
        Err(format!("{} {}", deployment["status"], node.json(&["hpa", "burner"])["status"]))
    });
}

#[test]
fn a_busy_deployment_grows_and_an_idle_one_shrinks() {
    let node = TestNode::up(&[]);
    apply(&node, &[burner(), autoscaler()]);
    becomes(&node, 3);
    let top = node.skiff(["top", "pod", "-l", "app=burner"]).ok();
    assert!(top.lines().skip(1).all(|line| line.starts_with("burner-") && line.contains('m')), "{top}");
    let top = node.skiff(["top", "node"]).ok();
    assert!(top.contains("CPU(cores)") && top.lines().nth(1).is_some_and(|line| line.contains('%')), "{top}");
    for name in names(&node.ready_pods("app=burner", 3)) {
        drop(in_pod(&node, &name, "rm /tmp/burn").ok());
    }
    becomes(&node, 1);
    let status = node.json(&["hpa", "burner"])["status"].clone();
    assert_eq!(status["conditions"].as_array().map(Vec::len), Some(3), "{status}");
    drop(node.skiff(["delete", "hpa/burner", "deploy/burner"]).ok());
    node.down();
}
