//! Random operations on the store and on a plain model of it: every answer, every past revision and every watch must agree.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures::StreamExt;
use proptest::prelude::*;
use redb::backends::InMemoryBackend;
use skiff_store::backend::{Change, WatchBatch};
use skiff_store::keys::KeyRange;
use skiff_store::request::{Compare, Delete, Done, Op, Put, Range, Refusal, Relation, Target, Txn};
use skiff_store::{Options, Store};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    value: Bytes,
    created: i64,
    modified: i64,
    version: i64,
}

type State = BTreeMap<Bytes, Value>;

/// The whole state at every revision.
struct Model {
    states: Vec<State>,
    compacted: i64,
}

impl Model {
    fn new() -> Self {
        // Revisions 0 and 1 are empty.
        Model { states: vec![State::new(), State::new()], compacted: -1 }
    }

    fn revision(&self) -> i64 {
        self.states.len() as i64 - 1
    }

    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    fn apply(&mut self, steps: &[Write]) {
        let (mut state, next) = (self.now().clone(), self.revision() + 1);
        let mut changed = false;
        for step in steps {
            match step {
                Write::Put(key, value) => {
                    let old = state.get(key);
                    let created = old.map_or(next, |old| old.created);
                    let version = old.map_or(0, |old| old.version) + 1;
                    state.insert(key.clone(), Value { value: value.clone(), created, modified: next, version });
                    changed = true;
                }
                Write::Delete(keys) => {
                    let before = state.len();
                    state.retain(|key, _| !keys.contains(key));
                    changed |= state.len() < before;
                }
            }
        }
        if changed {
            self.states.push(state);
        }
    }
}

#[derive(Debug, Clone)]
enum Write {
    Put(Bytes, Bytes),
    Delete(KeyRange),
}

#[derive(Debug, Clone)]
enum Step {
    /// If the key's version is this, the first writes, else the second.
    Txn(Bytes, i64, Vec<Write>, Vec<Write>),
    /// Read a range this many revisions ago.
    Range(KeyRange, i64, usize),
    /// Compact to this many revisions ago.
    Compact(i64),
    Reopen,
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "a/1", "a/2", "b", "b/1", "c"]).prop_map(Bytes::from)
}

