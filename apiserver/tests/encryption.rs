//! What is stored is encrypted: as a real kube-apiserver does it, and nothing of it shows anywhere on disk.
//!
//! `encryption/values.txt` holds values that kube-apiserver 1.36.2 wrote under `encryption/providers.yaml`.

#![allow(clippy::unwrap_used)]

mod common;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use common::{NODE_PORTS, World};
use http::StatusCode;
use serde_json::{Value, json};
use skiff_apiserver::{ApiServer, Encryption, encrypted};
use skiff_store::backend::{Backend, ListRange};
use skiff_store::etcd::{Remote, RemoteOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/encryption");
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// The store of `world` through a configuration, and a server on it.
async fn through(world: &World, file: &Path) -> (Arc<dyn Backend>, ApiServer, CancellationToken) {
    let until = CancellationToken::new();
    let backend = encrypted(world.store.backend(), Encryption::own(file).unwrap(), until.clone()).await;
    let server = world.another(Arc::clone(&backend), NODE_PORTS).await;
    (backend, server, until)
}

async fn ask(server: &ApiServer, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    common::send(server.router(), common::request(method, path, "application/json", &text)).await
}

async fn raw(world: &World, name: &str) -> Vec<u8> {
    let key = format!("/registry/secrets/default/{name}");
    world.store.backend().get(key.into()).await.unwrap().entry.unwrap().value.to_vec()
}

fn providers(folder: &Path, providers: &Value) -> PathBuf {
    let path = folder.join("providers.json");
    let file = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": providers}],
    });
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

fn keys(names: &[&str]) -> Value {
    let key = |name: &&str| json!({"name": name, "secret": BASE64.encode([name.as_bytes()[0]; 32])});
    json!({"keys": names.iter().map(key).collect::<Vec<_>>()})
}

/// Waits until `holds`, for ten seconds at most.
async fn soon<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..1000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn values_of_a_real_server_are_read() {
    let world = World::new().await;
    let until = CancellationToken::new();
    let encryption = Encryption::read(&Path::new(HERE).join("providers.yaml")).unwrap();
    let values = std::fs::read_to_string(Path::new(HERE).join("values.txt")).unwrap();
    let values: Vec<(&str, Vec<u8>)> = values
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').map(|(key, value)| (key, BASE64.decode(value).unwrap())).unwrap())
        .collect();
    let store = world.store.backend();
    let plain = encrypted(Arc::clone(&store), encryption, until.clone()).await;
    for (key, value) in &values {
        store.put(Bytes::copy_from_slice(key.as_bytes()), value.clone().into(), 0, 0).await.unwrap();
        let entry = plain.get(Bytes::copy_from_slice(key.as_bytes())).await.unwrap().entry.unwrap();
        assert!(entry.value.starts_with(b"k8s\0"), "{key}");
        assert!(entry.value.windows(14).any(|part| part == b"planted-secret"), "{key}");
    }
    assert_eq!(values.len(), 5);
    until.cancel();
}

#[tokio::test]
async fn secrets_are_encrypted_and_what_was_there_before_is_too() {
    let world = World::new().await;
    world.must("POST", SECRETS, &json!({"metadata": {"name": "before"}, "stringData": {"a": "planted"}})).await;
    assert!(raw(&world, "before").await.starts_with(b"{"), "nothing is encrypted yet");
    let (_backend, server, until) = through(&world, &world.folder.path().join("encryption.yaml")).await;
    let new = json!({"metadata": {"name": "new"}, "stringData": {"a": "planted"}});
    assert_eq!(ask(&server, "POST", SECRETS, &new).await.0, StatusCode::CREATED);
    assert!(raw(&world, "new").await.starts_with(b"k8s:enc:aesgcm:v1:key1:"));
    soon("what was there before is encrypted", || async { raw(&world, "before").await.starts_with(b"k8s:enc:") }).await;
    for name in ["before", "new"] {
        let (code, answer) = ask(&server, "GET", &format!("{SECRETS}/{name}"), &Value::Null).await;
        assert_eq!((code, &answer["data"]["a"]), (StatusCode::OK, &json!(BASE64.encode("planted"))), "{answer}");
    }
    let patch = json!({"stringData": {"b": "planted"}});
    let request =
        common::request("PATCH", &format!("{SECRETS}/new"), "application/merge-patch+json", &patch.to_string());
    assert_eq!(common::send(server.router(), request).await.0, StatusCode::OK);
    let (_, list) = ask(&server, "GET", "/api/v1/secrets", &Value::Null).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2), "{list}");
    until.cancel();
}

