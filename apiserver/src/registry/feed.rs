//! One watch of the store for everybody who watches a resource.
//!
//! ```text
//!  store ──one watch──► feed ──index──► mailboxes of those concerned ──► watchers
//!                        └─ the newest updates, for who begins a little in the past
//! ```
//!
//! A feed knows every change after its floor. Who begins earlier, or falls far behind, follows the store's history with a watch of its own
//! until the feed has all that it has not seen; when the store has forgotten it too, the watch ends with 410. So nobody who reads slowly
//! costs more than one batch.
//!
//! A feed claims a revision only when the store has said that nothing before it is missing: by an update at it or by progress. Two servers
//! on one store may be at different revisions; each says only what it has seen.

mod index; // who is concerned
mod interest; // what one watcher wants to see
mod mailbox; // what waits for one watcher
mod update; // one change

mod finder; // objects of a state by the value of a label or field
mod kept; // one object of a state
mod present; // the present state, and states that are paged through
mod sorted; // objects in order
mod states; // answers from a state that is as new as is asked

pub(crate) use finder::By;
pub(crate) use interest::Interest;
pub(crate) use kept::Face;
pub(crate) use mailbox::Taken;
pub(crate) use present::Wanted;
pub(crate) use states::At;
pub(crate) use update::Update;

use super::convert::Converters;
use super::forms::Room;
use super::prefix;
use super::recent::Recent;
use crate::status::Status;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use index::{Id, Index};
use kept::{Kept, Rooms};
use mailbox::Mailbox;
use present::Present;
use skiff_schema::Resource;
use skiff_store::backend::{Backend, BackendError, Change, Revision, WatchBatch};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Bytes of updates that a feed keeps for who begins in the past: those who list and then watch, or come back after a lost connection.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// Bytes of the newest updates of which parsed and written forms are kept: those that watchers are about to take. A parsed object takes
/// some eight times its JSON.
const SEEN_BYTES_MAX: usize = 128 << 10;
/// Keys and values of all states that feeds keep: 100,000 objects of 2 KiB. What does not fit is listed from the store.
const STATES_BYTES_MAX: usize = 256 << 20;
/// What was written of their objects, in all forms: Protobuf and tables of 20,000 pods.
const FORMS_BYTES_MAX: usize = 64 << 20;
/// The furthest in the past that a feed begins for its first watcher.
const REPLAYED_REVISIONS_MAX: Revision = 1000;
/// How often one looks whether anybody uses a feed.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// After so many looks without a watcher it ends: a client that lists again now and then finds it.
const UNUSED_LOOKS_MAX: u32 = 4;

/// The feeds of all resources that somebody watches.
pub(crate) struct Feeds {
    backend: Arc<dyn Backend>,
    converters: Arc<Converters>,
    /// By the folder of the resource: all versions of it share one, unless a webhook converts them.
    open: Mutex<HashMap<String, Open>>,
    /// Folders that were listed since the last look, and nobody follows.
    listed_once: Mutex<HashSet<String>>,
    rooms: Arc<Rooms>,
    /// What was written a moment ago; forgotten when everything else is looked at.
    recent: Recent,
    looking: OnceLock<Task>,
}

/// A feed, and who follows the store for it.
struct Open {
    feed: Arc<Feed>,
    unused_looks: u32,
    _following: Task,
}

