//! A data folder on a filesystem that somebody fills, and frees again (fault N2): what goes on, what is refused, what comes back.

use crate::support::{apply, pod, ready_pod, shell};
use serde_json::{Value, json};
use skiff_harness::{Ended, TestNode, eventually_within, peer, skip, with_small_disk};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

/// The node and one pod take two thirds of it: the image is there as it came and unpacked.
const DISK: &str = "112m";
/// From here on the node is short of space.
const PRESSURE: [&str; 4] = ["--eviction-hard", "nodefs.available<20%", "--eviction-pressure-transition-period", "1s"];
/// Bytes of a configmap. The log of the store, which has its room from the start, holds a few.
const VALUE_BYTES: usize = 500 << 10;
/// The same for our client, which adds the manifest as an annotation; those have 256 KiB at most.
const APPLIED_BYTES: usize = 200 << 10;
/// More than a disk of that size could take.
const WRITES_MAX: usize = 120;
/// The node looks every ten seconds; then a controller, the scheduler and the kubelet have their turns.
const SOON: Duration = Duration::from_secs(120);
/// The taint of a node that is short of space.
const TAINT: &str = "node.kubernetes.io/disk-pressure";

/// Takes all there is.
fn fill(file: &Path) {
    let (mut file, block) = (File::create(file).unwrap(), vec![1; 64 << 10]);
    let full = std::iter::repeat_with(|| file.write_all(&block)).take(4_096).find_map(Result::err).unwrap();
    assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
}

fn large(name: &str, bytes: usize) -> Value {
    let data = json!({"value": "x".repeat(bytes)});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// Applies a large object with our client.
fn write(node: &TestNode, name: &str) -> Ended {
    let file = node.scratch().join("large.json");
    std::fs::write(&file, large(name, APPLIED_BYTES).to_string()).unwrap();
    node.skiff(["apply".as_ref(), "-f".as_ref(), file.as_os_str()])
}

/// Writes until it is refused; returns how many were taken, and what was said.
fn write_until_refused(node: &TestNode) -> (usize, String) {
    for number in 0..WRITES_MAX {
        let ended = write(node, &format!("large-{number}"));
        if ended.code != 0 {
            return (number, ended.err);
        }
    }
    panic!("{WRITES_MAX} objects went onto a disk that is full")
}

/// A sentence that names the filesystem, how much of it is free, and how much there is.
#[track_caller]
fn says_no_space(said: &str, node: &TestNode) {
    let place = format!("no space is left on the filesystem of {}", node.data().join("store/store.").display());
    for part in ["the object cannot be stored because there is no space: ", &place, " bytes are free, "] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

/// Waits until the node says whether it is short of space, and bears the taint accordingly.
fn until_pressure(node: &TestNode, is: bool) {
    eventually_within(SOON, &format!("DiskPressure and its taint: {is}"), || {
        let node = node.json(&["node", "node"]);
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let says = conditions.iter().any(|of| of["type"] == "DiskPressure" && of["status"] == "True");
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let has = taints.iter().any(|taint| taint["key"] == TAINT && taint["effect"] == "NoSchedule");
        if (says, has) == (is, is) { Ok(()) } else { Err(format!("{taints:?} {conditions:?}")) }
    });
}

/// Waits until the pod is as `holds` wants it.
fn until_pod(node: &TestNode, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually_within(SOON, &format!("{name} {what}"), || match node.json(&["pod", name]) {
        pod if holds(&pod["status"]) => Ok(pod["status"].clone()),
        pod => Err(pod["status"].to_string()),
    })
}

fn scheduled(status: &Value) -> Value {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|of| of["type"] == "PodScheduled").unwrap_or_default()
}

/// The same over REST, as a client of Kubernetes has it.
fn kubectl_hears_of_it(node: &TestNode) {
    let file = node.scratch().join("refused.json");
    std::fs::write(&file, large("refused", VALUE_BYTES).to_string()).unwrap();
    for name in ["kubectl-1.20", "kubectl-1.32"] {
        let Some(kubectl) = peer(name) else {
            skip(&format!("there is no {name}"));
            continue;
        };
        let said = node.peer(&kubectl, ["create", "-v=6", "-f", file.to_str().unwrap()]).refused();
        assert!(said.contains("507 Insufficient Storage") && said.contains("(InsufficientStorage)"), "{said}");
        says_no_space(&said, node);
        let read = node.peer(&kubectl, ["get", "--raw", "/api/v1/namespaces/default/configmaps/large-0"]).ok();
        assert!(read.len() > APPLIED_BYTES, "{} bytes", read.len());
        assert!(node.peer(&kubectl, ["get", "pods"]).ok().contains("waiting"));
    }
}

/// Every answer, reads too, was 503 for ever; nothing said so, and pods went on being placed.
#[test]
fn reads_go_on_and_writes_wait_for_space() {
    with_small_disk(DISK, |disk| {
        let node = TestNode::up_on(disk, &PRESSURE);
        apply(&node, &[pod("before", &[shell("exec sleep 1000")])]);
        ready_pod(&node, "before");
        let ballast = disk.join("ballast");
        fill(&ballast);

        until_pressure(&node, true);
        let gone = until_pod(&node, "before", "goes", |status| status["phase"] == "Failed");
        assert_eq!(gone["reason"], "Evicted", "{gone}");
        apply(&node, &[pod("waiting", &[shell("exec sleep 1000")])]);
        let waits = until_pod(&node, "waiting", "is told why", |status| scheduled(status)["status"] == "False");
        let (reason, why) = (&scheduled(&waits)["reason"], scheduled(&waits)["message"].to_string());
        assert!(reason == "Unschedulable" && why.contains("1 node(s) had untolerated taint(s)"), "{waits}");

        let (taken, said) = write_until_refused(&node);
        says_no_space(&said, &node);
        assert_eq!(said.trim_end().lines().count(), 1, "one sentence: {said}");
        assert!(!said.contains(", line "), "no line of the manifest is to blame: {said}");
        assert!(taken > 0, "the log of the store has room");
        kubectl_hears_of_it(&node);
        assert_eq!(node.json(&["pod", "waiting"])["status"]["phase"], "Pending");
        let maps = node.json(&["configmaps"])["items"].as_array().cloned().unwrap();
        let written = maps.iter().filter(|map| map["metadata"]["name"] != "kube-root-ca.crt").count();
        assert_eq!(written, taken, "no more, no fewer");

        std::fs::remove_file(&ballast).unwrap();
        eventually_within(SOON, "writes go on", || match write(&node, "after") {
            ended if ended.code == 0 => Ok(()),
            ended => Err(ended.err),
        });
        until_pressure(&node, false);
        until_pod(&node, "waiting", "runs", |status| status["phase"] == "Running");
        node.down();
    });
}
