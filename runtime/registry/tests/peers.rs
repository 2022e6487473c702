//! podman, buildah, skopeo and containerd push to and pull from a registry of ours and Docker's own, and digests stay what they were.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use serde_json::{Value, json};
use skiff_authn::key::SigningKey;
use skiff_harness::{Peer, eventually, peer};
use skiff_registry::config::Config;
use skiff_registry::htpasswd::{Htpasswd, line};
use skiff_registry::{Login, Registry, Remembered, Store, Terms, Tokens, serve};
use skiff_step::Engine;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use support::*;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A peer, or a line that says that the test is skipped.
fn wanted(test: &str, name: &str) -> Option<Peer> {
    let found = peer(name);
    if found.is_none() {
        println!("SKIPPED: {test}: {name} is not among the peers");
    }
    found
}

fn ok<S: AsRef<std::ffi::OsStr>>(peer: &Peer, words: &[S]) -> String {
    let output = peer.run(words.iter().map(AsRef::as_ref));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", peer.path().display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn listening(registry: Arc<Registry>) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(serve(listener, None, registry, stop.clone()));
    (address, stop.drop_guard())
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// Docker's registry.
fn stock(peer: &Peer, folder: &Path) -> (SocketAddr, Ended) {
    let address = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = folder.join("stock.yml");
    let data = folder.join("stock");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n",
        data.display()
    );
    std::fs::write(&config, text).unwrap();
    let child = peer.command().arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let child = Ended(child);
    drop(eventually("Docker's registry listens", || TcpStream::connect(address)));
    (address, child)
}

/// An OCI layout with one image, tagged `1`; and its digest.
fn layout(folder: &Path) -> (PathBuf, String) {
    let layout = folder.join("layout");
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |kind: &str, bytes: &[u8]| {
        let digest = sha256(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({"mediaType": kind, "digest": digest.as_str(), "size": bytes.len()})
    };
    // An archive of one folder: a head whose checksum is right, and two empty blocks.
    let mut tar = vec![0; 1536];
    tar[..5].copy_from_slice(b"data/");
    for (at, text) in [
        (100, "0000755"),
        (108, "0000000"),
        (116, "0000000"),
        (124, "00000000000"),
        (136, "00000000000"),
        (156, "5"),
        (257, "ustar\x0000"),
    ] {
        tar[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let layer = put("application/vnd.oci.image.layer.v1.tar", &tar);
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let mut manifest = put(MANIFEST, manifest.to_string().as_bytes());
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "1"});
    let digest = manifest["digest"].as_str().unwrap().to_owned();
    std::fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string())
        .unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    (layout, digest)
}

fn digest_of(skopeo: &Peer, image: &str) -> String {
    let said = ok(skopeo, &["inspect", "--tls-verify=false", image]);
    serde_json::from_str::<Value>(&said).unwrap()["Digest"].as_str().unwrap().to_owned()
}