/// A task that ends when this is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Feeds {
    pub(crate) fn new(backend: Arc<dyn Backend>, converters: Arc<Converters>) -> Arc<Self> {
        let rooms = Rooms { states: Room::new(STATES_BYTES_MAX), forms: Room::new(FORMS_BYTES_MAX) };
        let (open, listed_once) = (Mutex::default(), Mutex::default());
        let (recent, looking) = (Recent::default(), OnceLock::new());
        Arc::new(Self { backend, converters, open, listed_once, rooms: Arc::new(rooms), recent, looking })
    }

    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Follows the resource from now on if nobody does yet; from `after` on if that was a short while ago.
    pub(crate) async fn open(
        self: &Arc<Self>,
        resource: &Arc<Resource>,
        after: Option<Revision>,
    ) -> Result<(), Status> {
        let id = id(resource);
        if lock(&self.open).contains_key(&*id) {
            return Ok(());
        }
        // No object has this key: only the revision is asked for.
        let newest = self.backend.get(prefix(resource, "")).await?.revision;
        let near = (newest - REPLAYED_REVISIONS_MAX)..=newest;
        let floor = after.filter(|after| near.contains(after)).unwrap_or(newest);
        let folder = id.into_owned();
        lock(&self.open).entry(folder.clone()).or_insert_with(|| {
            let feed = Arc::new(Feed::new(floor, prefix(resource, "").len(), &self.rooms));
            let changes = self.changes(resource, prefix(resource, ""), floor);
            let following = Following { feeds: Arc::downgrade(self), feed: Arc::clone(&feed), folder, changes };
            Open { feed, unused_looks: 0, _following: Task(tokio::spawn(following.run()).abort_handle()) }
        });
        self.looking.get_or_init(|| Task(tokio::spawn(look_at_times(Arc::downgrade(self))).abort_handle()));
        Ok(())
    }

    /// A cursor behind `after`; `None`: no feed has all that comes next.
    pub(crate) fn join(&self, interest: &Interest, after: Revision) -> Option<Cursor> {
        let feed = lock(&self.open).get(&*id(&interest.resource)).map(|open| Arc::clone(&open.feed))?;
        feed.join(interest, after)
    }

    /// A watch of the store for one watcher alone.
    pub(crate) fn alone(
        &self,
        interest: &Interest,
        after: Revision,
    ) -> BoxStream<'static, Result<WatchBatch, BackendError>> {
        self.changes(&interest.resource, interest.keys(), after)
    }

    /// What happens at these keys, with objects as the store has them, or as a webhook converts them.
    fn changes(
        &self,
        resource: &Arc<Resource>,
        keys: Bytes,
        after: Revision,
    ) -> BoxStream<'static, Result<WatchBatch, BackendError>> {
        let changes = self.backend.watch(keys, after);
        if resource.conversion_webhook().is_none() {
            return changes;
        }
        let (converters, resource) = (Arc::clone(&self.converters), Arc::clone(resource));
        Box::pin(changes.then(move |batch| {
            let (converters, resource) = (Arc::clone(&converters), Arc::clone(&resource));
            async move {
                let Ok(WatchBatch::Changes(changes)) = batch else { return batch };
                let changes = converters.changes(&resource, changes).await;
                changes.map(WatchBatch::Changes).map_err(|status| BackendError::Internal(status.message))
            }
        }))
    }

    /// Forgets what watchers have had time to take, and ends feeds that nobody has used for a while.
    fn look(&self) {
        lock(&self.listed_once).clear();
        self.recent.look();
        let feeds: Vec<Arc<Feed>> = lock(&self.open).values().map(|open| Arc::clone(&open.feed)).collect();
        // To look at many objects takes a while, in which others want to find their feed.
        let used: Vec<Arc<Feed>> = feeds.into_iter().filter(|feed| feed.look()).collect();
        lock(&self.open).retain(|_, open| {
            let is_used = used.iter().any(|feed| Arc::ptr_eq(feed, &open.feed));
            open.unused_looks = if is_used { 0 } else { open.unused_looks + 1 };
            open.unused_looks < UNUSED_LOOKS_MAX || !open.feed.end_if_unused()
        });
    }
}

/// What shares a feed.
fn id(resource: &Resource) -> Cow<'_, str> {
    match resource.conversion_webhook() {
        // Another converter, or another version, makes other objects of what is stored.
        Some(webhook) => format!("{} {} {webhook}", resource.storage_folder, resource.version).into(),
        None => (&*resource.storage_folder).into(),
    }
}

async fn look_at_times(feeds: Weak<Feeds>) {
    let mut times = tokio::time::interval(LOOK_INTERVAL);
    loop {
        times.tick().await;
        let Some(feeds) = feeds.upgrade() else { return };
        feeds.look();
    }
}

/// See the module.
#[derive(Debug)]
struct Feed {
    folder_length: usize,
    /// Nothing up to here is missing. It is raised after mailboxes have what happened: who then finds nothing has seen all of it.
    reached: AtomicI64,
    state: Mutex<State>,