/// Fault of many stores: a ciphertext copied onto another key would give one tenant the secrets of another.
#[tokio::test]
async fn a_value_that_was_moved_or_damaged_is_named_and_nothing_else_suffers() {
    let world = World::new().await;
    let (_backend, server, until) = through(&world, &world.folder.path().join("encryption.yaml")).await;
    for name in ["one", "two"] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"a": name}});
        assert_eq!(ask(&server, "POST", SECRETS, &secret).await.0, StatusCode::CREATED);
    }
    let store = world.store.backend();
    let key = Bytes::from_static(b"/registry/secrets/default/two");
    let entry = store.get(key.clone()).await.unwrap().entry.unwrap();
    store.put(key, raw(&world, "one").await.into(), entry.mod_revision, 0).await.unwrap();
    let (code, answer) = ask(&server, "GET", &format!("{SECRETS}/two"), &Value::Null).await;
    assert_eq!((code, &answer["reason"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("InternalError")));
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains("unable to transform key \"/registry/secrets/default/two\"")
            && message.contains("another object"),
        "{message}"
    );
    assert_eq!(ask(&server, "GET", &format!("{SECRETS}/one"), &Value::Null).await.0, StatusCode::OK);
    assert_eq!(ask(&server, "GET", "/api/v1/configmaps", &Value::Null).await.0, StatusCode::OK);
    until.cancel();
}

#[tokio::test]
async fn keys_are_changed_while_the_server_runs() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = providers(folder.path(), &json!([{"aesgcm": keys(&["a"])}]));
    let (_backend, server, until) = through(&world, &file).await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "planted"}});
    assert_eq!(ask(&server, "POST", SECRETS, &secret).await.0, StatusCode::CREATED);
    for (providers_then, prefix) in [
        (json!([{"aesgcm": keys(&["a", "b"])}]), "k8s:enc:aesgcm:v1:a:"),
        (json!([{"aesgcm": keys(&["b", "a"])}]), "k8s:enc:aesgcm:v1:b:"),
        (json!([{"secretbox": keys(&["c"])}, {"aesgcm": keys(&["b"])}]), "k8s:enc:secretbox:v1:c:"),
        (json!([{"identity": {}}, {"secretbox": keys(&["c"])}]), "{"),
    ] {
        providers(folder.path(), &providers_then);
        soon(prefix, || async { raw(&world, "s").await.starts_with(prefix.as_bytes()) }).await;
        let (code, answer) = ask(&server, "GET", &format!("{SECRETS}/s"), &Value::Null).await;
        assert_eq!(
            (code, &answer["data"]["a"]),
            (StatusCode::OK, &json!(BASE64.encode("planted"))),
            "{prefix}: {answer}"
        );
    }
    until.cancel();
}

/// Everything below a folder, in one text of bytes.
fn everything(folder: &Path, found: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            everything(&path, found);
        } else {
            found.extend(std::fs::read(&path).unwrap());
        }
    }
}

/// 100 secrets, written, read, changed, watched and deleted; none of what they hold is anywhere in the data folder.
#[tokio::test]
async fn planted_secrets_are_nowhere_on_disk() {
    let world = World::new().await;
    let (backend, server, until) = through(&world, &world.folder.path().join("encryption.yaml")).await;
    let marks: Vec<String> = (0..100).map(|at| format!("planted-{at:03}-{:08x}", std::process::id())).collect();
    let watch = common::request("GET", "/api/v1/secrets?watch=true", "", "");
    let watched = tower::ServiceExt::oneshot(server.router(), watch).await.unwrap();
    for (at, mark) in marks.iter().enumerate() {
        let name = format!("s{at}");
        let secret = json!({"metadata": {"name": name}, "stringData": {"a": mark}});
        assert_eq!(ask(&server, "POST", SECRETS, &secret).await.0, StatusCode::CREATED);
        let patch = json!({"stringData": {"b": format!("{mark}-again")}}).to_string();
        let request = common::request("PATCH", &format!("{SECRETS}/{name}"), "application/merge-patch+json", &patch);
        assert_eq!(common::send(server.router(), request).await.0, StatusCode::OK);
        if at % 3 == 0 {
            assert_eq!(ask(&server, "DELETE", &format!("{SECRETS}/{name}"), &Value::Null).await.0, StatusCode::OK);
        }
    }
    drop(watched);
    let range = ListRange { prefix: Bytes::from_static(b"/registry/secrets/"), from: None, limit: 0, revision: 0 };
    let plain = backend.list(range).await.unwrap().entries;
    assert_eq!(plain.len(), 66);
    let mut disk = Vec::new();
    everything(world.folder.path(), &mut disk);
    assert!(disk.windows(8).any(|part| part == b"k8s:enc:"), "the store is below this folder");
    let text = String::from_utf8_lossy(&disk);
    for mark in &marks {
        assert!(!text.contains(mark.as_str()), "{mark} stands in plain");
        // Three places that the beginning of a text can have in base64.
        for shift in 0..3 {
            let shifted = BASE64.encode([&vec![b' '; shift][..], mark.as_bytes()].concat());
            let inside = &shifted[4 * usize::from(shift > 0)..shifted.len() - 4];
            assert!(!text.contains(inside), "{mark} stands in base64");
        }
    }
    until.cancel();
}

