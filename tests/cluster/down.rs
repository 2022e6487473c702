//! Leaving the host as it was: `skiff down` in every state that a node can be in.

use crate::support::{apply, deployment, names, pod, ready_pod, shell, web};
use serde_json::json;
use skiff_harness::{Snapshot, TestNode, skiff};

#[test]
fn down_stops_pods_and_the_next_up_brings_them_back() {
    let before = Snapshot::take();
    let mut node = TestNode::up(&[]);
    apply(&node, &[deployment("web", 3, web())]);
    let pods = names(&node.ready_pods("app=web", 3));
    let said = node.run_down(&[]).ok();
    assert!(said.contains("objects, images and keys stay in"), "{said}");
    before.assert_nothing_new_of(&node.mark());
    assert!(node.data().join("store").is_dir(), "the objects are gone");
    drop(node.run_down(&[]).ok());
    before.assert_nothing_new_of(&node.mark());
    node.start();
    assert_eq!(names(&node.ready_pods("app=web", 3)), pods);
    node.down();
}

#[test]
fn down_cleans_up_after_a_killed_node() {
    let before = Snapshot::take();
    let mut node = TestNode::up(&[]);
    apply(&node, &[deployment("web", 3, web())]);
    node.ready_pods("app=web", 3);
    node.kill();
    drop(node.run_down(&[]).ok());
    before.assert_nothing_new_of(&node.mark());
    node.down();
}

#[test]
fn down_stops_what_does_not_want_to_stop() {
    let node = TestNode::up(&[]);
    let mut stubborn = pod("stubborn", &[shell("trap '' TERM INT; while :; do sleep 1000; done")]);
    stubborn["spec"]["terminationGracePeriodSeconds"] = json!(600);
    apply(&node, &[stubborn]);
    ready_pod(&node, "stubborn");
    node.down();
}

#[test]
fn down_without_a_node_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run) = (folder.path().join("data"), folder.path().join("run"));
    let output = skiff().arg("down").arg("--data-dir").arg(&data).arg("--run-dir").arg(&run).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("no node: ") && said.contains(&data.display().to_string()), "{said}");
    assert!(!data.exists() && !run.exists(), "down made folders");
}