    /// The state, once somebody lists. Locked while `state` is, or alone.
    present: Mutex<Option<Present>>,
    rooms: Arc<Rooms>,
    /// Tells that the state has moved.
    moved: Notify,
    is_loading: AtomicBool,
    /// The newest revision that this server itself has written.
    own: AtomicI64,
    /// Looks until a state that found no room is tried again.
    refused_looks: AtomicU32,
}

#[derive(Debug)]
struct State {
    /// Every update after this revision is kept.
    floor: Revision,
    kept: VecDeque<Arc<Update>>,
    kept_bytes: usize,
    /// How many of the kept, from the oldest on, are as if nobody had looked at them, and the bytes of the others.
    unseen: usize,
    seen_bytes: usize,
    index: Index,
    last_id: Id,
    has_ended: bool,
}

impl Feed {
    fn new(floor: Revision, folder_length: usize, rooms: &Arc<Rooms>) -> Self {
        let state = State {
            floor,
            kept: VecDeque::new(),
            kept_bytes: 0,
            unseen: 0,
            seen_bytes: 0,
            index: Index::default(),
            last_id: 0,
            has_ended: false,
        };
        Self {
            folder_length,
            reached: AtomicI64::new(floor),
            state: Mutex::new(state),
            present: Mutex::default(),
            rooms: Arc::clone(rooms),
            moved: Notify::new(),
            is_loading: AtomicBool::new(false),
            own: AtomicI64::new(0),
            refused_looks: AtomicU32::new(0),
        }
    }

    fn join(self: Arc<Self>, interest: &Interest, after: Revision) -> Option<Cursor> {
        let mut state = lock(&self.state);
        if state.has_ended || after < state.floor {
            return None;
        }
        let mailbox = Arc::new(Mailbox::new(after));
        let begins = state.kept.partition_point(|update| update.revision <= after);
        for update in state.kept.range(begins..) {
            mailbox.put(update);
        }
        state.last_id += 1;
        let id = state.last_id;
        state.index.add(id, interest, &mailbox);
        drop(state);
        Some(Cursor { feed: self, id, interest: interest.clone(), mailbox })
    }

    /// Gives changes to those concerned; returns how many mailboxes it has visited.
    fn publish(&self, changes: Vec<Change>) -> usize {
        let updates: Vec<_> =
            changes.into_iter().map(|change| Arc::new(Update::of(change, self.folder_length))).collect();
        self.parse(&updates);
        let (mut visited, mut last) = (0, 0);
        let mut state = lock(&self.state);
        self.apply(updates.iter());
        for update in updates {
            for mailbox in state.index.concerned(&update) {
                mailbox.put(&update);
                visited += 1;
            }
            last = update.revision;
            state.keep(update);
        }
        drop(state);
        self.reached.fetch_max(last, Ordering::Release);
        self.moved.notify_waiters();
        visited
    }

    /// The store says that nothing up to here is missing.
    fn progress(&self, revision: Revision) {
        self.reached.fetch_max(revision, Ordering::Release);
        self.reach(revision);
        self.moved.notify_waiters();
    }

    /// The same of the state alone; whether there is one.
    fn reach(&self, revision: Revision) -> bool {
        lock(&self.present).as_mut().map(|present| present.reach(revision)).is_some()
    }

