//! Watchers over a store whose watches are as late as the test wants, against what its history says that they must see.

mod begun; // watches that begin with the state
mod history; // the store
mod lists; // lists from the state against lists from the store

use super::{KEPT_BYTES_MAX, UNUSED_LOOKS_MAX};
use crate::admission::services::Allocator;
use crate::registry::selector::Selection;
use crate::registry::{Event, EventKind, FormNumber, Registry, WatchOptions, Watcher};
use bytes::Bytes;
use futures::FutureExt;
use history::History;
use proptest::prelude::*;
use serde_json::{Value, json};
use skiff_schema::Resource;
use skiff_store::backend::{Change, Revision};
use std::sync::Arc;

fn pods() -> &'static Arc<Resource> {
    skiff_schema::find("", "v1", "pods").expect("pods are served")
}

fn registry(history: &Arc<History>) -> Registry {
    let services = Allocator::new("10.0.0.0/24".parse().expect("a network"), 30000..=30001);
    Registry::new(Arc::clone(history) as _, skiff_step::Engine::off(), services)
}

fn pod(name: &str, node: &str, padding: usize) -> Value {
    let annotations = json!({"padding": "x".repeat(padding)});
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"annotations": annotations, "labels": {"node": node}, "name": name},
        "spec": {"nodeName": node}})
}

fn options(after: Revision, labels: &str, fields: &str) -> WatchOptions {
    let selection = Selection::parse(pods(), labels, fields).expect("a selector");
    WatchOptions { selection, after, ..WatchOptions::default() }
}

async fn watch(registry: &Registry, after: Revision, fields: &str) -> Watcher {
    registry.watch(pods(), "", options(after, "", fields)).await.expect("watches")
}

/// Lets the tasks do what they can: there is one thread, and nothing takes time.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// What a watcher says until it has nothing more to say: kind, name and revision.
async fn drain(watcher: &mut Watcher) -> Vec<(EventKind, String, Revision)> {
    let mut seen = Vec::new();
    loop {
        settle().await;
        let Some(events) = watcher.next().now_or_never() else { return seen };
        for event in events.expect("goes on") {
            let Event::Object(kind, object) = event else { panic!("{event:?}") };
            let name = object.value().expect("an object")["metadata"]["name"].as_str().expect("a name").to_owned();
            seen.push((kind, name, object.object().revision));
        }
    }
}

/// What the history says that a watcher must see.
fn expected(
    history: &History,
    after: Revision,
    namespace: &str,
    selection: &Selection,
) -> Vec<(EventKind, String, Revision)> {
    let selects = |value: &Bytes| {
        let value: Value = serde_json::from_slice(value).expect("JSON");
        let is_inside = namespace.is_empty() || value["metadata"]["namespace"] == namespace;
        let name = value["metadata"]["name"].as_str().expect("a name").to_owned();
        (is_inside && selection.selects_value(pods(), &value)).then_some(name)
    };
    let events = history.changes().into_iter().filter_map(|change| {
        let (now, before, revision) = match change {
            Change::Put { entry, previous } => {
                (selects(&entry.value), previous.and_then(|entry| selects(&entry.value)), entry.mod_revision)
            }
            Change::Delete { previous, revision } => (None, selects(&previous.value), revision),
        };
        let (kind, name) = match (now, before) {
            (Some(name), Some(_)) => (EventKind::Modified, name),
            (Some(name), None) => (EventKind::Added, name),
            (None, Some(name)) => (EventKind::Deleted, name),
            (None, None) => return None,
        };
        (revision > after).then_some((kind, name, revision))
    });
    events.collect()
}

#[derive(Debug, Clone)]
enum Action {
    /// Writes a pod: namespace, name, node, bytes.
    Put(usize, usize, usize, usize),
    Delete(usize, usize),
    /// Watches of the store get so much nearer to the present, in hundredths.
    Show(usize),
    /// Begins a watch: how far back, in hundredths, and of what.
    Join(usize, usize, usize),
    /// A watcher reads what is there.
    Drain(usize),
}

