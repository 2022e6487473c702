//! Leaving the host as it was: `skiff down` in every state that a node can be in.

use crate::support::{apply, deployment, names, pod, ready_pod, shell, web};
use serde_json::json;
use skiff_harness::{Snapshot, TestNode, skiff};
use std::process::Stdio;
use std::time::Duration;

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

/// Whatever a `skiff down` that was killed has left, the next one takes away; one more has nothing to do.
#[test]
fn down_that_is_killed_is_finished_by_the_next() {
    let before = Snapshot::take();
    let mut node = TestNode::up(&[]);
    apply(&node, &[deployment("web", 2, web())]);
    node.ready_pods("app=web", 2);
    node.kill();
    for millis in [2, 5, 10, 20, 50, 100, 200, 400] {
        let mut down = skiff();
        down.arg("down").arg("--data-dir").arg(node.data()).arg("--run-dir").arg(node.run_dir());
        let mut down = down.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        // One that has ended is fine too.
        down.kill().unwrap();
        down.wait().unwrap();
    }
    drop(node.run_down(&[]).ok());
    before.assert_nothing_new_of(&node.mark());
    drop(node.run_down(&[]).ok());
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

/// Whoever enters a container can be reached there by its program's file (CVE-2019-5736).
#[test]
fn the_nodes_runtime_lies_where_nobody_can_write() {
    let mut node = TestNode::up(&[]);
    apply(&node, &[pod("web", &[web()])]);
    ready_pod(&node, "web");
    let programs = node.run_dir().join("bin").display().to_string();
    let mounts = |node: &TestNode| {
        let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", node.holder())).unwrap();
        let options = table.lines().filter_map(|line| line.split_once(&format!(" {programs} "))?.1.split(' ').next());
        options.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = mounts(&node);
    assert!(matches!(before.as_slice(), [only] if only.split(',').any(|option| option == "ro")), "{before:?}");
    let is_supervisor = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        words.contains("supervise") && words.contains(&node.run_dir().display().to_string())
    };
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let supervisors: Vec<i32> = pids.filter(is_supervisor).collect();
    assert!(!supervisors.is_empty());
    for pid in supervisors {
        let mount = nix::sys::statvfs::statvfs(format!("/proc/{pid}/exe").as_str()).unwrap();
        assert!(mount.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY), "process {pid}");
    }
    node.kill();
    node.start();
    assert_eq!(mounts(&node), before, "a second start mounts nothing more");
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
