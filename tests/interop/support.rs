//! Pods, and peers that may be missing.

use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};
use skiff_harness::{Peer, TestNode, peer, skip};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// The image that every node can make.
pub(crate) const IMAGE: &str = "skiff.local/demo";
/// How long a page may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The peer, or a word about its absence.
pub(crate) fn wanted(name: &str) -> Option<Peer> {
    let found = peer(name);
    if found.is_none() {
        skip(&format!("no {name} in the folder that SKIFF_PEERS names"));
    }
    found
}

/// A container that runs a shell script.
pub(crate) fn shell(script: &str) -> Value {
    json!({"name": "main", "image": IMAGE, "command": ["sh", "-c", script]})
}

/// A pod of one container, whose label `app` is its name.
pub(crate) fn pod(name: &str, container: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    })
}

/// A deployment of web servers and its service.
pub(crate) fn web(replicas: usize) -> Value {
    let container = json!({"name": "web", "image": IMAGE, "ports": [{"name": "http", "containerPort": 8080}]});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [deployment, service]})
}

/// A command of `peer` with the node's kubeconfig, as [`TestNode::peer`] runs them.
pub(crate) fn command(node: &TestNode, peer: &Peer, words: &[&str]) -> Command {
    let mut command = peer.command();
    command.args(words).env("KUBECONFIG", node.kubeconfig()).env("HOME", node.scratch());
    command
}

/// The whole answer to `GET /` at `address`, asked from the network namespace of a process.
pub(crate) fn page(pid: i64, address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    // A thread may be in another network namespace than the rest of its process (setns(2)).
    let asking = std::thread::spawn(move || {
        setns(File::open(format!("/proc/{pid}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    asking.join().unwrap()
}
