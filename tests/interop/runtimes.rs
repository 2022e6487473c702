//! Our CRI service over somebody else's OCI runtime: `skiff up --oci-runtime FILE`.

use crate::support::{pod, shell, wanted};
use skiff_harness::{Peer, TestNode, eventually, skip};
use std::path::Path;

/// Whether the controllers are split between cgroup v1 and v2, as on hosts of old.
fn hybrid() -> bool {
    Path::new("/sys/fs/cgroup/unified").is_dir() && Path::new("/sys/fs/cgroup/memory").is_dir()
}

fn runs_a_pod(runtime: &Peer) {
    let node = TestNode::up(&["--oci-runtime", &runtime.path().display().to_string()]);
    let mut talk = pod("talk", shell("echo hello from $HOSTNAME; hostname; exec sleep 1000"));
    talk["spec"]["containers"][0]["resources"] = serde_json::json!({"limits": {"memory": "64Mi"}});
    node.apply(&talk.to_string());
    node.ready_pods("app=talk", 1);
    eventually("its words are in the logs", || match node.skiff(["logs", "talk"]).ok() {
        text if text.ends_with("talk\n") => Ok(()),
        text => Err(text),
    });
    let ended = node.skiff(["exec", "talk", "--", "sh", "-c", "cat /proc/1/cmdline; exit 5"]);
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(ended.out.starts_with("sleep"), "{ended:?}");
    assert_eq!(node.skiff(["delete", "pod", "talk"]).ok(), "pod/talk deleted\n");
    node.down();
}

#[test]
fn runc_1_1_runs_our_pods() {
    if let Some(runtime) = wanted("runc-1.1.15") {
        runs_a_pod(&runtime);
    }
}

#[test]
fn runc_1_3_runs_our_pods() {
    if let Some(runtime) = wanted("runc-1.3") {
        runs_a_pod(&runtime);
    }
}

#[test]
fn crun_runs_our_pods() {
    let Some(runtime) = wanted("crun-1.21") else { return };
    if hybrid() {
        return skip("crun 1.21 refuses a host whose cgroups are of both versions");
    }
    runs_a_pod(&runtime);
}
