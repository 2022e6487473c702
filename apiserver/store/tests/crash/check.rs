//! Whether a store is what a model says, from outside: revision, keys now and before, history as a watch tells it, leases.

use crate::model::{After, Model};
use bytes::Bytes;
use futures::StreamExt;
use rand::Rng;
use rand::rngs::StdRng;
use skiff_store::backend::{Change, Entry, WatchBatch};
use skiff_store::keys::KeyRange;
use skiff_store::record::Record;
use skiff_store::request::{Op, Put, Range, Refusal, Txn};
use skiff_store::{BackendError, Store};
use std::collections::BTreeMap;
use std::time::Duration;

/// A lease that is probed for, beyond those that are ever granted.
const LEASES: std::ops::RangeInclusive<i64> = 1..=5;

/// Why a store is not what it should be.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It says itself that it cannot be read.
    Refused(String),
    /// It answers, and the answer is not true.
    Wrong(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Refused(what) | Trouble::Wrong(what) => out.write_str(what),
        }
    }
}

fn wrong<T>(what: String) -> Result<T, Trouble> {
    Err(Trouble::Wrong(what))
}

fn refused<T>(what: String) -> Result<T, Trouble> {
    Err(Trouble::Refused(what))
}

/// Reads a store and finds out which of the `possible` states it is in; it must be exactly one of them.
pub(crate) async fn check(
    store: &Store,
    model: &Model,
    possible: &[&After],
    chance: &mut StdRng,
) -> Result<After, Trouble> {
    let seen = look(store).await?;
    let Some(state) = possible.iter().copied().find(|state| **state == seen) else {
        return wrong(format!("is at {seen:?}; it should be {}", told(possible)));
    };
    compare_keys(store, model, state.revision, 0).await?;
    let past = chance.random_range(state.compacted..=state.revision);
    compare_keys(store, model, past, past).await?;
    compare_history(store, model, state).await?;
    Ok(seen)
}

fn told(possible: &[&After]) -> String {
    match possible {
        [only] => format!("at {only:?}"),
        [first, .., last] => format!("between {first:?} and {last:?}"),
        [] => "nowhere".to_owned(),
    }
}

async fn look(store: &Store) -> Result<After, Trouble> {
    let revision = store.revision();
    let first = Range { revision: 1, limit: 1, ..everything() };
    let compacted = match store.range(first).await {
        Ok(_) => 1,
        Err(Refusal::Compacted { oldest }) => oldest,
        Err(other) => return refused(format!("cannot be read: {other}")),
    };
    let mut leases = BTreeMap::new();
    for id in LEASES {
        if has_lease(store, id).await? {
            leases.insert(id, ());
        }
    }
    Ok(After { revision, compacted, leases })
}

/// Asks for a put under the lease and something that cannot be done: which of the two is refused tells, and nothing is written.
async fn has_lease(store: &Store, id: i64) -> Result<bool, Trouble> {
    let put = Put { key: "/probe".into(), value: Some(Bytes::new()), lease: Some(id), want_previous: false };
    let future = Range { revision: i64::MAX, ..everything() };
    let probe = Txn { success: vec![Op::Put(put), Op::Range(future)], ..Txn::default() };
    match store.txn(probe).await {
        Err(Refusal::LeaseNotFound) => Ok(false),
        Err(Refusal::Future { .. }) => Ok(true),
        Err(Refusal::Failed(why)) => refused(format!("cannot be asked for a lease: {why}")),
        other => wrong(format!("answers a probe for a lease with {other:?}")),
    }
}

fn everything() -> Range {
    Range::of(KeyRange::everything())
}

async fn compare_keys(store: &Store, model: &Model, revision: i64, asked: i64) -> Result<(), Trouble> {
    let found = store.range(Range { revision: asked, ..everything() }).await;
    let found = match found {
        Ok(found) => found,
        Err(Refusal::Failed(why)) => return refused(format!("cannot be read at {revision}: {why}")),
        Err(other) => return wrong(format!("cannot be read at {revision}: {other}")),
    };
    let wanted: Vec<&Record> = model.at(revision).values().collect();
    if found.count != wanted.len() {
        return wrong(format!("has {} keys at {revision} instead of {}", found.count, wanted.len()));
    }
    match found.records.iter().zip(&wanted).find(|(found, wanted)| found != *wanted) {
        Some((found, wanted)) => wrong(format!("has at {revision} {} instead of {}", brief(found), brief(wanted))),
        None => Ok(()),
    }
}

fn brief(record: &Record) -> String {
    let Record { at, key, value, created, version, lease } = record;
    let (key, bytes) = (key.escape_ascii(), value.len());
    format!("{key}@{}.{} made {created} version {version} lease {lease} of {bytes} bytes", at.revision, at.sub)
}

/// A watch from the mark on tells everything after it, once, in order, with what it replaced.
async fn compare_history(store: &Store, model: &Model, state: &After) -> Result<(), Trouble> {
    let mut watch = store.backend().watch(Bytes::new(), state.compacted);
    let mut changes = std::collections::VecDeque::new();
    for revision in state.compacted + 1..=state.revision {
        for record in model.written_at(revision) {
            while changes.is_empty() {
                let next = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
                match next.map_err(|_| Trouble::Wrong(format!("tells nothing of {revision} within a minute")))? {
                    Some(Ok(WatchBatch::Changes(more))) => changes.extend(more),
                    Some(Ok(WatchBatch::Progress(seen))) if seen >= revision => {
                        return wrong(format!("says that all is told up to {seen}, without {revision}"));
                    }
                    Some(Ok(WatchBatch::Progress(_))) => (),
                    Some(Err(BackendError::Unavailable(why))) => {
                        return refused(format!("ends a watch before {revision}: {why}"));
                    }
                    other => return wrong(format!("ends a watch before {revision}: {other:?}")),
                }
            }
            let wanted = wanted_change(model, record);
            let told = changes.pop_front().expect("there are some");
            if told != wanted {
                return wrong(format!("tells for {} another change: {told:?}", brief(record)));
            }
        }
    }
    match changes.pop_front() {
        None => Ok(()),
        Some(more) => wrong(format!("tells more than was ever written: {more:?}")),
    }
}

fn wanted_change(model: &Model, record: &Record) -> Change {
    let revision = record.at.revision;
    let previous = model.at(revision - 1).get(&record.key).map(entry);
    match record.is_tombstone() {
        true => Change::Delete { previous: previous.expect("only what is there is deleted"), revision },
        false => Change::Put { entry: entry(record), previous },
    }
}

fn entry(record: &Record) -> Entry {
    let (key, value) = (record.key.clone(), record.value.clone());
    Entry { key, value, create_revision: record.created, mod_revision: record.at.revision }
}