fn keys() -> impl Strategy<Value = KeyRange> {
    let end = prop::sample::select(vec!["", "\0", "a0", "b", "b/2", "d"]).prop_map(Bytes::from);
    (key(), end).prop_map(|(from, end)| KeyRange::from_etcd(from, end))
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let put = (key(), "[x-z]{0,4}").prop_map(|(key, value)| Write::Put(key, value.into()));
    let write = prop_oneof![3 => put, 1 => keys().prop_map(Write::Delete)];
    prop::collection::vec(write, 0..3)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (key(), 0_i64..3, writes(), writes()).prop_map(|(key, version, then, other)| Step::Txn(key, version, then, other)),
        4 => (keys(), 0_i64..10, 0_usize..4).prop_map(|(keys, ago, limit)| Step::Range(keys, ago, limit)),
        1 => (0_i64..6).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

fn op(write: &Write) -> Op {
    match write.clone() {
        Write::Put(key, value) => Op::Put(Put { key, value: Some(value), lease: Some(0), want_previous: true }),
        Write::Delete(keys) => Op::Delete(Delete { keys, want_previous: true }),
    }
}

async fn txn(store: &Store, model: &mut Model, key: Bytes, version: i64, then: &[Write], otherwise: &[Write]) {
    let holds = model.now().get(&key).map_or(0, |value| value.version) == version;
    let keys = KeyRange::single(key);
    let txn = Txn {
        compares: vec![Compare { keys, target: Target::Version(version), relation: Relation::Equal }],
        success: then.iter().map(op).collect(),
        failure: otherwise.iter().map(op).collect(),
    };
    let done = store.txn(txn).await.unwrap();
    assert_eq!(done.succeeded, holds);
    model.apply(if holds { then } else { otherwise });
    assert_eq!(done.revision, model.revision());
}

async fn range(store: &Store, model: &Model, keys: KeyRange, ago: i64, limit: usize) {
    let revision = model.revision() - ago;
    let asked = Range { revision, limit, ..Range::of(keys.clone()) };
    let answer = store.range(asked).await;
    if revision > 0 && revision < model.compacted {
        assert_eq!(answer.unwrap_err(), Refusal::Compacted { oldest: model.compacted });
        return;
    }
    let answer = answer.unwrap();
    let at = if revision > 0 { revision } else { model.revision() };
    let wanted: Vec<_> = model.states[at as usize].iter().filter(|(key, _)| keys.contains(key)).collect();
    assert_eq!((answer.count, answer.revision), (wanted.len(), model.revision()));
    let shown = if limit > 0 { limit.min(wanted.len()) } else { wanted.len() };
    assert_eq!(answer.more, shown < wanted.len());
    assert_eq!(answer.records.len(), shown);
    for (record, (key, value)) in answer.records.iter().zip(wanted) {
        let got = Value {
            value: record.value.clone(),
            created: record.created,
            modified: record.at.revision,
            version: record.version,
        };
        assert_eq!((&record.key, &got), (key, value));
    }
}

/// Follows a watch from `start` to the end of the model, and rebuilds its states from it.
async fn watch(store: &Store, model: &Model, start: i64) {
    let mut state = model.states[(start - 1) as usize].clone();
    if start > model.revision() || model.states[(start - 1) as usize..].windows(2).all(|pair| pair[0] == pair[1]) {
        return;
    }
    let mut watch = store.backend().watch(Bytes::new(), start - 1);
    let mut seen = start - 1;
    while seen < model.revision() {
        let batch = tokio::time::timeout(Duration::from_secs(60), watch.next()).await.unwrap().unwrap().unwrap();
        let WatchBatch::Changes(changes) = batch else { continue };
        for change in changes {
            let revision = match &change {
                Change::Put { entry, .. } => entry.mod_revision,
                Change::Delete { revision, .. } => *revision,
            };
            if revision > seen {
                // A transaction may write and leave everything as it was; otherwise no revision is skipped.
                assert_eq!(state, model.states[seen as usize], "after revision {seen}");
                assert_eq!(revision, seen + 1, "no gap, no repetition");
                seen = revision;
            }
            assert_eq!(revision, seen, "in order");
            replay(&mut state, change);
        }
        if seen == model.revision() {
            assert_eq!(&state, model.now());
        }
    }
}

fn replay(state: &mut State, change: Change) {
    match change {
        Change::Put { entry, previous } => {
            let old = state.remove(&entry.key);
            assert_eq!(
                previous.map(|old| (old.value, old.mod_revision)),
                old.as_ref().map(|old| (old.value.clone(), old.modified))
            );
            let version = old.map_or(0, |old| old.version) + 1;
            let value =
                Value { value: entry.value, created: entry.create_revision, modified: entry.mod_revision, version };
            state.insert(entry.key, value);
        }
        Change::Delete { previous, .. } => {
            let old = state.remove(&previous.key).expect("what is deleted was there");
            assert_eq!((previous.value, previous.mod_revision), (old.value, old.modified));
        }
    }
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), Options::default()).unwrap();
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Txn(key, version, then, otherwise) => {
                txn(&store, &mut model, key, version, &then, &otherwise).await;
            }
            Step::Range(keys, ago, limit) => range(&store, &model, keys, ago, limit).await,
            Step::Compact(ago) => compact(&store, &mut model, ago).await,
            Step::Reopen => {
                store.close().await;
                store = Store::open(folder.path(), Options::default()).unwrap();
                assert_eq!(store.revision(), model.revision());
            }
        }
    }
    // A watch from the compacted revision on may lack what its deletions replaced; from the next on nothing is missing.
    for start in (model.compacted + 1).max(2)..=model.revision() {
        watch(&store, &model, start).await;
    }
    store.close().await;
}

async fn compact(store: &Store, model: &mut Model, ago: i64) {
    let revision = (model.revision() - ago).max(0);
    let done = store.compact(revision, ago % 2 == 0).await;
    if revision <= model.compacted {
        assert_eq!(done, Err(Refusal::Compacted { oldest: model.compacted }));
    } else {
        done.unwrap();
        model.compacted = revision;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_its_model(steps in prop::collection::vec(step(), 1..60)) {
        runtime().block_on(run(steps));
    }
}

#[tokio::test]
async fn a_transaction_inside_sees_what_was_written_before_it() {
    let store = Store::open_disk(InMemoryBackend::new(), Options::default()).unwrap();
    let put = |key: &'static str| op(&Write::Put(key.into(), "1".into()));
    let read = Op::Range(Range::of(KeyRange::from_etcd("a".into(), "z".into())));
    let inside = Txn { success: vec![put("b"), read], ..Txn::default() };
    let done = store.txn(Txn { success: vec![put("a"), Op::Txn(inside)], ..Txn::default() }).await.unwrap();
    let Done::Txn { done: inside, .. } = &done.done[1] else { panic!("{done:?}") };
    let Done::Range(read) = &inside[1] else { panic!("{inside:?}") };
    let seen: Vec<_> = read.records.iter().map(|record| (record.key.clone(), record.at.revision)).collect();
    assert_eq!(seen, [("a".into(), done.revision), ("b".into(), done.revision)], "one revision for all");
}

#[tokio::test]
async fn the_quota_refuses_puts_but_not_deletions() {
    let options = Options { quota_bytes: 20_000, ..Options::default() };
    let store = Store::open_disk(InMemoryBackend::new(), options).unwrap();
    let put = |count: usize| Txn::of(op(&Write::Put(format!("{count}").into(), vec![b'x'; 3000].into())));
    let mut refused = None;
    for count in 0..20 {
        refused = refused.or(store.txn(put(count)).await.err());
    }
    assert_eq!(refused, Some(Refusal::NoSpace));
    store.txn(Txn::of(op(&Write::Delete(KeyRange::from_etcd("0".into(), "\0".into()))))).await.unwrap();
}
