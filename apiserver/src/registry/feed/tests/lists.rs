//! Lists from the state that a feed keeps, against what the store answers to the same question.

use super::history::History;
use super::{NAMESPACES, SELECTIONS, delete, pod, pods, put, registry, settle};
use crate::registry::read::{Place, VersionMatch};
use crate::registry::selector::Selection;
use crate::registry::{List, ListOptions, Registry, Target, WatchOptions};
use crate::status::Status;
use proptest::prelude::*;
use skiff_store::backend::Revision;
use std::sync::Arc;

#[derive(Debug, Clone)]
enum Action {
    /// Writes a pod: namespace, name, node.
    Put(usize, usize, usize),
    Delete(usize, usize),
    /// Something else is written.
    Beside,
    /// Watches of the store get so much nearer to the present, in hundredths.
    Show(usize),
    /// Lists: namespace, selection, limit, how new.
    List(usize, usize, usize, usize),
    /// Goes on with the list that began so many lists ago.
    GoOn(usize),
    Compact(usize),
    Look,
    Load,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        8 => (0..2usize, 0..6usize, 0..3usize).prop_map(|(a, b, c)| Action::Put(a, b, c)),
        2 => (0..2usize, 0..6usize).prop_map(|(a, b)| Action::Delete(a, b)),
        1 => Just(Action::Beside),
        2 => (0..=100usize).prop_map(Action::Show),
        6 => (0..3usize, 0..7usize, 0..4usize, 0..4usize).prop_map(|(a, b, c, d)| Action::List(a, b, c, d)),
        4 => (0..4usize).prop_map(Action::GoOn),
        1 => (0..=100usize).prop_map(Action::Compact),
        1 => Just(Action::Look),
        2 => Just(Action::Load),
    ];
    prop::collection::vec(action, 1..80)
}

/// A list that is not at its end.
struct Begun {
    namespace: &'static str,
    options: ListOptions,
}

struct Play {
    history: Arc<History>,
    registry: Registry,
    begun: Vec<Begun>,
}

type Read = (Vec<(String, Revision)>, Revision, String, Option<i64>);

fn read(list: List) -> Read {
    let item = |object: &crate::registry::object::Object| {
        let value = object.value().expect("an object");
        let name = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
        (format!("{}/{}", name("namespace"), name("name")), object.revision)
    };
    (list.items.iter().map(item).collect(), list.revision, list.continue_token, list.remaining)
}

fn refusal(status: &Status) -> String {
    status.value().to_string()
}

impl Play {
    async fn act(&mut self, action: Action) {
        match action {
            Action::Put(namespace, name, node) => put(&self.history, namespace, name, node, 0),
            Action::Delete(namespace, name) => delete(&self.history, namespace, name),
            Action::Beside => self.history.write("/registry/configmaps/a/c", Some("{}".to_owned())),
            Action::Show(hundredths) => self.history.show(hundredths),
            Action::List(namespace, selection, limit, at) => self.list(namespace, selection, limit, at).await,
            Action::GoOn(back) if back < self.begun.len() => {
                let Begun { namespace, options } = self.begun.remove(self.begun.len() - 1 - back);
                self.compare(namespace, options).await;
            }
            Action::GoOn(_) => {}
            Action::Compact(hundredths) => {
                let hundredths = i64::try_from(hundredths).expect("small");
                self.history.compact(self.history.newest() * hundredths / 100);
            }
            Action::Look => self.registry.feeds.look(),
            Action::Load => self.registry.feeds.load_now(pods()).await,
        }
        settle().await;
    }

    async fn list(&mut self, namespace: usize, selection: usize, limit: usize, at: usize) {
        let (labels, fields) = SELECTIONS[selection];
        let selection = Selection::parse(pods(), labels, fields).expect("a selector");
        let newest = self.history.newest();
        let (revision, version_match) = match at {
            0 => (0, VersionMatch::NotOlderThan),
            1 => (0, VersionMatch::Any),
            2 => (newest / 2, VersionMatch::NotOlderThan),
            _ => (newest * 2 / 3, VersionMatch::Exact),
        };
        let options = ListOptions { selection, limit, revision, version_match, ..ListOptions::default() };
        self.compare(NAMESPACES[namespace], options).await;
    }

