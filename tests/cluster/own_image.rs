//! An image of one's own, from programs of the host to a running pod: the way that the README shows.

use crate::support::{apply, logs, pod, ready_pod};
use serde_json::{Value, json};
use skiff_harness::{TestNode, eventually};

const SCRIPT: &str = "#!/bin/sh\necho \"$GREETING from $0\"\nexec sleep 1000\n";

/// Faults N17 and N16: `--data-dir` stands after the command.
#[test]
fn an_image_of_ones_own_runs() {
    let node = TestNode::up(&[]);
    let script = node.scratch().join("hello.sh");
    std::fs::write(&script, SCRIPT).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let add = format!("{}:/hello.sh", script.display());
    let data = node.data().display().to_string();
    let build = ["image", "from-host", "--tag", "skiff.local/hello:1", &add, "/bin/sh", "/bin/sleep"];
    let more = ["--env", "GREETING=hello", "--data-dir", &data, "-o", "json", "--", "/hello.sh"];
    let built: Value = serde_json::from_str(&node.skiff(build.iter().chain(&more)).ok()).unwrap();
    assert_eq!(built["images"][0]["repoTags"], json!(["skiff.local/hello:1"]));
    assert_eq!(node.skiff(["image", "list", "-o", "name", "--data-dir", &data]).ok(), "skiff.local/hello:1\n");
    apply(&node, &[pod("hello", &[json!({"name": "hello", "image": "skiff.local/hello:1"})])]);
    ready_pod(&node, "hello");
    eventually("it has written", || match logs(&node, "hello").as_str() {
        "hello from /hello.sh\n" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(node.skiff(["exec", "hello", "--", "sh", "-c", "echo $GREETING"]).ok(), "hello\n");
    node.down();
}
