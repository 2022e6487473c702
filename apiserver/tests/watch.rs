//! Watches, as kube's watcher and as raw lines.

mod common;

use common::World;
use futures::{Stream, StreamExt, TryStreamExt};
use http::StatusCode;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use serde_json::{Value, json};
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

async fn lines(world: &World, path: &str) -> impl Stream<Item = Value> + Unpin + use<> {
    lines_as(world, path, "application/json").await
}

async fn lines_as(world: &World, path: &str, accept: &str) -> impl Stream<Item = Value> + Unpin + use<> {
    let mut request = common::request("GET", path, "", "");
    request.headers_mut().insert("accept", accept.parse().expect("a header"));
    let response = tower::ServiceExt::oneshot(world.server.router(), request).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::OK);
    let reader =
        tokio_util::io::StreamReader::new(response.into_body().into_data_stream().map_err(std::io::Error::other));
    let lines = tokio_util::codec::FramedRead::new(reader, tokio_util::codec::LinesCodec::new());
    lines.map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).boxed()
}

async fn next(lines: &mut (impl Stream<Item = Value> + Unpin)) -> Value {
    timeout(Duration::from_secs(10), lines.next()).await.expect("an event in time").expect("an event")
}

fn summary(event: &Value) -> String {
    format!(
        "{} {}",
        event["type"].as_str().expect("a type"),
        event["object"]["metadata"]["name"].as_str().unwrap_or("-")
    )
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn labelled(name: &str, tier: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"tier": tier}}})
}

