//! etcdctl at our store, and our API server on an etcd of Debian's.

use crate::support::{pod, shell, wanted};
use skiff_harness::{Ended, Follower, Peer, TestNode, eventually, free_port, skiff, skip};
use std::process::Command;

/// etcdctl of release 3.4 still has to be told which API it speaks.
const VERSIONS: [&str; 2] = ["etcdctl-3.4", "etcdctl-3.5"];

fn etcdctl(peer: &Peer, endpoint: &str, words: &[&str]) -> Ended {
    let mut command = peer.command();
    command.args(["--endpoints", endpoint]).args(words).env("ETCDCTL_API", "3");
    command.output().unwrap().into()
}

#[test]
fn etcdctl_reads_the_nodes_store() {
    let peers: Vec<Peer> = VERSIONS.into_iter().filter_map(skiff_harness::peer).collect();
    if peers.is_empty() {
        return skip("no etcdctl in the folder that SKIFF_PEERS names");
    }
    let endpoint = "http://127.0.0.1:2379";
    let node = TestNode::up(&["--etcd-listen", endpoint]);
    node.apply(&pod("kept", shell("exec sleep 1000")).to_string());
    node.ready_pods("app=kept", 1);
    for peer in peers {
        let path = peer.path().display().to_string();
        let words =
            ["env", "ETCDCTL_API=3", &path, "--endpoints", endpoint, "get", "--prefix", "--keys-only", "/registry"];
        let keys = node.inside(words).ok();
        assert!(keys.lines().any(|key| key == "/registry/pods/default/kept"), "{keys}");
    }
    node.down();
}

/// What etcdctl does with a store, whoever serves it.
fn etcdctl_works(peer: &Peer, endpoint: &str) {
    let run = |words: &[&str]| etcdctl(peer, endpoint, words).ok();
    assert_eq!(run(&["put", "a", "1"]), "OK\n");
    assert_eq!(run(&["put", "b", "2"]), "OK\n");
    assert_eq!(run(&["get", "a"]), "a\n1\n");
    assert_eq!(run(&["get", "a", "c", "--keys-only"]).split_whitespace().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(run(&["del", "a"]), "1\n");
    assert_eq!(run(&["get", "a"]), "");
    // value("b") = "2"? then put c, else put d
    let script = format!(
        "printf 'value(\"b\") = \"2\"\\n\\nput c yes\\n\\nput d no\\n\\n' | {} --endpoints {endpoint} txn",
        peer.path().display()
    );
    let ended: Ended = Command::new("sh").args(["-c", &script]).env("ETCDCTL_API", "3").output().unwrap().into();
    assert!(ended.ok().starts_with("SUCCESS"), "the transaction");
    assert_eq!((run(&["get", "c"]), run(&["get", "d"])), ("c\nyes\n".into(), String::new()));
    let mut watching = peer.command();
    watching.args(["--endpoints", endpoint, "watch", "--rev", "1", "--prefix", "b"]).env("ETCDCTL_API", "3");
    let mut watching = Follower::start(watching);
    watching.line("the past", |line| line == "2");
    run(&["put", "b", "3"]);
    watching.line("the present", |line| line == "3");
    let granted = run(&["lease", "grant", "1"]);
    let lease = granted.split_whitespace().nth(1).unwrap();
    run(&["put", "short", "lived", "--lease", lease]);
    assert_eq!(run(&["get", "short"]), "short\nlived\n");
    eventually("the lease ends", || match run(&["get", "short"]) {
        text if text.is_empty() => Ok(()),
        text => Err(text),
    });
    // Release 3.4 sends the whole URL as `:authority` here, which HTTP/2 does not allow (RFC 9113, 8.3.1) and hyper refuses.
    if !peer.path().ends_with(VERSIONS[0]) {
        assert!(run(&["endpoint", "status"]).contains("3."), "status");
    }
}

fn store_alone(version: &str) {
    let Some(peer) = wanted(version) else { return };
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let mut store = skiff();
    store.args(["store", "serve", "--listen-client-urls", &endpoint, "--data-dir"]).arg(folder.path());
    let mut store = Follower::start(store);
    store.line("serving", |line| line.starts_with("serving etcd v3"));
    eventually("the store listens", || {
        let ended = etcdctl(&peer, &endpoint, &["get", "nothing"]);
        if ended.code == 0 { Ok(()) } else { Err(ended) }
    });
    etcdctl_works(&peer, &endpoint);
}

#[test]
fn etcdctl_3_4_works_on_the_store_alone() {
    store_alone(VERSIONS[0]);
}

#[test]
fn etcdctl_3_5_works_on_the_store_alone() {
    store_alone(VERSIONS[1]);
}

/// An etcd of Debian's, in a folder of its own.
pub(crate) fn etcd(peer: &Peer, folder: &std::path::Path, endpoint: &str) -> Follower {
    let among_peers = format!("http://127.0.0.1:{}", free_port());
    let mut command = peer.command();
    command.arg("--data-dir").arg(folder.join("etcd")).args(["--log-level", "error"]);
    command.args(["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint]);
    command.args(["--listen-peer-urls", &among_peers, "--initial-advertise-peer-urls", &among_peers]);
    command.args(["--initial-cluster", &format!("default={among_peers}")]);
    Follower::start(command)
}

fn api_server(folder: &std::path::Path, endpoint: &str) -> Follower {
    let mut command = skiff();
    command.args(["apiserver", "--api-listen", "127.0.0.1:0", "--etcd-servers", endpoint]);
    command.arg("--data-dir").arg(folder.join("data")).arg("--run-dir").arg(folder.join("run"));
    let mut server = Follower::start(command);
    server.line("serving", |line| line.starts_with("serving the Kubernetes API on"));
    server
}

#[test]
fn the_api_server_runs_on_an_etcd() {
    let (Some(server), Some(client), Some(kubectl)) =
        (wanted("etcd-3.5"), wanted("etcdctl-3.5"), wanted("kubectl-1.32"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let _etcd = etcd(&server, folder.path(), &endpoint);
    eventually("etcd listens", || {
        let ended = etcdctl(&client, &endpoint, &["endpoint", "health"]);
        if ended.code == 0 { Ok(()) } else { Err(ended) }
    });
    let api = api_server(folder.path(), &endpoint);
    let run = |words: &[&str]| -> Ended {
        let mut command = kubectl.command();
        command.args(words).env("HOME", folder.path()).env("KUBECONFIG", folder.path().join("data/admin.kubeconfig"));
        command.output().unwrap().into()
    };
    let created = run(&["create", "configmap", "far", "--from-literal=a=b"]).ok();
    assert_eq!(created, "configmap/far created\n");
    let key = "/registry/configmaps/default/far";
    let there = || etcdctl(&client, &endpoint, &["get", "--keys-only", key]).ok();
    assert_eq!(there().trim(), key);
    // Another server on the same etcd has the same objects.
    drop(api);
    let _api = api_server(folder.path(), &endpoint);
    assert_eq!(run(&["get", "configmap", "far", "-o", "jsonpath={.data.a}"]).ok(), "b");
    assert!(run(&["delete", "configmap", "far"]).ok().contains("deleted"));
    assert_eq!(there(), "");
}
