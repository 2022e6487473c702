//! Replication between registries: ours, and Docker's where it is installed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use serde_json::{Value, json};
use skiff_distribution::{AuthFile, Registries};
use skiff_registry::replicate::Replication;
use skiff_registry::{Registry, Replicator, replicate, serve};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{INDEX, MANIFEST, Said, ask, image, open, push, sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A registry that listens.
async fn listening(folder: &Path, stop: &CancellationToken) -> (Arc<Registry>, String) {
    let registry = open(folder);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve(listener, None, registry.clone(), stop.clone()));
    (registry, address)
}

fn begin(registry: &Arc<Registry>, rule: Value, stop: &CancellationToken) {
    let rule: Replication = serde_json::from_value(rule).unwrap();
    rule.check().unwrap();
    let by = Replicator::new(rule, None, Registries::new(None, AuthFile::default()));
    tokio::spawn(replicate(registry.clone(), by, stop.clone()));
}

/// Waits until something is there.
async fn comes(registry: &Arc<Registry>, request: &str) -> Said {
    for _ in 0..600 {
        let said = ask(registry, request, &[], "").await;
        if said.status == 200 {
            return said;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{request} does not come");
}

/// An index of an image that is there, with a signature of the image.
async fn push_index(registry: &Arc<Registry>, name: &str, tag: &str) -> (String, String) {
    let digest = push(registry, name, "part", "one").await;
    let size = image("{}", "one").to_string().len();
    let listed = json!({"mediaType": MANIFEST, "digest": digest.as_str(), "size": size});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]}).to_string();
    let as_index = format!("content-type: {INDEX}");
    ask(registry, &format!("PUT /v2/{name}/manifests/{tag}"), &[&as_index], index.clone()).await.is(201);
    let mut signature = image("{}", "one");
    signature["subject"] = json!({"mediaType": MANIFEST, "digest": digest.as_str(), "size": size});
    signature["artifactType"] = "application/x-signature".into();
    let signature = signature.to_string();
    let as_manifest = format!("content-type: {MANIFEST}");
    let target = format!("PUT /v2/{name}/manifests/{}", sha256(&signature));
    ask(registry, &target, &[&as_manifest], signature).await.is(201);
    (index, digest.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_goes_to_the_other_registry() {
    let (dir, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let here = open(&dir.path().join("here"));
    let (there, address) = listening(&dir.path().join("there"), &stop).await;
    push(&here, "team/old", "v1", "before").await;
    let rule = json!({"registry": address, "repositories": ["team/*"], "tags": ["v*"], "prefix": "mirror/"});
    begin(&here, rule, &stop);
    comes(&there, "GET /v2/mirror/team/old/manifests/v1").await;
    let (index, part) = push_index(&here, "team/app", "v2").await;
    push(&here, "other/app", "v1", "other").await;
    assert_eq!(comes(&there, "GET /v2/mirror/team/app/manifests/v2").await.body, index);
    let referrers = format!("/v2/mirror/team/app/referrers/{part}");
    comes(&there, &format!("GET /v2/mirror/team/app/manifests/{part}")).await;
    for _ in 0..600 {
        let listed = ask(&there, &format!("GET {referrers}"), &[], "").await.is(200).json();
        if listed["manifests"][0]["artifactType"] == "application/x-signature" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let listed = ask(&there, &format!("GET {referrers}"), &[], "").await.is(200).json();
    assert_eq!(listed["manifests"][0]["artifactType"], "application/x-signature");
    // A tag that moves moves there.
    push(&here, "team/old", "v1", "after").await;
    let moved = image("{}", "after").to_string();
    for _ in 0..600 {
        if ask(&there, "GET /v2/mirror/team/old/manifests/v1", &[], "").await.is(200).body == moved {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&there, "GET /v2/mirror/team/old/manifests/v1", &[], "").await.body, moved);
    ask(&there, "GET /v2/mirror/team/app/manifests/part", &[], "").await.is(404);
    ask(&there, "GET /v2/mirror/other/app/manifests/v1", &[], "").await.is(404);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_comes_here() {
    let (dir, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let here = open(&dir.path().join("here"));
    let (there, address) = listening(&dir.path().join("there"), &stop).await;
    let (index, part) = push_index(&there, "team/app", "v2").await;
    let rule = json!({"registry": address, "direction": "pull", "repositories": ["team/app"], "tags": ["v*"], "everySeconds": 1});
    begin(&here, rule, &stop);
    assert_eq!(comes(&here, "GET /v2/team/app/manifests/v2").await.body, index);
    comes(&here, &format!("GET /v2/team/app/manifests/{part}")).await;
    assert_eq!(comes(&here, &format!("GET /v2/team/app/blobs/{}", sha256("one"))).await.body, "one");
    ask(&here, "GET /v2/team/app/manifests/part", &[], "").await.is(404);
    push(&there, "team/app", "v3", "two").await;
    assert_eq!(comes(&here, "GET /v2/team/app/manifests/v3").await.body, image("{}", "two").to_string());
    stop.cancel();
}