#[tokio::test]
async fn a_selection_turns_changes_into_comings_and_goings() {
    let world = World::new().await;
    world.must("POST", CONFIG_MAPS, &labelled("a", "x")).await;
    let mut events = lines(&world, &format!("{CONFIG_MAPS}?watch=true&labelSelector=tier%3Dx")).await;
    assert_eq!(summary(&next(&mut events).await), "ADDED a");
    world.must("POST", CONFIG_MAPS, &labelled("b", "y")).await;
    world.must("PUT", &format!("{CONFIG_MAPS}/b"), &labelled("b", "x")).await;
    assert_eq!(summary(&next(&mut events).await), "ADDED b");
    let mut changed = labelled("b", "x");
    changed["data"] = json!({"k": "v"});
    world.must("PUT", &format!("{CONFIG_MAPS}/b"), &changed).await;
    assert_eq!(summary(&next(&mut events).await), "MODIFIED b");
    let left = world.must("PUT", &format!("{CONFIG_MAPS}/b"), &labelled("b", "y")).await;
    let event = next(&mut events).await;
    assert_eq!(summary(&event), "DELETED b");
    assert_eq!(event["object"]["metadata"]["labels"]["tier"], "x", "as it last was");
    assert_eq!(event["object"]["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
    world.must("DELETE", &format!("{CONFIG_MAPS}/a"), &json!({})).await;
    assert_eq!(summary(&next(&mut events).await), "DELETED a");
}

#[tokio::test]
async fn a_watch_continues_after_a_revision_and_ends_in_time() {
    let world = World::new().await;
    let first = world.must("POST", CONFIG_MAPS, &labelled("a", "x")).await;
    world.must("POST", CONFIG_MAPS, &labelled("b", "x")).await;
    world.must("POST", CONFIG_MAPS, &labelled("b-more", "x")).await;
    let revision = first["metadata"]["resourceVersion"].as_str().expect("revision");
    let query =
        format!("{CONFIG_MAPS}?watch=1&resourceVersion={revision}&timeoutSeconds=1&fieldSelector=metadata.name%3Db");
    let events: Vec<Value> =
        timeout(Duration::from_secs(10), lines(&world, &query).await.collect()).await.expect("ends");
    assert_eq!(events.iter().map(summary).collect::<Vec<_>>(), ["ADDED b"]);
}

#[tokio::test]
async fn the_present_state_ends_with_a_bookmark_if_asked() {
    let world = World::new().await;
    world.must("POST", CONFIG_MAPS, &labelled("a", "x")).await;
    let query = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = lines(&world, &format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(summary(&next(&mut events).await), "ADDED a");
    let bookmark = next(&mut events).await;
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let (code, _) = world.get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true")).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn tables_show_their_columns_once() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.must("POST", CONFIG_MAPS, &labelled(name, "x")).await;
    }
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut events = lines_as(&world, &format!("{CONFIG_MAPS}?watch=true"), accept).await;
    let (first, second) = (next(&mut events).await, next(&mut events).await);
    assert_eq!(first["object"]["kind"], "Table");
    assert!(first["object"]["columnDefinitions"].as_array().is_some_and(|columns| columns.len() >= 2), "{first}");
    assert!(second["object"]["columnDefinitions"].as_array().is_none_or(Vec::is_empty), "{second}");
    assert_eq!(second["object"]["rows"][0]["object"]["metadata"]["name"], "b");
}

#[tokio::test]
async fn kube_clients_create_patch_watch_and_delete() {
    let world = World::new().await;
    let pods: Api<Pod> = Api::namespaced(world.client(), "default");
    let pod: Pod = serde_json::from_value(json!({"metadata": {"generateName": "web-"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}))
    .expect("a pod");
    let created = pods.create(&PostParams::default(), &pod).await.expect("created");
    let name = created.metadata.name.clone().expect("a name");
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    let list = pods.list(&ListParams::default()).await.expect("listed");
    assert_eq!(list.items.len(), 1);
    let mut events = pin!(
        pods.watch(&WatchParams::default(), &list.metadata.resource_version.expect("revision")).await.expect("watch")
    );
    let patch = Patch::Merge(json!({"status": {"phase": "Running"}}));
    pods.patch_status(&name, &PatchParams::default(), &patch).await.expect("patched");
    let event = timeout(Duration::from_secs(10), events.try_next()).await.expect("in time").expect("sound");
    let Some(WatchEvent::Modified(pod)) = event else { panic!("{event:?}") };
    assert_eq!(pod.status.and_then(|status| status.phase).as_deref(), Some("Running"));
    pods.delete(&name, &DeleteParams::default()).await.expect("deleted");
    let event = timeout(Duration::from_secs(10), events.try_next()).await.expect("in time").expect("sound");
    assert!(matches!(event, Some(WatchEvent::Deleted(_))), "{event:?}");
}

#[tokio::test]
async fn kube_watchers_follow_lists_and_streams() {
    for strategy in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let world = World::new().await;
        let maps: Api<ConfigMap> = Api::namespaced(world.client(), "default");
        let map = |name: &str| ConfigMap {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..ConfigMap::default()
        };
        maps.create(&PostParams::default(), &map("a")).await.expect("created");
        let mut events = pin!(watcher(maps.clone(), strategy));
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let event = timeout(Duration::from_secs(10), events.try_next()).await.expect("in time").expect("sound");
            match event.expect("goes on") {
                watcher::Event::InitApply(map) | watcher::Event::Apply(map) => seen.extend(map.metadata.name),
                watcher::Event::InitDone => {
                    drop(maps.create(&PostParams::default(), &map("b")).await.expect("created"))
                }
                _ => {}
            }
        }
        assert_eq!(seen, ["a", "b"]);
    }
}

#[tokio::test]
async fn a_stop_ends_open_watches_within_a_second() {
    let mut world = World::new().await;
    let (shutdown, served) = world.serve();
    let client = skiff_client::from_kubeconfig(&world.kubeconfig()).await.expect("client");
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let mut events = pin!(maps.watch(&WatchParams::default(), "0").await.expect("watch"));
    maps.create(&PostParams::default(), &serde_json::from_value(labelled("a", "x")).expect("a map"))
        .await
        .expect("created");
    assert!(timeout(Duration::from_secs(10), events.try_next()).await.expect("in time").expect("sound").is_some());
    shutdown.cancel();
    // Generous for a loaded machine; the server itself cuts connections after 0.7 s.
    timeout(Duration::from_secs(5), served).await.expect("stops").expect("served");
    while let Ok(Some(_)) = timeout(Duration::from_secs(5), events.try_next()).await.expect("ends") {}
}
