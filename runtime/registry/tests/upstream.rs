//! A registry that is a cache of another one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use skiff_distribution::{AuthFile, Registries};
use skiff_registry::{Registry, Store, Terms, Upstream, Upstreams, serve};
use skiff_step::Engine;
use std::path::Path;
use std::sync::Arc;
use support::{ask, image, open, push, sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A registry that listens, and how it stops.
async fn listening(folder: &Path) -> (Arc<Registry>, String, CancellationToken) {
    let registry = open(folder);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, None, registry.clone(), stop.clone()));
    (registry, address, stop)
}

fn cache(folder: &Path, registry: &str, tag_ttl_seconds: u64) -> Arc<Registry> {
    let upstream =
        Upstream { prefix: "hub/".to_owned(), registry: registry.to_owned(), tag_ttl_seconds, ..Upstream::default() };
    let upstreams = Upstreams::new(vec![(upstream, None)], Registries::new(None, AuthFile::default()));
    let terms = Terms { upstreams: Some(upstreams), ..Terms::default() };
    Arc::new(Registry::new(Store::open(folder, Engine::off()).unwrap(), terms))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pulled_is_kept_and_serves_when_nobody_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (there, address, stop) = listening(&dir.path().join("there")).await;
    push(&there, "team/app", "v1", "one").await;
    let (manifest, layer) = (image("{}", "one").to_string(), sha256("one"));
    let here = cache(&dir.path().join("here"), &address, 0);
    let tag = "GET /v2/hub/team/app/manifests/v1";
    assert_eq!(ask(&here, tag, &[], "").await.is(200).body, manifest);
    let blob = format!("GET /v2/hub/team/app/blobs/{layer}");
    let all = futures(&here, &blob).await;
    assert!(all.iter().all(|body| body == "one"), "{all:?}");
    ask(&here, "GET /v2/hub/team/app/manifests/none", &[], "").await.refuses(404, "MANIFEST_UNKNOWN");
    ask(&here, "POST /v2/hub/team/app/blobs/uploads/", &[], "").await.refuses(405, "UNSUPPORTED");
    ask(&here, "POST /v2/own/app/blobs/uploads/", &[], "").await.is(202);
    // Whoever answers is believed.
    push(&there, "team/app", "v1", "two").await;
    let newer = image("{}", "two").to_string();
    assert_eq!(ask(&here, tag, &[], "").await.is(200).body, newer);
    stop.cancel();
    drop(there);
    let gone = cache_again(here, &dir.path().join("here")).await;
    assert_eq!(ask(&gone, tag, &[], "").await.is(200).body, newer, "what is kept serves");
    assert_eq!(ask(&gone, &blob, &[], "").await.is(200).body, "one");
    assert_eq!(ask(&gone, "GET /v2/hub/team/app/manifests/v2", &[], "").await.is(502).code(), "UNKNOWN");
    let two = format!("GET /v2/hub/team/app/blobs/{}", sha256("two"));
    ask(&gone, &two, &[], "").await.is(502);
}

/// Eight at once.
async fn futures(registry: &Arc<Registry>, request: &str) -> Vec<bytes::Bytes> {
    let mut all = Vec::new();
    for _ in 0..8 {
        let (registry, request) = (registry.clone(), request.to_owned());
        all.push(tokio::spawn(async move { ask(&registry, &request, &[], "").await.is(200).body }));
    }
    let mut bodies = Vec::new();
    for one in all {
        bodies.push(one.await.unwrap());
    }
    bodies
}

/// The cache started again, whose other registry is not there: port 1 is nobody's.
async fn cache_again(here: Arc<Registry>, folder: &Path) -> Arc<Registry> {
    // Connections that are open hold nothing of the folder.
    drop(here);
    cache(folder, "127.0.0.1:1", 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_not_asked_for_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (there, address, _stop) = listening(&dir.path().join("there")).await;
    push(&there, "team/app", "v1", "one").await;
    let manifest = image("{}", "one").to_string();
    let here = cache(&dir.path().join("here"), &address, 3600);
    let tag = "GET /v2/hub/team/app/manifests/v1";
    assert_eq!(ask(&here, tag, &[], "").await.is(200).body, manifest);
    push(&there, "team/app", "v1", "two").await;
    assert_eq!(ask(&here, tag, &[], "").await.is(200).body, manifest);
}