/// With `SKIFF_TRUTH_ETCD` (an etcd) and `SKIFF_TRUTH` (a kubeconfig of the kube-apiserver on it, which has `providers.yaml` and stores JSON):
/// each server reads what the other has written.
#[tokio::test]
async fn a_real_server_shares_the_store() {
    let (Ok(etcd), Ok(kubeconfig)) = (std::env::var("SKIFF_TRUTH_ETCD"), std::env::var("SKIFF_TRUTH")) else {
        return skiff_harness::skip("SKIFF_TRUTH_ETCD and SKIFF_TRUTH name no kube-apiserver with a store to share");
    };
    let world = World::new().await;
    let request_timeout = Duration::from_secs(10);
    let options = RemoteOptions { endpoints: vec![etcd], tls: None, request_timeout };
    let store: Arc<dyn Backend> = Arc::new(Remote::open(&options).await.unwrap());
    let encryption = Encryption::read(&Path::new(HERE).join("providers.yaml")).unwrap();
    let until = CancellationToken::new();
    let backend = encrypted(Arc::clone(&store), encryption, until.clone()).await;
    let server = world.another(backend, NODE_PORTS).await;
    let theirs = skiff_client::from_kubeconfig(Path::new(&kubeconfig)).await.unwrap();
    let real = async |request: http::Request<Vec<u8>>| theirs.request::<Value>(request).await;
    for (kind, path, prefix) in [
        ("secrets", "/api/v1/namespaces/default/secrets", "k8s:enc:aesgcm:v1:long:"),
        ("configmaps", "/api/v1/namespaces/default/configmaps", "k8s:enc:aescbc:v1:chained:"),
        ("serviceaccounts", "/api/v1/namespaces/default/serviceaccounts", "k8s:enc:secretbox:v1:boxed:"),
        ("limitranges", "/api/v1/namespaces/default/limitranges", "k8s:enc:aesgcm:v1:short:"),
    ] {
        let name = format!("here-{}", std::process::id());
        let made = json!({"metadata": {"name": name, "annotations": {"mark": "ours"}}, "spec": {"limits": []}});
        let (code, answer) = ask(&server, "POST", &format!("{path}?fieldValidation=Ignore"), &made).await;
        assert_eq!(code, StatusCode::CREATED, "{answer}");
        let key = format!("/registry/{kind}/default/{name}");
        let stored = store.get(key.into()).await.unwrap().entry.unwrap().value;
        assert!(stored.starts_with(prefix.as_bytes()), "{kind}");
        let get = http::Request::get(format!("{path}/{name}")).body(Vec::new()).unwrap();
        assert_eq!(real(get).await.unwrap()["metadata"]["annotations"]["mark"], "ours", "{kind}");
        let patch =
            http::Request::patch(format!("{path}/{name}")).header("content-type", "application/merge-patch+json");
        let change = json!({"metadata": {"annotations": {"mark": "theirs"}}}).to_string().into_bytes();
        real(patch.body(change).unwrap()).await.unwrap();
        let (_, answer) = ask(&server, "GET", &format!("{path}/{name}"), &Value::Null).await;
        assert_eq!(answer["metadata"]["annotations"]["mark"], "theirs", "{kind}: {answer}");
        ask(&server, "DELETE", &format!("{path}/{name}"), &Value::Null).await;
    }
    until.cancel();
}
