//! Watches that begin with the present state, from a feed that may keep it: what they say is one moment and then all that comes
//! after it, whatever was kept, forgotten or still on its way.

use super::history::History;
use super::{NAMESPACES, SELECTIONS, delete, expected, pods, put, registry, settle};
use crate::registry::selector::Selection;
use crate::registry::{Event, EventKind, Registry, WatchOptions, Watcher};
use futures::FutureExt;
use proptest::prelude::*;
use serde_json::Value;
use skiff_store::backend::{Change, Revision};
use std::collections::BTreeMap;
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
    /// Begins a watch with the state: namespace, selection, not older than so many hundredths of the history.
    Begin(usize, usize, usize),
    /// A watcher reads what is there.
    Drain(usize),
    /// The feed forgets what it did not need lately.
    Look,
    /// The feed reads the state.
    Load,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        8 => (0..2usize, 0..6usize, 0..3usize).prop_map(|(a, b, c)| Action::Put(a, b, c)),
        3 => (0..2usize, 0..6usize).prop_map(|(a, b)| Action::Delete(a, b)),
        1 => Just(Action::Beside),
        3 => (0..=100usize).prop_map(Action::Show),
        4 => (0..3usize, 0..7usize, 0..=100usize).prop_map(|(a, b, c)| Action::Begin(a, b, c)),
        3 => (0..8usize).prop_map(Action::Drain),
        1 => Just(Action::Look),
        2 => Just(Action::Load),
    ];
    prop::collection::vec(action, 1..60)
}

type Seen = (EventKind, String, Revision);

/// A watcher, what it asked for and what it has said.
struct Begun {
    watcher: Watcher,
    namespace: &'static str,
    selection: Selection,
    not_before: Revision,
    /// The state it began with, and the revision that closed it.
    state: Vec<Seen>,
    at: Option<Revision>,
    later: Vec<Seen>,
}

impl Begun {
    async fn drain(&mut self) {
        loop {
            settle().await;
            let Some(events) = self.watcher.next().now_or_never() else { return };
            events.expect("goes on").into_iter().for_each(|event| self.note(event));
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Object(kind, object) => {
                let value = object.value().expect("an object");
                let name = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
                let part = if self.at.is_none() { &mut self.state } else { &mut self.later };
                part.push((kind, name("name"), object.object().revision));
            }
            Event::Bookmark { revision, initial_end } => {
                assert!(initial_end && self.at.is_none(), "the state is closed once");
                self.at = Some(revision);
            }
            Event::Error(status) => panic!("{}", status.value()),
        }
    }

    fn check(self, history: &History) -> Result<(), TestCaseError> {
        let at = self.at.ok_or_else(|| TestCaseError::fail("the state was never closed"))?;
        prop_assert!(at >= self.not_before && at <= history.newest());
        prop_assert_eq!(self.state, present(history, at, self.namespace, &self.selection));
        prop_assert_eq!(self.later, expected(history, at, self.namespace, &self.selection));
        Ok(())
    }
}

/// What there was at `revision`, in order of the keys, as a watch says it.
fn present(history: &History, revision: Revision, namespace: &str, selection: &Selection) -> Vec<Seen> {
    let mut present = BTreeMap::new();
    for change in history.changes() {
        match change {
            Change::Put { entry, .. } if entry.mod_revision <= revision => {
                drop(present.insert(entry.key.clone(), entry))
            }
            Change::Delete { previous, revision: at } if at <= revision => drop(present.remove(&previous.key)),
            Change::Put { .. } | Change::Delete { .. } => {}
        }
    }
    let chosen = present.into_values().filter_map(|entry| {
        let value: Value = serde_json::from_slice(&entry.value).expect("JSON");
        let is_inside = namespace.is_empty() || value["metadata"]["namespace"] == namespace;
        let name = value["metadata"]["name"].as_str().expect("a name").to_owned();
        (is_inside && selection.selects_value(pods(), &value)).then_some((EventKind::Added, name, entry.mod_revision))
    });
    chosen.collect()
}

async fn begin(action: (usize, usize, usize), history: &History, registry: &Registry) -> Begun {
    let (namespace, (labels, fields)) = (NAMESPACES[action.0], SELECTIONS[action.1]);
    let selection = Selection::parse(pods(), labels, fields).expect("a selector");
    let not_before = history.newest() * i64::try_from(action.2).expect("small") / 100;
    if history.knows() {
        // Who asks for a state waits for what is on its way.
        history.show(100);
        settle().await;
    }
    let options = WatchOptions {
        selection: selection.clone(),
        after: not_before,
        initial: true,
        mark_initial_end: true,
        bookmarks: false,
    };
    let watcher = registry.watch(pods(), namespace, options).await.expect("watches");
    Begun { watcher, namespace, selection, not_before, state: Vec::new(), at: None, later: Vec::new() }
}

async fn act(action: Action, history: &Arc<History>, registry: &Registry, begun: &mut Vec<Begun>) {
    match action {
        Action::Put(namespace, name, node) => put(history, namespace, name, node, 0),
        Action::Delete(namespace, name) => delete(history, namespace, name),
        Action::Beside => history.write("/registry/configmaps/a/c", Some("{}".to_owned())),
        Action::Show(hundredths) => history.show(hundredths),
        Action::Begin(a, b, c) => begun.push(begin((a, b, c), history, registry).await),
        Action::Drain(number) => {
            if let Some(one) = begun.get_mut(number) {
                one.drain().await;
            }
        }
        Action::Look => registry.feeds.look(),
        Action::Load => registry.feeds.load_now(pods()).await,
    }
    settle().await;
}

async fn check(is_shared: bool, actions: Vec<Action>) -> Result<(), TestCaseError> {
    let history = History::shared(is_shared);
    let registry = registry(&history);
    // A revision of 0 would mean the newest.
    history.write("/registry/configmaps/a/first", Some("{}".to_owned()));
    let mut begun = Vec::new();
    for action in actions {
        act(action, &history, &registry, &mut begun).await;
    }
    history.show(100);
    for mut one in begun {
        one.drain().await;
        one.check(&history)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_watch_says_one_moment_and_all_that_follows(is_shared in any::<bool>(), actions in actions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(check(is_shared, actions))?;
    }
}
