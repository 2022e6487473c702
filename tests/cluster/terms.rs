//! What a pod asks for besides a process: a shorter end for the sick, limits for its folders, groups, devices.

use crate::support::{apply, in_pod, pod, ready_pod, shell, until, with};
use serde_json::{Value, json};
use skiff_harness::TestNode;

/// Fills its folder beyond the limit as soon as it is told to.
fn hungry() -> Value {
    let script =
        "until [ -e /cache/go ]; do sleep 0.1; done; dd if=/dev/zero of=/cache/x bs=1M count=4; exec sleep 1000";
    let mut pod =
        pod("hungry", &[with(shell(script), json!({"volumeMounts": [{"name": "cache", "mountPath": "/cache"}]}))]);
    pod["spec"]["volumes"] = json!([{"name": "cache", "emptyDir": {"sizeLimit": "1Mi"}}]);
    pod
}

/// Hears no signal and has ten minutes to end, but not when its probe ends it.
fn stubborn() -> Value {
    let probe = json!({
        "exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1,
    });
    let script = "trap '' TERM; while true; do sleep 1; done";
    let mut pod = pod("stubborn", &[with(shell(script), json!({"livenessProbe": probe}))]);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(600);
    pod
}

#[test]
fn a_pod_is_held_to_what_it_says() {
    let node = TestNode::up(&[]);
    let mut grouped =
        pod("grouped", &[with(shell("exec sleep 1000"), json!({"volumeMounts": [{"name": "d", "mountPath": "/d"}]}))]);
    grouped["spec"]["volumes"] = json!([{"name": "d", "emptyDir": {}}]);
    grouped["spec"]["securityContext"] =
        json!({"runAsUser": 1000, "fsGroup": 2000, "fsGroupChangePolicy": "OnRootMismatch"});
    let device = json!({"resources": {"limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "1"}}});
    let waiting = pod("waiting", &[with(shell("exec sleep 1000"), device.clone())]);
    let mut bound = pod("bound", &[with(shell("exec sleep 1000"), device)]);
    bound["spec"]["nodeName"] = node.json(&["nodes"])["items"][0]["metadata"]["name"].clone();
    apply(&node, &[hungry(), stubborn(), grouped, waiting, bound]);

    ready_pod(&node, "grouped");
    let said = in_pod(&node, "grouped", "touch /d/f && stat -c '%g %a' /d && stat -c '%u %g' /d/f").ok();
    assert_eq!(said, "2000 2777\n1000 2000\n");

    until(&node, &["pod", "stubborn"], "is restarted within its probe's time", |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(1)
    });
    assert_eq!(node.skiff(["delete", "pod", "stubborn", "--grace-period", "1"]).code, 0);

    let waiting = until(&node, &["pod", "waiting"], "is not placed", |pod| {
        pod["status"]["conditions"][0]["reason"] == "Unschedulable"
    });
    let why = waiting["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(why.contains("Insufficient example.com/gpu"), "{why}");
    // What no node lists is the scheduler's to count: Kubernetes' kubelet does not look at it either.
    ready_pod(&node, "bound");

    ready_pod(&node, "hungry");
    drop(in_pod(&node, "hungry", "touch /cache/go").ok());
    let evicted = until(&node, &["pod", "hungry"], "is evicted", |pod| pod["status"]["phase"] == "Failed");
    let status = &evicted["status"];
    assert_eq!(status["reason"], "Evicted");
    assert_eq!(status["message"], "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". ");
    node.down();
}
