//! The small client where it goes on: watches, logs, exec.

use crate::support::{apply, deployment, in_pod, logs, pod, ready_pod, shell, web};
use skiff_harness::{Follower, TestNode, eventually, skiff};
use std::io::{Read, Write};
use std::process::Stdio;

#[test]
fn get_watches() {
    let node = TestNode::up(&[]);
    apply(&node, &[pod("first", &[web()])]);
    ready_pod(&node, "first");
    let mut watch = Follower::skiff(&node, &["get", "pods", "-w"]);
    watch.line("NAME", |line| line.starts_with("NAME"));
    watch.line("first", |line| line.starts_with("first") && line.contains("Running"));
    apply(&node, &[pod("second", &[web()])]);
    watch.line("second Pending", |line| line.starts_with("second") && line.contains("Pending"));
    watch.line("second Running", |line| line.starts_with("second") && line.contains("Running"));
    drop(watch);
    node.down();
}

#[test]
fn logs_show_and_follow() {
    let node = TestNode::up(&[]);
    let script = "echo one; echo two >&2; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo three; exec sleep 1000";
    apply(&node, &[pod("talk", &[shell(script)]), deployment("web", 1, web())]);
    ready_pod(&node, "talk");
    node.ready_pods("app=web", 1);
    eventually("two lines", || match logs(&node, "talk") {
        text if text == "one\ntwo\n" => Ok(()),
        text => Err(text),
    });
    assert_eq!(node.skiff(["logs", "talk", "--tail", "1"]).ok(), "two\n");
    let stamped = node.skiff(["logs", "talk", "--timestamps", "--tail", "1"]).ok();
    let (stamp, line) = stamped.split_once(' ').unwrap();
    assert!(stamp.starts_with("20") && stamp.contains('T') && line == "two\n", "{stamped}");
    let mut follow = Follower::skiff(&node, &["logs", "-f", "talk"]);
    follow.line("two", |line| line == "two");
    drop(in_pod(&node, "talk", "touch /tmp/go").ok());
    follow.line("three", |line| line == "three");
    drop(follow);
    assert!(node.skiff(["logs", "deploy/web"]).ok().contains("serving on"));
    assert!(node.skiff(["logs", "nobody"]).refused().contains("\"nobody\" not found"));
    node.down();
}

/// Files of the container's log.
fn log_files(node: &TestNode) -> Vec<String> {
    let pods = std::fs::read_dir(node.data().join("logs")).unwrap();
    let mut files: Vec<String> = pods
        .flatten()
        .filter(|pod| pod.file_name().to_string_lossy().starts_with("default_talk_"))
        .flat_map(|pod| std::fs::read_dir(pod.path().join("main")).unwrap().flatten())
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    files
}

#[test]
fn logs_rotate_and_a_follow_goes_on() {
    let node = TestNode::up(&["--container-log-max-size", "20Ki", "--container-log-max-files", "3"]);
    let script = "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo line $i; [ $((i % 50)) = 0 ] && sleep 0.1; done; \
                  echo last $i; exec sleep 1000";
    apply(&node, &[pod("talk", &[shell(script)])]);
    ready_pod(&node, "talk");
    let mut follow = Follower::skiff(&node, &["logs", "-f", "talk"]);
    eventually("a compressed log", || match log_files(&node) {
        files if files.iter().any(|file| file.ends_with(".gz")) => Ok(()),
        files => Err(files),
    });
    assert!(log_files(&node).len() <= 3, "{:?}", log_files(&node));
    drop(in_pod(&node, "talk", "touch /tmp/stop").ok());
    let last = follow.line("last", |line| line.starts_with("last "));
    let lines: usize = last.strip_prefix("last ").unwrap().parse().unwrap();
    let seen: Vec<&String> = follow.seen().iter().filter(|line| line.starts_with("line ")).collect();
    assert_eq!(seen.len(), lines, "lines that were written and seen, across rotations");
    drop(follow);
    node.down();
}

#[test]
fn a_follow_ends_with_its_container() {
    let node = TestNode::up(&[]);
    let mut short = pod("short", &[shell("echo begin; sleep 3; echo end")]);
    short["spec"]["restartPolicy"] = "Never".into();
    apply(&node, &[short]);
    ready_pod(&node, "short");
    assert_eq!(node.skiff(["logs", "-f", "short"]).ok(), "begin\nend\n");
    node.down();
}

/// `skiff exec -i` with `input`.
fn exec_with_input(node: &TestNode, input: &[u8], command: &[&str]) -> Vec<u8> {
    let mut exec = skiff();
    exec.args(["exec", "-i", "box", "--"]).args(command).env("KUBECONFIG", node.kubeconfig());
    let mut exec = exec.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (exec.stdin.take().unwrap(), input.to_vec());
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let mut out = Vec::new();
    exec.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    writing.join().unwrap().unwrap();
    assert!(exec.wait().unwrap().success());
    out
}

#[test]
fn exec_passes_codes_and_streams_on() {
    let node = TestNode::up(&[]);
    apply(&node, &[pod("box", &[shell("exec sleep 1000")])]);
    ready_pod(&node, "box");
    assert_eq!(in_pod(&node, "box", "echo hello; hostname").ok(), "hello\nbox\n");
    let ended = in_pod(&node, "box", "echo out; echo err >&2; exit 42");
    assert_eq!((ended.code, ended.out.as_str()), (42, "out\n"));
    assert!(ended.err.starts_with("err\n"), "{}", ended.err);
    assert_eq!(in_pod(&node, "box", "exit 0").code, 0);
    assert_eq!(exec_with_input(&node, b"through\n", &["cat"]), b"through\n");
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let counted = exec_with_input(&node, &large, &["wc", "-c"]);
    assert_eq!(String::from_utf8_lossy(&counted).trim(), "1000000");
    assert!(exec_with_input(&node, &large, &["cat"]) == large, "bytes were changed on the way");
    let said = node.skiff(["exec", "box", "--", "/no/such/program"]).refused();
    assert!(said.contains("/no/such/program"), "{said}");
    let said = node.skiff(["exec", "nobody", "--", "true"]).refused();
    assert!(said.contains("nobody"), "{said}");
    node.down();
}
