//! `skiff up --trace FILE`: a pod's start, step by step, joined by the pod's uid from API write to execve.

use crate::support::{apply, pod, ready_pod, web};
use serde_json::Value;
use skiff_harness::{TestNode, eventually};
use std::collections::BTreeSet;

/// A line, and when its step began.
fn line(text: &str) -> (u64, Value) {
    let line: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    for field in ["at_us", "took_us", "component", "pid", "step", "clause", "operand", "outcome"] {
        assert!(!line[field].is_null(), "no {field}: {text}");
    }
    (line["at_us"].as_u64().unwrap(), line)
}

fn all<'a>(lines: &'a [Value], field: &str) -> BTreeSet<&'a str> {
    lines.iter().filter_map(|line| line[field].as_str()).collect()
}

#[test]
fn a_pods_start_is_told_from_write_to_execve() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let node = TestNode::up(&["--trace", file.to_str().unwrap()]);
    apply(&node, &[pod("web", &[web()])]);
    let uid = ready_pod(&node, "web")["metadata"]["uid"].as_str().unwrap().to_owned();
    let of_pod = |line: &Value| line["correlation"].as_str().is_some_and(|id| id.starts_with(&uid));
    let lines = eventually("the trace tells of execve", || {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut lines: Vec<(u64, Value)> = text.lines().map(line).filter(|(_, line)| of_pod(line)).collect();
        lines.sort_by_key(|(at, _)| *at);
        let lines: Vec<Value> = lines.into_iter().map(|(_, line)| line).collect();
        if lines.iter().any(|line| line["component"] == "oci") { Ok(lines) } else { Err(lines) }
    });
    let (components, steps) = (all(&lines, "component"), all(&lines, "step"));
    for component in ["apiserver", "scheduler", "kubelet", "cri", "image", "net", "oci"] {
        assert!(components.contains(component), "nothing of {component}: {components:?}");
    }
    assert!(steps.len() >= 25, "{} steps: {steps:?}", steps.len());
    assert_eq!(
        (lines[0]["component"].as_str(), lines[0]["outcome"].as_str()),
        (Some("apiserver"), Some("ok")),
        "{}",
        lines[0]
    );
    let of_runtime: Vec<&Value> = lines.iter().filter(|line| line["component"] == "oci").collect();
    let last = of_runtime.last().unwrap();
    assert!(last["step"].as_str().is_some_and(|step| step.starts_with("exec")), "the runtime's last step: {last}");
    node.down();
}