/// Namespaces and selections of watchers.
const NAMESPACES: [&str; 3] = ["", "a", "b"];
const SELECTIONS: [(&str, &str); 7] = [
    ("", ""),
    ("", "spec.nodeName=n0"),
    ("", "spec.nodeName=n1"),
    ("", "spec.nodeName!=n1"),
    ("", "metadata.name=p1"),
    ("node=n1", ""),
    ("node in (n0,n1)", "metadata.name=p0,spec.nodeName=n1"),
];
/// Small ones mostly, and such as fill what is kept within a few.
const PADDINGS: [usize; 4] = [0, 0, 10, KEPT_BYTES_MAX / 3];

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => (0..2usize, 0..3usize, 0..3usize, 0..4usize).prop_map(|(a, b, c, d)| Action::Put(a, b, c, d)),
        2 => (0..2usize, 0..3usize).prop_map(|(a, b)| Action::Delete(a, b)),
        3 => (0..=100usize).prop_map(Action::Show),
        3 => (0..=100usize, 0..3usize, 0..7usize).prop_map(|(a, b, c)| Action::Join(a, b, c)),
        2 => (0..8usize).prop_map(Action::Drain),
    ];
    prop::collection::vec(action, 1..60)
}

/// A watcher, and where it began.
struct Watching {
    watcher: Watcher,
    after: Revision,
    namespace: &'static str,
    selection: Selection,
    seen: Vec<(EventKind, String, Revision)>,
}

/// Writes a pod of these numbers, with so much padding.
fn put(history: &History, namespace: usize, name: usize, node: usize, padding: usize) {
    let namespace = ["a", "b"][namespace];
    let mut pod = pod(&format!("p{name}"), &format!("n{node}"), padding);
    pod["metadata"]["namespace"] = namespace.into();
    history.write(&format!("/registry/pods/{namespace}/p{name}"), Some(pod.to_string()));
}

fn delete(history: &History, namespace: usize, name: usize) {
    history.write(&format!("/registry/pods/{}/p{name}", ["a", "b"][namespace]), None);
}

async fn act(action: Action, history: &Arc<History>, registry: &Registry, watching: &mut Vec<Watching>) {
    match action {
        Action::Put(namespace, name, node, padding) => put(history, namespace, name, node, PADDINGS[padding]),
        Action::Delete(namespace, name) => delete(history, namespace, name),
        Action::Show(hundredths) => history.show(hundredths),
        Action::Join(hundredths, namespace, selection) => {
            let (namespace, (labels, fields)) = (NAMESPACES[namespace], SELECTIONS[selection]);
            let after = history.newest() * i64::try_from(hundredths).expect("small") / 100;
            let options = options(after, labels, fields);
            let selection = options.selection.clone();
            let watcher = registry.watch(pods(), namespace, options).await.expect("watches");
            watching.push(Watching { watcher, after, namespace, selection, seen: Vec::new() });
        }
        Action::Drain(number) => {
            if let Some(watching) = watching.get_mut(number) {
                watching.seen.extend(drain(&mut watching.watcher).await);
            }
        }
    }
}

