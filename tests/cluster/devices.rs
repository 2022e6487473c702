//! Devices of a plugin that runs beside the node, as a vendor's would.

#[path = "../../kubelet/devices/tests/gpus/mod.rs"]
mod gpus;

use crate::support::{apply, in_pod, pod, ready_pod, shell, until, with};
use gpus::{RESOURCE, device, plugin};
use serde_json::{Value, json};
use skiff_harness::TestNode;

fn with_gpus(name: &str, count: &str) -> Value {
    pod(name, &[with(shell("exec sleep 1000"), json!({"resources": {"limits": {RESOURCE: count}}}))])
}

fn until_gpus(node: &TestNode, capacity: &str, allocatable: &str) {
    until(node, &["nodes"], "has so many devices", |nodes| {
        let status = &nodes["items"][0]["status"];
        status["capacity"][RESOURCE] == capacity && status["allocatable"][RESOURCE] == allocatable
    });
}

/// Counted, scheduled, handed out, seen in the container; kept over kill -9 of the node; refused in Kubernetes' words; told when broken.
#[test]
fn a_pod_gets_the_devices_that_a_plugin_offers() {
    let mut node = TestNode::up(&[]);
    let folder = node.data().join("device-plugins");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (gpus, _server) = runtime.block_on(plugin(&folder, None));
    until_gpus(&node, "2", "2");
    apply(&node, &[with_gpus("one", "1")]);
    ready_pod(&node, "one");
    let seen = in_pod(&node, "one", "echo $GPUS; test -c /dev/gpu1 && echo node; test -d /gpu && echo mount").ok();
    assert_eq!(seen.trim(), "gpu1\nnode\nmount");
    node.kill();
    node.start();
    let (gpus, _server) = {
        drop(gpus);
        runtime.block_on(plugin(&folder, None))
    };
    until_gpus(&node, "2", "2");
    ready_pod(&node, "one");
    let mut second = with_gpus("two", "2");
    second["spec"]["nodeName"] = node.json(&["nodes"])["items"][0]["metadata"]["name"].clone();
    apply(&node, &[second]);
    let failed = until(&node, &["pod", "two"], "is turned away", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(failed["status"]["reason"], "UnexpectedAdmissionError");
    let why = failed["status"]["message"].as_str().unwrap();
    assert!(
        why.contains("requested number of devices unavailable for example.com/gpu. Requested: 2, Available: 1"),
        "{why}"
    );
    gpus.devices.send_replace(vec![device("gpu0", "Healthy"), device("gpu1", "Unhealthy")]);
    until_gpus(&node, "2", "1");
    let health = json!([{"name": RESOURCE, "resources": [{"resourceID": "gpu1", "health": "Unhealthy"}]}]);
    until(&node, &["pod", "one"], "tells of its device", |pod| {
        pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"] == health
    });
    node.down();
}
