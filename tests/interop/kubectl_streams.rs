//! kubectl where it goes on: watches, logs, exec, port-forward, cp.

use crate::kubectl::{apply, kubectl, on_both};
use crate::support::{command, page, pod, shell, web};
use skiff_harness::{Follower, Peer, TestNode, eventually, free_port};
use std::io::{Read, Write};
use std::process::Stdio;

fn watches(node: &TestNode, peer: &Peer) {
    let mut watch = Follower::start(command(node, peer, &["get", "pods", "-w"]));
    apply(node, peer, &pod("seen", shell("exec sleep 1000")));
    watch.line("seen Pending", |line| line.starts_with("seen") && line.contains("Pending"));
    watch.line("seen Running", |line| line.starts_with("seen") && line.contains("Running"));
    kubectl(node, peer, "delete pod seen");
    watch.line("seen Terminating", |line| line.starts_with("seen") && line.contains("Terminating"));
}

fn logs(node: &TestNode, peer: &Peer) {
    let script = "echo one; echo two; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo three; exec sleep 1000";
    apply(node, peer, &pod("talk", shell(script)));
    apply(node, peer, &web(1));
    node.ready_pods("app=talk", 1);
    node.ready_pods("app=web", 1);
    eventually("two lines", || match kubectl(node, peer, "logs talk") {
        text if text == "one\ntwo\n" => Ok(()),
        text => Err(text),
    });
    assert_eq!(kubectl(node, peer, "logs talk --tail=1"), "two\n");
    let mut follow = Follower::start(command(node, peer, &["logs", "-f", "talk"]));
    follow.line("two", |line| line == "two");
    kubectl(node, peer, "exec talk -- touch /tmp/go");
    follow.line("three", |line| line == "three");
    assert!(kubectl(node, peer, "logs deploy/web").contains("serving on"));
}

/// `kubectl exec -i` with `input`.
fn exec_with_input(node: &TestNode, peer: &Peer, input: &[u8], words: &[&str]) -> Vec<u8> {
    let mut exec = command(node, peer, &["exec", "-i", "box", "--"]);
    let mut exec = exec.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (exec.stdin.take().unwrap(), input.to_vec());
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let mut out = Vec::new();
    exec.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    writing.join().unwrap().unwrap();
    assert!(exec.wait().unwrap().success());
    out
}

fn execs(node: &TestNode, peer: &Peer) {
    apply(node, peer, &pod("box", shell("exec sleep 1000")));
    node.ready_pods("app=box", 1);
    assert_eq!(kubectl(node, peer, "exec box -- hostname"), "box\n");
    let ended = node.peer(peer, ["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((ended.code, ended.out.as_str()), (42, "out\n"), "{ended:?}");
    assert!(ended.err.contains("err\n"), "{}", ended.err);
    assert_eq!(exec_with_input(node, peer, b"through\n", &["cat"]), b"through\n");
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    assert!(exec_with_input(node, peer, &large, &["cat"]) == large, "bytes were changed on the way");
    let file = node.scratch().join("file");
    std::fs::write(&file, &large).unwrap();
    kubectl(node, peer, &format!("cp {} box:/tmp/file", file.display()));
    assert_eq!(kubectl(node, peer, "exec box -- stat -c %s /tmp/file"), "1000000\n");
    assert_ne!(node.peer(peer, ["exec", "box", "--", "/no/such/program"]).code, 0);
}

fn forwards(node: &TestNode, peer: &Peer) {
    apply(node, peer, &web(1));
    node.ready_pods("app=web", 1);
    let port = free_port();
    let mut forward = Follower::start(command(node, peer, &["port-forward", "deploy/web", &format!("{port}:8080")]));
    forward.line("Forwarding", |line| line.starts_with("Forwarding from 127.0.0.1"));
    for _ in 0..3 {
        let page = page(i64::from(std::process::id()), &format!("127.0.0.1:{port}")).unwrap();
        assert!(page.contains("hello from web-"), "{page}");
    }
}

on_both!(
    kubectl_watches: watches,
    kubectl_logs: logs,
    kubectl_execs: execs,
    kubectl_forwards_ports: forwards,
);