fn copy(skopeo: &Peer, from: &str, to: &str) {
    let words = ["copy", "-q", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", from, to];
    let words: Vec<&str> =
        words.into_iter().filter(|word| !from.starts_with("oci:") || !word.starts_with("--src")).collect();
    ok(skopeo, &words);
}

/// The options with which podman and buildah keep everything in one folder.
fn engine(folder: &Path, name: &str) -> Vec<String> {
    let at = |what: &str| folder.join(format!("{name}.{what}")).display().to_string();
    vec!["--root".into(), at("root"), "--runroot".into(), at("run"), "--storage-driver".into(), "vfs".into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_survive_every_pair_of_registries_and_engines() {
    const TEST: &str = "digests_survive_every_pair_of_registries_and_engines";
    let (Some(skopeo), Some(docker)) = (wanted(TEST, "skopeo-1.18"), wanted(TEST, "docker-registry-2.8")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (ours, _stop) = listening(open(&folder.path().join("ours"))).await;
    let (stock, _child) = stock(&docker, folder.path());
    let (layout, digest) = layout(folder.path());
    let image = |registry: SocketAddr, name: &str| format!("docker://{registry}/{name}:1");
    copy(&skopeo, &format!("oci:{}:1", layout.display()), &image(ours, "a"));
    copy(&skopeo, &image(ours, "a"), &image(stock, "a"));
    copy(&skopeo, &image(stock, "a"), &image(ours, "back"));
    for name in [image(ours, "a"), image(stock, "a"), image(ours, "back")] {
        assert_eq!(digest_of(&skopeo, &name), digest, "{name}");
    }
    for name in ["podman-5.4", "podman-4.3", "buildah-1.39"] {
        let Some(peer) = wanted(TEST, name) else { continue };
        let run = |words: &[&str]| {
            let all: Vec<String> =
                engine(folder.path(), name).into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect();
            ok(&peer, &all)
        };
        // What an engine packs anew has a digest of its own, which has to come through as well.
        let file = folder.path().join(format!("{name}.digest")).display().to_string();
        for (from, to) in [(ours, stock), (stock, ours), (ours, ours)] {
            run(&["pull", "-q", "--tls-verify=false", &format!("{from}/a:1")]);
            let target = image(to, name);
            run(&["push", "-q", "--tls-verify=false", "--digestfile", &file, &format!("{from}/a:1"), &target]);
            let pushed = std::fs::read_to_string(&file).unwrap();
            assert_eq!(digest_of(&skopeo, &target), pushed.trim(), "{name}: {from} to {to}");
            let other = if to == ours { stock } else { ours };
            copy(&skopeo, &target, &image(other, "through"));
            assert_eq!(digest_of(&skopeo, &image(other, "through")), pushed.trim(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_log_in_at_the_token_server() {
    const TEST: &str = "engines_log_in_at_the_token_server";
    let (Some(skopeo), Some(podman)) = (wanted(TEST, "skopeo-1.18"), wanted(TEST, "podman-5.4")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let login = Login {
        passwords: Htpasswd::parse(&line("ann", "secret", [1; 16])).unwrap(),
        tokens: Tokens::from_pem(&SigningKey::generate().unwrap()).unwrap(),
        clusters: vec![],
        review: None,
        realm: None,
        service: None,
        remembered: Remembered::new().unwrap(),
    };
    let config: Config = serde_json::from_value(json!({"repositories": [{"name": "open/*", "public": true}]})).unwrap();
    let terms = Terms { config: Arc::new(config), login: Some(Arc::new(login)), ..Terms::default() };
    let store = Store::open(&folder.path().join("ours"), Engine::off()).unwrap();
    let (ours, _stop) = listening(Arc::new(Registry::new(store, terms))).await;
    let (layout, digest) = layout(folder.path());
    let from = format!("oci:{}:1", layout.display());
    for name in ["open/a", "b"] {
        let to = format!("docker://{ours}/{name}:1");
        let refused = skopeo.run(["copy", "-q", "--dest-tls-verify=false", &from, &to]);
        assert!(!refused.status.success(), "nobody may push");
        ok(
            &skopeo,
            &["copy", "-q", "--preserve-digests", "--dest-tls-verify=false", "--dest-creds", "ann:secret", &from, &to],
        );
    }
    assert_eq!(digest_of(&skopeo, &format!("docker://{ours}/open/a:1")), digest, "anybody may pull");
    let file = folder.path().join("auth.json").display().to_string();
    let run = |words: &[&str]| {
        let all: Vec<String> =
            engine(folder.path(), "podman").into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect();
        podman.run(&all)
    };
    let image = format!("{ours}/b:1");
    let pull = ["pull", "-q", "--tls-verify=false", "--authfile", &file, &image];
    assert!(!run(&["pull", "-q", "--tls-verify=false", &image]).status.success(), "it is private");
    let host = ours.to_string();
    let logged_in = |password: &str| {
        run(&["login", "--tls-verify=false", "--authfile", &file, "-u", "ann", "-p", password, &host]).status.success()
    };
    assert!(!logged_in("wrong"));
    assert!(logged_in("secret"));
    let pulled = run(&pull);
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
}
