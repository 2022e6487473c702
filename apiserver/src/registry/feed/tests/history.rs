//! A store in memory whose watches are as late as the test wants.

use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use skiff_store::backend::{
    Backend, BackendError, Change, Entry, Got, ListRange, Listed, Revision, Since, Swapped, WatchBatch,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

#[derive(Debug, Default)]
struct State {
    changes: Vec<Change>,
    present: BTreeMap<Bytes, Entry>,
    compacted: Revision,
    has_failed: bool,
    /// How many entries were read by lists.
    entries_listed: usize,
}

impl State {
    /// What there was at a revision.
    fn at(&self, revision_at: Revision) -> BTreeMap<Bytes, Entry> {
        let mut present = BTreeMap::new();
        for change in self.changes.iter().filter(|change| revision(change) <= revision_at) {
            match change {
                Change::Put { entry, .. } => drop(present.insert(entry.key.clone(), entry.clone())),
                Change::Delete { previous, .. } => drop(present.remove(&previous.key)),
            }
        }
        present
    }
}

/// Everything that happened.
#[derive(Debug)]
pub(super) struct History {
    state: Arc<Mutex<State>>,
    /// How far watches are.
    shown: watch::Sender<Revision>,
    /// Whether nobody else writes, so that it knows what has happened.
    is_alone: bool,
}

impl History {
    pub(super) fn new() -> Arc<Self> {
        Self::shared(true)
    }

    /// One to which others may write, or not.
    pub(super) fn shared(is_shared: bool) -> Arc<Self> {
        Arc::new(Self { state: Arc::default(), shown: watch::Sender::new(0), is_alone: !is_shared })
    }

    /// Whether it knows what has happened.
    pub(super) fn knows(&self) -> bool {
        self.is_alone
    }

    pub(super) fn entries_listed(&self) -> usize {
        self.state().entries_listed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody has failed with it")
    }

    pub(super) fn newest(&self) -> Revision {
        i64::try_from(self.state().changes.len()).expect("few")
    }

    pub(super) fn changes(&self) -> Vec<Change> {
        let folder = b"/registry/pods/";
        let all = self.state().changes.clone();
        all.into_iter().filter(|change| key(change).starts_with(folder)).collect()
    }

    /// Writes or deletes; deleting nothing is nothing.
    pub(super) fn write(&self, key: &str, value: Option<String>) {
        let (key, revision) = (Bytes::from(key.to_owned()), self.newest() + 1);
        let mut state = self.state();
        let previous = state.present.remove(&key);
        let change = match value {
            Some(value) => {
                let create_revision = previous.as_ref().map_or(revision, |entry| entry.create_revision);
                let entry = Entry { key: key.clone(), value: value.into(), create_revision, mod_revision: revision };
                state.present.insert(key, entry.clone());
                Change::Put { entry, previous }
            }
            None => match previous {
                Some(previous) => Change::Delete { previous, revision },
                None => return,
            },
        };
        state.changes.push(change);
    }

    /// Lets watches see so many hundredths of what they have not seen.
    pub(super) fn show(&self, hundredths: usize) {
        let newest = self.newest();
        let hundredths = i64::try_from(hundredths).expect("small");
        self.shown.send_modify(|shown| *shown += (newest - *shown) * hundredths / 100);
    }

    pub(super) fn compact(&self, revision: Revision) {
        self.state().compacted = revision;
    }

    pub(super) fn fail(&self) {
        self.state().has_failed = true;
        self.shown.send_modify(|_| ());
    }

    pub(super) fn mend(&self) {
        self.state().has_failed = false;
    }

    /// How many watches are open.
    pub(super) fn watches(&self) -> usize {
        self.shown.receiver_count()
    }
}

fn key(change: &Change) -> &Bytes {
    match change {
        Change::Put { entry, .. } => &entry.key,
        Change::Delete { previous, .. } => &previous.key,
    }
}

fn revision(change: &Change) -> Revision {
    match change {
        Change::Put { entry, .. } => entry.mod_revision,
        Change::Delete { revision, .. } => *revision,
    }
}

struct Following {
    state: Arc<Mutex<State>>,
    shown: watch::Receiver<Revision>,
    prefix: Bytes,
    after: Revision,
}

impl Following {
    fn read(&self, shown: Revision) -> Result<Vec<Change>, BackendError> {
        let state = self.state.lock().expect("nobody has failed with it");
        if state.has_failed {
            return Err(BackendError::Unavailable("as the test wants".to_owned()));
        }
        if self.after + 1 < state.compacted {
            return Err(BackendError::Compacted { oldest: state.compacted });
        }
        let is_next = |change: &&Change| revision(change) > self.after && revision(change) <= shown;
        let next = state.changes.iter().filter(is_next).filter(|change| key(change).starts_with(&self.prefix));
        Ok(next.cloned().collect())
    }

    async fn next(mut self) -> Option<(Result<WatchBatch, BackendError>, Self)> {
        loop {
            let shown = *self.shown.borrow_and_update();
            match self.read(shown) {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => {
                    self.after = changes.last().map_or(self.after, revision);
                    return Some((Ok(WatchBatch::Changes(changes)), self));
                }
                Err(error) => return Some((Err(error), self)),
            }
            if shown > self.after {
                self.after = shown;
                return Some((Ok(WatchBatch::Progress(shown)), self));
            }
            self.shown.changed().await.ok()?;
        }
    }
}

impl Backend for History {
    fn get(&self, key: Bytes) -> BoxFuture<'_, Result<Got, BackendError>> {
        let entry = self.state().present.get(&key).cloned();
        ready(Ok(Got { entry, revision: self.newest() })).boxed()
    }

    fn list(&self, range: ListRange) -> BoxFuture<'_, Result<Listed, BackendError>> {
        let newest = self.newest();
        let revision = if range.revision > 0 { range.revision } else { newest };
        let mut state = self.state();
        if revision > newest {
            return ready(Err(BackendError::Future { newest })).boxed();
        }
        if revision < state.compacted {
            return ready(Err(BackendError::Compacted { oldest: state.compacted })).boxed();
        }
        let present = state.at(revision);
        let from = range.from.as_ref().unwrap_or(&range.prefix);
        let inside = |entry: &&Entry| entry.key.starts_with(&range.prefix) && entry.key >= *from;
        let mut entries: Vec<Entry> = present.values().filter(inside).cloned().collect();
        state.entries_listed += entries.len();
        let count = i64::try_from(entries.len()).expect("few");
        entries.truncate(if range.limit > 0 { range.limit } else { usize::MAX });
        ready(Ok(Listed { entries, count, revision })).boxed()
    }

    fn since(&self, prefix: &Bytes, after: Revision) -> Since {
        if !self.is_alone {
            return Since::Unknown;
        }
        let (newest, state) = (self.newest(), self.state());
        let concerns = |change: &Change| revision(change) > after && key(change).starts_with(prefix);
        if state.changes.iter().any(concerns) { Since::Something } else { Since::Nothing(newest) }
    }

    fn put(&self, _: Bytes, _: Bytes, _: Revision, _: i64) -> BoxFuture<'_, Result<Swapped, BackendError>> {
        panic!("watchers write nothing")
    }

    fn delete(&self, _: Bytes, _: Revision) -> BoxFuture<'_, Result<Swapped, BackendError>> {
        panic!("watchers delete nothing")
    }

    fn watch(&self, prefix: Bytes, after: Revision) -> BoxStream<'static, Result<WatchBatch, BackendError>> {
        let following = Following { state: Arc::clone(&self.state), shown: self.shown.subscribe(), prefix, after };
        stream::unfold(following, Following::next).boxed()
    }

    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, BackendError>> {
        ready(Ok(0)).boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        ready(Ok(())).boxed()
    }
}