async fn check(actions: Vec<Action>) -> Result<(), TestCaseError> {
    let history = History::new();
    let registry = registry(&history);
    let mut watching = Vec::new();
    for action in actions {
        act(action, &history, &registry, &mut watching).await;
    }
    history.show(100);
    for mut one in watching {
        one.seen.extend(drain(&mut one.watcher).await);
        prop_assert_eq!(one.seen, expected(&history, one.after, one.namespace, &one.selection));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn everybody_sees_what_happened_once_and_in_order(actions in actions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(check(actions))?;
    }
}

#[tokio::test]
async fn there_is_one_watch_of_the_store_while_somebody_watches() {
    let history = History::new();
    let registry = registry(&history);
    let mut watchers = Vec::new();
    for _ in 0..20 {
        watchers.push(watch(&registry, history.newest(), "").await);
    }
    assert_eq!(history.watches(), 1);
    watchers.clear();
    for _ in 1..UNUSED_LOOKS_MAX {
        registry.feeds.look();
        settle().await;
        assert_eq!(history.watches(), 1, "who lists again finds it");
    }
    registry.feeds.look();
    settle().await;
    assert_eq!(history.watches(), 0);
    let mut again = watch(&registry, history.newest(), "").await;
    history.write("/registry/pods/a/p", Some(pod("p", "n", 0).to_string()));
    history.show(100);
    assert_eq!(drain(&mut again).await.len(), 1);
}

#[tokio::test]
async fn an_update_visits_only_whom_it_concerns() {
    let history = History::new();
    let registry = registry(&history);
    let mut watchers = Vec::new();
    for node in 0..1000 {
        watchers.push(watch(&registry, 0, &format!("spec.nodeName=n{node}")).await);
    }
    watchers.push(watch(&registry, 0, "").await);
    watchers.push(watch(&registry, 0, "metadata.name=other").await);
    let feed = Arc::clone(&super::lock(&registry.feeds.open)["pods"].feed);
    let key = "/registry/pods/a/p";
    let visited = |node: &str| {
        history.write(key, Some(pod("p", node, 0).to_string()));
        feed.publish(vec![history.changes().pop().expect("written")])
    };
    assert_eq!(visited("n7"), 2, "the node and who watches everything");
    assert_eq!(visited("n7"), 2);
    assert_eq!(visited("n8"), 3, "the old node, the new node and who watches everything");
    let seen: usize = {
        let mut sum = 0;
        for watcher in &mut watchers {
            sum += drain(watcher).await.len();
        }
        sum
    };
    assert_eq!(seen, 7);
}

#[tokio::test]
async fn an_object_is_parsed_and_written_once_for_all() {
    let history = History::new();
    let registry = registry(&history);
    let mut watchers =
        [watch(&registry, 0, "").await, watch(&registry, 0, "spec.nodeName=n").await, watch(&registry, 0, "").await];
    history.write("/registry/pods/a/p", Some(pod("p", "n", 0).to_string()));
    history.show(100);
    let (mut values, mut lines, mut written) = (Vec::new(), Vec::new(), 0);
    for watcher in &mut watchers {
        let Some(Event::Object(_, object)) = watcher.next().await.expect("goes on").pop() else { panic!("an object") };
        values.push(std::ptr::from_ref(object.value().expect("JSON")).addr());
        let line = object.written(FormNumber(1), || {
            written += 1;
            Ok("line".to_owned().into())
        });
        lines.push(line.expect("written").as_ptr().addr());
    }
    assert_eq!(written, 1);
    assert!(values.iter().all(|value| *value == values[0]) && lines.iter().all(|line| *line == lines[0]));
}

#[tokio::test]
async fn a_bookmark_says_only_what_the_feed_has_seen() {
    let history = History::new();
    let registry = registry(&history);
    let mut watcher = watch(&registry, 0, "metadata.name=none").await;
    let write = |name: &str| history.write(&format!("/registry/pods/a/{name}"), Some(pod(name, "n", 0).to_string()));
    write("p1");
    write("p2");
    history.show(50);
    let mut said = async || {
        assert!(drain(&mut watcher).await.is_empty());
        match watcher.bookmark() {
            Some(Event::Bookmark { revision, .. }) => Some(revision),
            _ => None,
        }
    };
    assert_eq!(said().await, Some(1), "another server may have written the second");
    assert_eq!(said().await, None, "it knows");
    history.show(100);
    assert_eq!(said().await, Some(2));
    history.write("/registry/configmaps/a/c", Some("{}".to_owned()));
    history.show(100);
    assert_eq!(said().await, Some(3), "the store says that nothing of pods is missing");
}

#[tokio::test]
async fn who_is_far_behind_reads_history_until_that_is_forgotten() {
    let history = History::new();
    let registry = registry(&history);
    let (mut slow, mut lost) = (watch(&registry, 0, "").await, watch(&registry, 0, "").await);
    for number in 0..12 {
        let name = format!("p{number}");
        history.write(&format!("/registry/pods/a/{name}"), Some(pod(&name, "n", KEPT_BYTES_MAX / 5).to_string()));
        history.show(100);
        settle().await;
    }
    assert_eq!(drain(&mut slow).await.len(), 12);
    history.compact(9);
    let Some(Event::Error(status)) = lost.next().await.expect("is told").pop() else { panic!("an error") };
    assert_eq!((status.code.as_u16(), status.reason), (410, "Expired"));
    assert!(lost.next().await.is_none());
}

#[tokio::test]
async fn a_store_that_fails_is_told_to_all_and_watched_again() {
    let history = History::new();
    let registry = registry(&history);
    let (mut one, mut other) = (watch(&registry, 0, "").await, watch(&registry, 0, "spec.nodeName=n").await);
    history.fail();
    for watcher in [&mut one, &mut other] {
        assert!(matches!(watcher.next().await.as_deref(), Some([Event::Error(_)])));
        assert!(watcher.next().await.is_none());
    }
    history.mend();
    let mut again = watch(&registry, 0, "").await;
    history.write("/registry/pods/a/p", Some(pod("p", "n", 0).to_string()));
    history.show(100);
    assert_eq!(drain(&mut again).await.len(), 1);
}
