//! A store is operated: saved, restored, checked, defragmented, looked at, and moved to a real etcd and back.

use crate::support::wanted;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use skiff_harness::{Ended, Follower, TestNode, eventually, free_port, skiff};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::kv_client::KvClient;
use skiff_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn store(words: &[&str]) -> Ended {
    let mut command = skiff();
    command.arg("store").args(words).output().unwrap().into()
}

fn told(words: &[&str]) -> Value {
    let text = store(&[words, &["-o", "json"]].concat()).ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// `skiff store serve`, at an address of its own.
struct Served {
    endpoint: String,
    process: Follower,
}

fn served(folder: &str, endpoint: String) -> Served {
    let mut command = skiff();
    command.args(["store", "serve", "--listen-client-urls", &endpoint, "--data-dir", folder]);
    let process = Follower::start(command);
    let served = Served { endpoint, process };
    eventually("the store answers", || {
        let ended = store(&["top", "--once", "--endpoints", &served.endpoint]);
        if ended.code == 0 { Ok(()) } else { Err(ended) }
    });
    served
}

fn address() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Puts `count` keys, one after the other, the last of them under a lease.
fn fill(endpoint: &str, count: usize) {
    on_runtime(async {
        let channel = skiff_store::etcd::channel(endpoint, None).unwrap();
        let (mut kv, mut leases) = (KvClient::new(channel.clone()), LeaseClient::new(channel));
        let lease = leases.lease_grant(pb::LeaseGrantRequest { ttl: 3600, id: 77 }).await.unwrap().into_inner().id;
        for number in 0..count {
            let put = pb::PutRequest {
                // Not in order of key, so that a copy in order of key would be another order.
                key: format!("/fill/{:04}", (number * 37) % count).into(),
                value: number.to_string().repeat(10).into(),
                lease: if number + 1 == count { lease } else { 0 },
                ..Default::default()
            };
            kv.put(put).await.unwrap();
        }
    });
}

/// By key: value, lease, revision of the last write.
fn content(endpoint: &str) -> BTreeMap<String, (String, i64, i64)> {
    on_runtime(async {
        let mut kv = KvClient::new(skiff_store::etcd::channel(endpoint, None).unwrap());
        let all = pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() };
        let found = kv.range(all).await.unwrap().into_inner().kvs.into_iter();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        found.map(|kv| (text(&kv.key), (text(&kv.value), kv.lease, kv.mod_revision))).collect()
    })
}

#[test]
fn a_store_is_saved_restored_checked_and_defragmented() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file, copy) = (path(folder.path(), "data"), path(folder.path(), "saved"), path(folder.path(), "copy"));
    let running = served(&data, address());
    fill(&running.endpoint, 50);
    let saved = told(&["snapshot", "save", &file, "--endpoints", &running.endpoint]);
    let status = told(&["snapshot", "status", &file]);
    assert_eq!((&status["totalKey"], &status["leases"], &status["revision"]), (&json!(50), &json!(1), &json!(51)));
    assert_eq!(status["sha256"], saved["sha256"]);
    let _ = told(&["snapshot", "restore", &file, "--data-dir", &copy]);
    let again = store(&["snapshot", "restore", &file, "--data-dir", &copy]).refused();
    assert!(again.contains("is a store already"), "{again}");
    for which in [["--data-dir", &copy], ["--endpoints", &running.endpoint]] {
        let report = told(&[&["fsck"], &which[..]].concat());
        assert_eq!((&report["sound"], &report["totalKey"]), (&json!(true), &json!(50)), "{report}");
        assert_eq!(told(&[&["defrag"], &which[..]].concat()).as_array().map(Vec::len), Some(1));
    }
    // At rest it is what is served.
    let other = path(folder.path(), "other");
    let _ = told(&["snapshot", "save", &other, "--data-dir", &copy]);
    assert_eq!(told(&["snapshot", "status", &other])["totalKey"], json!(50));
    for command in [&["fsck"][..], &["defrag"], &["top", "--once"], &["snapshot", "save", &other]] {
        let refused = store(&[command, &["--data-dir", &data]].concat()).refused();
        assert!(refused.contains("is in use by") && refused.contains("pid "), "{command:?}: {refused}");
    }
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let damaged = store(&["snapshot", "restore", &file, "--data-dir", &path(folder.path(), "never")]).refused();
    assert!(damaged.contains("saved"), "it names the file: {damaged}");
    assert!(!folder.path().join("never/store.redb").exists());
}