    /// Applies changes to the state; where there is no room for them, it is given up.
    fn apply<'a>(&self, updates: impl Iterator<Item = &'a Arc<Update>>) {
        let mut kept = lock(&self.present);
        let Some(present) = kept.as_mut() else { return };
        present.apply(updates, &self.rooms);
        if self.rooms.states.is_over() {
            present.forget_past();
            if self.rooms.states.is_over() {
                *kept = None;
                self.refused_looks.store(states::REFUSED_LOOKS, Ordering::Relaxed);
            }
        }
    }

    /// Keeps the state that was read at a revision, with what has happened since. If more has happened than is kept, it has to be read
    /// again.
    fn install(&self, objects: Vec<Arc<Kept>>, revision: Revision) {
        let state = lock(&self.state);
        if revision < state.floor || state.has_ended {
            return;
        }
        *lock(&self.present) = Some(Present::new(objects, revision));
        self.apply(state.kept.iter());
    }

    /// Parses what the index is going to ask for, while nobody waits for the state.
    fn parse(&self, updates: &[Arc<Update>]) {
        let resources = lock(&self.state).index.resources();
        for (update, resource) in updates.iter().flat_map(|update| resources.iter().map(move |of| (update, of))) {
            let view = update.view(resource);
            for object in [update.now(&view), update.before(&view)].into_iter().flatten() {
                // What cannot be read is told to those who watch.
                let _parsed = object.value();
            }
        }
    }

    fn end(&self, error: &BackendError) {
        let mut state = lock(&self.state);
        state.has_ended = true;
        state.index.all().for_each(|mailbox| mailbox.end(error));
        *lock(&self.present) = None;
        self.moved.notify_waiters();
    }

    fn end_if_unused(&self) -> bool {
        let mut state = lock(&self.state);
        state.has_ended = state.index.count() == 0;
        if state.has_ended {
            *lock(&self.present) = None;
        }
        state.has_ended
    }

    /// Forgets what was parsed and written; whether anybody watches or lists.
    fn look(&self) -> bool {
        let is_listed = self.look_at_state();
        let mut state = lock(&self.state);
        for update in state.kept.iter_mut().filter(|update| update.is_seen()) {
            *update = Arc::new(update.unseen());
        }
        (state.unseen, state.seen_bytes) = (state.kept.len(), 0);
        state.index.count() > 0 || is_listed
    }

    /// Forgets a state that nobody lists, and what was written of its objects; whether there is still one.
    fn look_at_state(&self) -> bool {
        let refused = self.refused_looks.load(Ordering::Relaxed);
        self.refused_looks.store(refused.saturating_sub(1), Ordering::Relaxed);
        let mut kept = lock(&self.present);
        let Some(present) = kept.as_mut() else { return false };
        if !present.look() {
            let forgotten = kept.take();
            drop(kept);
            drop(forgotten);
            return false;
        }
        let objects = present.objects();
        drop(kept);
        objects.iter().for_each(|object| object.look());
        true
    }
}

impl State {
    fn keep(&mut self, update: Arc<Update>) {
        self.kept_bytes += update.size_bytes();
        self.seen_bytes += update.size_bytes();
        self.kept.push_back(update);
        self.forget_seen();
        while self.kept_bytes > KEPT_BYTES_MAX && self.unseen > 0 {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.unseen -= 1;
            self.kept_bytes -= oldest.size_bytes();
            self.floor = oldest.revision;
        }
    }

    fn forget_seen(&mut self) {
        while self.seen_bytes > SEEN_BYTES_MAX {
            let Some(update) = self.kept.get_mut(self.unseen) else { break };
            if update.is_seen() {
                *update = Arc::new(update.unseen());
            }
            self.seen_bytes -= update.size_bytes();
            self.unseen += 1;
        }
    }
}

/// The task of one feed.
struct Following {
    feeds: Weak<Feeds>,
    feed: Arc<Feed>,
    folder: String,
    changes: BoxStream<'static, Result<WatchBatch, BackendError>>,
}

impl Following {
    async fn run(mut self) {
        loop {
            match self.changes.next().await {
                Some(Ok(WatchBatch::Changes(changes))) => drop(self.feed.publish(changes)),
                Some(Ok(WatchBatch::Progress(revision))) => self.feed.progress(revision),
                Some(Err(error)) => return self.fail(&error),
                None => return self.fail(&BackendError::Unavailable("the watch ended".to_owned())),
            }
        }
    }

    /// Watchers are told why; the next one to come begins anew.
    fn fail(&self, error: &BackendError) {
        self.feed.end(error);
        if let Some(feeds) = self.feeds.upgrade() {
            // This task too ends with it.
            lock(&feeds.open).remove(&self.folder);
        }
    }
}

/// One watcher's place in a feed.
#[derive(Debug)]
pub(crate) struct Cursor {
    feed: Arc<Feed>,
    id: Id,
    interest: Interest,
    mailbox: Arc<Mailbox>,
}

impl Cursor {
    /// What happened since, at least one update. May be dropped at any time.
    pub(crate) async fn take(&self) -> Taken {
        self.mailbox.take().await
    }

    /// The revision up to which the watcher has seen everything; `None`: something waits.
    pub(crate) fn seen_up_to(&self) -> Option<Revision> {
        let reached = self.feed.reached.load(Ordering::Acquire);
        self.mailbox.is_empty().then_some(reached)
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        lock(&self.feed.state).index.remove(self.id, &self.interest);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