    async fn compare(&mut self, namespace: &'static str, options: ListOptions) {
        if self.history.knows() {
            // A reader waits for what is on its way.
            self.history.show(100);
            settle().await;
        }
        let place = Place::of(&options).expect("a place");
        let asked = (place.revision, options.version_match, options.revision);
        let answer = self.registry.list(pods(), namespace, &options).await;
        let list = match answer {
            Ok(list) => read(list),
            Err(status) => {
                let stored = self.registry.list_stored(pods(), namespace, &options, place).await;
                return assert_eq!(stored.map(read).map_err(|stored| refusal(&stored)), Err(refusal(&status)));
            }
        };
        match asked {
            (0, VersionMatch::Any, _) => {}
            (0, _, revision) if revision > 0 => assert!(list.1 >= revision),
            (0, ..) => assert_eq!(list.1, self.history.newest()),
            (revision, ..) => assert_eq!(list.1, revision),
        }
        let at = Place { revision: list.1, ..place };
        // The state of a revision is what it was, whatever else is asked of the answer.
        let exactly = ListOptions { version_match: VersionMatch::Exact, ..options.clone() };
        match self.registry.list_stored(pods(), namespace, &exactly, at).await {
            // One name in one namespace is one key, behind which there is nothing to go on with.
            Ok(stored) if !namespace.is_empty() && options.selection.single_name().is_some() => {
                let stored = read(stored);
                assert_eq!((&list.0, list.1), (&stored.0, stored.1));
            }
            Ok(stored) => assert_eq!(list, read(stored)),
            Err(status) => assert_eq!(status.code.as_u16(), 410, "only an old state that was at hand"),
        }
        if !list.2.is_empty() {
            let options = ListOptions {
                continue_token: list.2,
                revision: 0,
                version_match: VersionMatch::NotOlderThan,
                ..options
            };
            self.begun.push(Begun { namespace, options });
        }
    }
}

async fn check(is_shared: bool, actions: Vec<Action>) {
    let history = History::shared(is_shared);
    let registry = registry(&history);
    // A revision of 0 would mean the newest.
    history.write("/registry/configmaps/a/first", Some("{}".to_owned()));
    let mut play = Play { history, registry, begun: Vec::new() };
    for action in actions {
        play.act(action).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_list_from_the_state_is_the_list_of_the_store(is_shared in any::<bool>(), actions in actions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(check(is_shared, actions));
    }
}

async fn list(registry: &Registry, namespace: &str, labels: &str, fields: &str) -> usize {
    let selection = Selection::parse(pods(), labels, fields).expect("a selector");
    let options = ListOptions { selection, ..ListOptions::default() };
    registry.list(pods(), namespace, &options).await.expect("a list").items.len()
}

#[tokio::test]
async fn the_store_is_read_for_the_state_and_not_for_lists() {
    let history = History::shared(false);
    let registry = registry(&history);
    for number in 0..20 {
        let (name, node) = (format!("p{number}"), format!("n{}", number % 2));
        history.write(&format!("/registry/pods/a/{name}"), Some(pod(&name, &node, 0).to_string()));
    }
    for _ in 0..3 {
        assert_eq!(list(&registry, "", "", "").await, 20);
        settle().await;
    }
    let read = history.entries_listed();
    assert_eq!(read, 60, "two lists, and the state for those to come");
    for _ in 0..3 {
        assert_eq!(list(&registry, "a", "", "").await, 20);
        assert_eq!(list(&registry, "a0", "", "").await, 0);
        assert_eq!(list(&registry, "", "node=n1", "").await, 10);
        assert_eq!(list(&registry, "a", "", "spec.nodeName=n0").await, 10);
        assert_eq!(list(&registry, "", "node!=n1", "").await, 10);
    }
    let mut pod = pod("p1", "n0", 0);
    pod["metadata"]["namespace"] = "a".into();
    history.write("/registry/pods/a/p1", Some(pod.to_string()));
    history.write("/registry/pods/a/p2", None);
    history.show(100);
    settle().await;
    assert_eq!(list(&registry, "", "node=n1", "").await, 9);
    assert_eq!(list(&registry, "", "", "spec.nodeName=n0").await, 10);
    assert_eq!(history.entries_listed(), read);
    for _ in 0..=super::super::present::UNREAD_LOOKS_MAX {
        registry.feeds.look();
    }
    assert_eq!(list(&registry, "", "", "").await, 19);
    assert!(history.entries_listed() > read, "a state that nobody lists is forgotten");
}

#[tokio::test]
async fn a_watch_begins_with_the_state() {
    let history = History::shared(false);
    let registry = registry(&history);
    for number in 0..3 {
        let name = format!("p{number}");
        history.write(&format!("/registry/pods/a/{name}"), Some(pod(&name, "n", 0).to_string()));
    }
    history.show(100);
    registry.feeds.load_now(pods()).await;
    let read = history.entries_listed();
    let options = WatchOptions { initial: true, ..WatchOptions::default() };
    let mut watcher = registry.watch(pods(), "", options).await.expect("watches");
    history.write("/registry/pods/a/p0", None);
    history.show(100);
    assert_eq!(super::drain(&mut watcher).await.len(), 4);
    assert_eq!(history.entries_listed(), read);
}

#[tokio::test]
async fn plugins_find_in_the_store_what_the_state_lacks() {
    let history = History::new();
    let registry = registry(&history);
    registry.feeds.load_now(pods()).await;
    history.write("/registry/pods/a/p", Some(pod("p", "n", 0).to_string()));
    let target = Target { resource: pods(), namespace: "a", name: "p" };
    assert_eq!(registry.get_kept(&target).await.expect("it is there").revision, 1);
    history.show(100);
    settle().await;
    assert_eq!(registry.get_kept(&target).await.expect("it is there").revision, 1);
}