#[test]
fn top_goes_on_when_its_server_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = path(folder.path(), "data");
    let mut running = served(&data, address());
    fill(&running.endpoint, 3);
    let look = told(&["top", "--once", "--endpoints", &running.endpoint]);
    assert_eq!((&look["revision"], &look["keys"]["totalKey"], &look["leases"]), (&json!(4), &json!(3), &json!(1)));
    assert_eq!(look["keys"]["prefixes"][0]["prefix"], json!("/fill"));
    let mut command = skiff();
    command.args(["store", "top", "--interval", "100ms", "--endpoints", &running.endpoint]);
    let mut top = Follower::start(command);
    top.line("the revision", |line| line.starts_with("revision 4 "));
    running.process.child().kill().unwrap();
    running.process.child().wait().unwrap();
    let running = served(&data, running.endpoint.clone());
    on_runtime(async {
        let mut kv = KvClient::new(skiff_store::etcd::channel(&running.endpoint, None).unwrap());
        kv.put(pb::PutRequest { key: "a".into(), ..Default::default() }).await.unwrap();
    });
    top.line("the next revision", |line| line.starts_with("revision 5 "));
}

/// An etcd of Debian's, in a folder of its own.
fn etcd(folder: &Path) -> Option<(Follower, String)> {
    let peer = wanted("etcd-3.5")?;
    let endpoint = address();
    let etcd = crate::etcd::etcd(&peer, folder, &endpoint);
    eventually("etcd answers", || {
        let ended = store(&["top", "--once", "--endpoints", &endpoint]);
        if ended.code == 0 { Ok(()) } else { Err(ended) }
    });
    Some((etcd, endpoint))
}

#[test]
fn a_copy_has_keys_values_order_and_leases_of_both_kinds_of_store() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_etcd, there)) = etcd(folder.path()) else { return };
    let ours = served(&path(folder.path(), "data"), address());
    fill(&ours.endpoint, 150);
    let copied = told(&["copy", &ours.endpoint, &there]);
    assert_eq!((&copied["totalKey"], &copied["leases"]), (&json!(150), &json!(1)), "{copied}");
    let (wanted, found) = (content(&ours.endpoint), content(&there));
    let mut order: Vec<_> =
        wanted.iter().map(|(key, (value, lease, revision))| (revision, key, value, *lease)).collect();
    order.sort();
    assert_eq!(order.last().map(|last| last.3), Some(77));
    let copied: Vec<_> = order.iter().map(|(_, key, ..)| &found[*key]).collect();
    // Keys that were written together share a revision, in which they keep their order.
    assert!(copied.is_sorted_by_key(|(.., revision)| *revision), "{copied:?}");
    assert!(copied.iter().map(|(.., revision)| *revision).collect::<BTreeSet<_>>().len() >= 3);
    let plain = |all: &BTreeMap<String, (String, i64, i64)>| -> Vec<_> {
        all.iter().map(|(key, (value, lease, _))| (key.clone(), value.clone(), *lease)).collect()
    };
    assert_eq!(plain(&found), plain(&wanted));
    let refused = store(&["copy", &ours.endpoint, &there]).refused();
    assert!(refused.contains("has 150 keys") && refused.contains("--overwrite"), "{refused}");
    let _ = told(&["copy", &ours.endpoint, &there, "--overwrite"]);
    let refused = store(&["copy", &there, &there, "--overwrite"]).refused();
    assert!(refused.contains("the same cluster"), "{refused}");
    let back = path(folder.path(), "back");
    assert_eq!(told(&["copy", &there, &back, "--prefix", "/fill/00"])["totalKey"], json!(100));
    assert_eq!(told(&["fsck", "--data-dir", &back])["totalKey"], json!(100));
    let look = told(&["top", "--once", "--endpoints", &there]);
    assert_eq!((&look["keys"]["totalKey"], look["watchers"].is_u64()), (&json!(150), true), "{look}");
}

fn api_server(folder: &Path, etcd: &[&str]) -> (Follower, PathBuf) {
    let mut command = skiff();
    command.args(["apiserver", "--api-listen", "127.0.0.1:0"]).args(etcd);
    command.arg("--data-dir").arg(folder).arg("--run-dir").arg(folder.join("run"));
    let mut server = Follower::start(command);
    server.line("serving", |line| line.starts_with("serving the Kubernetes API on"));
    (server, folder.join("admin.kubeconfig"))
}

fn client(kubeconfig: &Path, words: &[&str]) -> Command {
    let mut command = skiff();
    command.args(words).env("KUBECONFIG", kubeconfig);
    command
}

