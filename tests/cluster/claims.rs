//! Claims: what a pod writes outlives the pod and the node's process, grows, and goes when its policy says so.

use crate::support::{IMAGE, apply, in_pod, pod, ready_pod, shell, until, until_none, with};
use serde_json::{Value, json};
use skiff_harness::TestNode;

fn claim(name: &str, more: Value) -> Value {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}});
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": with(spec, more)})
}

/// A pod that adds a line to a file of its volume when it starts.
fn writer(name: &str, volume: Value, mount: Value) -> Value {
    let script = "echo run >> /data/log; exec sleep 1000";
    let mount = with(json!({"name": "data", "mountPath": "/data"}), mount);
    let mut writer = pod(name, &[with(shell(script), json!({"volumeMounts": [mount]}))]);
    writer["spec"]["volumes"] = json!([with(volume, json!({"name": "data"}))]);
    writer
}

fn of_claim(claim: &str) -> Value {
    json!({"persistentVolumeClaim": {"claimName": claim}})
}

#[track_caller]
fn delete(node: &TestNode, kind: &str, name: &str) {
    let ended = node.skiff(["delete", kind, name]);
    assert_eq!(ended.code, 0, "{}", ended.err);
}

fn lines(node: &TestNode, pod: &str) -> usize {
    in_pod(node, pod, "cat /data/log").ok().lines().count()
}

/// Like a database: its pod is replaced, the node's process is killed, and all that was written is there.
#[test]
fn what_is_written_outlives_pods_and_the_node() {
    let mut node = TestNode::up(&[]);
    apply(&node, &[claim("data", json!({})), writer("one", of_claim("data"), json!({}))]);
    ready_pod(&node, "one");
    let bound = until(&node, &["pvc", "data"], "is bound", |claim| claim["status"]["phase"] == "Bound");
    assert_eq!(bound["status"]["capacity"]["storage"], "16Mi");
    assert_eq!(bound["spec"]["storageClassName"], "local");
    let volume = bound["spec"]["volumeName"].as_str().unwrap().to_owned();
    // While a pod uses it, a claim that is deleted stays.
    assert_eq!(node.skiff(["delete", "pvc", "data", "--wait", "false"]).code, 0);
    assert_eq!(lines(&node, "one"), 1);
    until(&node, &["pvc", "data"], "waits for its pod", |claim| claim["metadata"]["deletionTimestamp"].is_string());
    node.kill();
    node.start();
    ready_pod(&node, "one");
    assert_eq!(lines(&node, "one"), 1, "its pod went on");
    delete(&node, "pod", "one");
    until_none(&node, &["pvc"]);
    until_none(&node, &["pv"]);
    let left = node.data().join("local-volumes/volumes").join(volume);
    assert!(!left.exists(), "the volume's files are gone: {}", left.display());
    node.down();
}

#[test]
fn another_pod_finds_the_files_of_the_last() {
    let mut node = TestNode::up(&[]);
    let part = json!({"subPath": "deep/part"});
    apply(&node, &[claim("data", json!({})), writer("one", of_claim("data"), part.clone())]);
    ready_pod(&node, "one");
    delete(&node, "pod", "one");
    node.stop();
    node.start();
    apply(&node, &[writer("two", of_claim("data"), part)]);
    ready_pod(&node, "two");
    assert_eq!(lines(&node, "two"), 2);
    let grown = json!({"resources": {"requests": {"storage": "32Mi"}}});
    apply(&node, &[claim("data", grown)]);
    until(&node, &["pvc", "data"], "has grown", |claim| claim["status"]["capacity"]["storage"] == "32Mi");
    node.down();
}

#[test]
fn a_volume_that_is_retained_keeps_its_files() {
    let node = TestNode::up(&[]);
    let folder = node.scratch().join("kept");
    std::fs::create_dir_all(&folder).unwrap();
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "kept"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "byhand",
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": folder}}});
    let by_hand = json!({"storageClassName": "byhand"});
    apply(&node, &[volume, claim("data", by_hand), writer("one", of_claim("data"), json!({}))]);
    ready_pod(&node, "one");
    delete(&node, "pod", "one");
    delete(&node, "pvc", "data");
    until(&node, &["pv", "kept"], "is released", |volume| volume["status"]["phase"] == "Released");
    assert_eq!(std::fs::read_to_string(folder.join("log")).unwrap(), "run\n");
    node.down();
}

/// Volumes that live as long as their pod: a claim of its own, and one of a driver.
#[test]
fn volumes_of_one_pod_go_with_it() {
    let node = TestNode::up(&[]);
    let template = json!({"spec": claim("", json!({}))["spec"]});
    let own = json!({"ephemeral": {"volumeClaimTemplate": template}});
    let inline = json!({"csi": {"driver": "local.csi.skiff"}});
    apply(&node, &[writer("own", own, json!({})), writer("inline", inline, json!({}))]);
    for name in ["own", "inline"] {
        ready_pod(&node, name);
        assert_eq!(lines(&node, name), 1);
    }
    let made = node.json(&["pvc", "own-data"]);
    assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "Pod");
    for name in ["own", "inline"] {
        delete(&node, "pod", name);
    }
    until_none(&node, &["pvc"]);
    until_none(&node, &["pv"]);
    let volumes = std::fs::read_dir(node.data().join("local-volumes/volumes")).unwrap();
    assert_eq!(volumes.count(), 0, "nothing is left of them");
    node.down();
}

#[test]
fn an_image_is_shown_as_a_volume() {
    let node = TestNode::up(&[]);
    let container = with(
        shell("exec sleep 1000"),
        json!({"volumeMounts": [{"name": "files", "mountPath": "/files"},
            {"name": "files", "mountPath": "/part", "subPath": "bin"}]}),
    );
    let mut shown = pod("shown", &[container]);
    shown["spec"]["volumes"] = json!([{"name": "files", "image": {"reference": IMAGE, "pullPolicy": "IfNotPresent"}}]);
    apply(&node, &[shown]);
    ready_pod(&node, "shown");
    assert_eq!(
        in_pod(&node, "shown", "ls /files/bin | head -n 1").ok(),
        in_pod(&node, "shown", "ls /part | head -n 1").ok()
    );
    assert_ne!(in_pod(&node, "shown", "touch /files/x").code, 0, "an image can be written");
    node.down();
}
