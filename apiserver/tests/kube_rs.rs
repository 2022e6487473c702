//! kube-rs as those use it who write controllers: watcher, reflector, Controller, finalizer, server-side apply.

mod common;

use common::World;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{Event as Finalizer, finalizer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, predicates, reflector};
use kube::{Client, Resource, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything here takes, on however slow a machine.
const BOUNDED: Duration = Duration::from_secs(60);
const CLEANUP: &str = "example.com/cleanup";

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "default")
}

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), "default")
}

fn map(name: &str, data: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("a".to_owned(), data.to_owned())])),
        ..ConfigMap::default()
    }
}

/// Waits until `done` says so.
async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(BOUNDED, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Both ways to begin: a list and then a watch, or a watch that sends what is there first.
#[tokio::test]
async fn a_watcher_sees_what_is_there_and_what_happens() {
    let world = World::new().await;
    let client = world.client();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let maps = maps(&client);
        maps.create(&PostParams::default(), &map("there", "1")).await.expect("made");
        let mut events = watcher(maps.clone(), config).boxed();
        let mut next =
            async || tokio::time::timeout(BOUNDED, events.try_next()).await.expect("an event").expect("sound");
        assert!(matches!(next().await, Some(Event::Init)));
        assert!(matches!(next().await, Some(Event::InitApply(map)) if map.name_any() == "there"));
        assert!(matches!(next().await, Some(Event::InitDone)));
        maps.create(&PostParams::default(), &map("later", "1")).await.expect("made");
        assert!(matches!(next().await, Some(Event::Apply(map)) if map.name_any() == "later"));
        for name in ["there", "later"] {
            maps.delete(name, &DeleteParams::default()).await.expect("deleted");
            assert!(matches!(next().await, Some(Event::Delete(map)) if map.name_any() == name));
        }
    }
}

#[tokio::test]
async fn a_reflector_keeps_what_is_there() {
    let world = World::new().await;
    let client = world.client();
    let (reader, writer) = reflector::store();
    let changed = watcher(maps(&client), watcher::Config::default().labels("tier=back"));
    let changed = reflector::reflector(writer, changed).default_backoff().applied_objects();
    let changed = changed.predicate_filter(predicates::resource_version, Default::default());
    let following = tokio::spawn(changed.for_each(|_| async {}));
    let labelled = PatchParams::apply("test");
    for (name, tier) in [("x", "back"), ("y", "front")] {
        let text = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"tier": tier}}});
        maps(&client).patch(name, &labelled, &Patch::Apply(&text)).await.expect("applied");
    }
    let names = || reader.state().iter().map(|map| map.name_any()).collect::<Vec<_>>();
    until("the map is in the store", || async { names() == ["x"] }).await;
    let moved = serde_json::json!({"metadata": {"labels": {"tier": "front"}}});
    maps(&client).patch("x", &PatchParams::default(), &Patch::Merge(&moved)).await.expect("patched");
    until("a map that no longer matches is gone", || async { names().is_empty() }).await;
    following.abort();
}

/// What a manager has applied belongs to it, until somebody else takes it by force.
#[tokio::test]
async fn managers_own_what_they_applied() {
    let world = World::new().await;
    let maps = maps(&world.client());
    let apply = async |manager: &str, data: &str, force: bool| {
        let parameters = PatchParams { force, ..PatchParams::apply(manager) };
        let text = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": data}});
        maps.patch("m", &parameters, &Patch::Apply(&text)).await
    };
    apply("one", "1", false).await.expect("made");
    let Err(kube::Error::Api(status)) = apply("two", "2", false).await else { panic!("no conflict") };
    assert!(status.is_conflict() && status.message.contains("conflict with \"one\": .data.a"), "{status:?}");
    let taken = apply("two", "2", true).await.expect("taken");
    let managers =
        |map: &ConfigMap| map.managed_fields().iter().filter_map(|field| field.manager.clone()).collect::<Vec<_>>();
    assert_eq!((managers(&taken), taken.resource_version()), (vec!["two".to_owned()], taken.resource_version()));
    let again = apply("two", "2", false).await.expect("the same again");
    assert_eq!(again.resource_version(), taken.resource_version());
}

/// The child of a map: a secret with its data.
async fn reconcile(parent: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let api = maps(&client);
    let outcome = finalizer(&api, CLEANUP, parent, async |event| match event {
        Finalizer::Apply(parent) => {
            let owner = parent.controller_owner_ref(&()).expect("it is stored");
            let child = serde_json::json!({"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": parent.name_any(), "ownerReferences": [owner]}, "stringData": parent.data});
            let (secrets, owner) = (secrets(&client), PatchParams::apply("owner").force());
            secrets.patch(&parent.name_any(), &owner, &Patch::Apply(&child)).await.map(|_| Action::await_change())
        }
        Finalizer::Cleanup(parent) => {
            let deleted = secrets(&client).delete(&parent.name_any(), &DeleteParams::default()).await;
            deleted.map(|_| Action::await_change())
        }
    });
    outcome.await.map_err(|error| kube::Error::Service(Box::new(error)))
}

#[tokio::test]
async fn a_controller_makes_what_is_missing_and_cleans_up() {
    let world = World::new().await;
    let client = world.client();
    let selected = watcher::Config::default().labels("reconcile=yes");
    let controller = Controller::new(maps(&client), selected).owns(secrets(&client), watcher::Config::default());
    let again = |_: Arc<ConfigMap>, error: &kube::Error, _: Arc<Client>| {
        eprintln!("reconciled again: {error}");
        Action::requeue(Duration::from_millis(20))
    };
    let running = controller.run(reconcile, again, Arc::new(client.clone())).for_each(|_| async {});
    let running = tokio::spawn(running);
    let (maps, secrets) = (maps(&client), secrets(&client));
    let mut parent = map("parent", "1");
    parent.labels_mut().insert("reconcile".to_owned(), "yes".to_owned());
    maps.create(&PostParams::default(), &parent).await.expect("made");
    let holds = async |wanted: &str| {
        let child = secrets.get_opt("parent").await.expect("read").and_then(|secret| secret.data);
        child.is_some_and(|data| data.get("a").is_some_and(|bytes| bytes.0 == wanted.as_bytes()))
    };
    until("the child is there", || holds("1")).await;
    secrets.delete("parent", &DeleteParams::default()).await.expect("deleted");
    until("the child is there again", || holds("1")).await;
    let changed = serde_json::json!({"data": {"a": "2"}});
    maps.patch("parent", &PatchParams::default(), &Patch::Merge(&changed)).await.expect("patched");
    until("the child has changed", || holds("2")).await;
    maps.delete("parent", &DeleteParams::default()).await.expect("marked");
    until("both are gone", async || {
        let all = ListParams::default().labels("reconcile=yes");
        maps.list(&all).await.expect("a list").items.is_empty()
            && secrets.get_opt("parent").await.expect("read").is_none()
    })
    .await;
    running.abort();
}