/// Config maps of users; what the server publishes of itself comes a moment after its start.
fn names(kubeconfig: &Path) -> Vec<String> {
    let ended: Ended = client(kubeconfig, &["get", "configmap", "-A", "-o", "json"]).output().unwrap().into();
    let list: Value = serde_json::from_str(&ended.ok()).unwrap();
    let items = list["items"].as_array().unwrap().iter().filter(|item| item["metadata"]["namespace"] != "kube-system");
    let mut names: Vec<_> = items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_nodes_store_moves_to_an_etcd_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_etcd, there)) = etcd(folder.path()) else { return };
    let mut node = TestNode::up(&[]);
    let kept = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}});
    node.apply(&kept.to_string());
    node.stop();
    let at_rest = node.data().join("store").display().to_string();
    let copied = told(&["copy", &at_rest, &there]);
    assert!(copied["totalKey"].as_u64() > Some(10), "{copied}");
    let (server, kubeconfig) = api_server(&folder.path().join("on-etcd"), &["--etcd-servers", &there]);
    let wanted = names(&kubeconfig);
    assert!(wanted.contains(&"kept".to_owned()), "{wanted:?}");
    // Its revision is the etcd's, so it can be changed there.
    let changed = path(folder.path(), "changed.json");
    std::fs::write(&changed, kept.to_string().replace(r#""a":"b""#, r#""a":"c""#)).unwrap();
    let _ = Ended::from(client(&kubeconfig, &["apply", "-f", &changed]).output().unwrap()).ok();
    drop(server);
    let back = folder.path().join("back");
    let _ = told(&["copy", &there, &back.join("store").display().to_string()]);
    let (_server, kubeconfig) = api_server(&back, &[]);
    assert_eq!(names(&kubeconfig), wanted);
    let value: Ended = client(&kubeconfig, &["get", "configmap", "kept", "-o", "json"]).output().unwrap().into();
    assert_eq!(serde_json::from_str::<Value>(&value.ok()).unwrap()["data"]["a"], json!("c"));
    node.down();
}

/// Writes a certificate authority, and a certificate and key that it signed, into `folder`.
fn keys(folder: &Path) -> [String; 3] {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = KeyPair::generate().unwrap();
    let ca = params.self_signed(&authority).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let issued = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = issued.signed_by(&key, &Issuer::new(params, authority)).unwrap().pem();
    let files = [("ca.pem", ca), ("cert.pem", certificate), ("key.pem", key.serialize_pem())];
    files.map(|(name, pem)| {
        std::fs::write(folder.join(name), pem).unwrap();
        path(folder, name)
    })
}

#[test]
fn certificates_are_given_as_to_etcd_and_etcdctl() {
    let folder = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = keys(folder.path());
    let endpoint = format!("https://127.0.0.1:{}", free_port());
    let mut command = skiff();
    command.args(["store", "serve", "--listen-client-urls", &endpoint, "--data-dir", &path(folder.path(), "data")]);
    command.args(["--cert-file", &certificate, "--key-file", &key, "--trusted-ca-file", &ca, "--client-cert-auth"]);
    let _serving = Follower::start(command);
    let known = ["--endpoints", &endpoint, "--cacert", &ca, "--cert", &certificate, "--key", &key];
    let look = eventually("the store answers", || {
        let ended = store(&[&["top", "--once", "-o", "json"], &known[..]].concat());
        if ended.code == 0 { Ok(ended.out) } else { Err(ended) }
    });
    assert_eq!(serde_json::from_str::<Value>(&look).unwrap()["watchers"], json!(0), "over TLS too");
    let unknown = store(&["top", "--once", "--endpoints", &endpoint, "--cacert", &ca]).refused();
    assert!(unknown.contains(&endpoint), "{unknown}");
    let etcd =
        ["--etcd-servers", &endpoint, "--etcd-cafile", &ca, "--etcd-certfile", &certificate, "--etcd-keyfile", &key];
    let (_server, kubeconfig) = api_server(&folder.path().join("api"), &etcd);
    assert_eq!(names(&kubeconfig), Vec::<String>::new());
    let copied = told(&[&["copy", &endpoint, &path(folder.path(), "copy")], &known[2..]].concat());
    assert!(copied["totalKey"].as_u64() > Some(0), "{copied}");
}

/// Fault S6: a shell's soft limit of open files is no limit for a server.
#[test]
fn more_clients_are_served_than_the_soft_limit_admits() {
    const CLIENTS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let (port, data) = (free_port(), path(folder.path(), "data"));
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 100; exec \"$0\" \"$@\""]).arg(skiff().get_program());
    command.args(["store", "serve", "--listen-client-urls", &endpoint, "--data-dir", &data]);
    let _process = Follower::start(command);
    eventually("the store answers", || TcpStream::connect(("127.0.0.1", port)).map(drop));
    let clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    for mut client in clients.iter().rev() {
        client.write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = [0; 15];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
}
