//! Who watches what, and the newest revisions in memory.
//!
//! A watcher is a cursor, not a queue: the hub remembers from which revision on a watcher has something to see, and the watcher
//! takes it when it can. Whoever falls behind the few revisions kept here reads history from the disk (see [`crate::watch`]),
//! so a slow watcher costs nothing. Nor does one of other keys: what is published finds those who wait for it (see [`ranges`]).

mod ranges; // who waits for a key

use crate::keys::KeyRange;
use crate::record::Record;
use crate::{Revision, seeded};
use ranges::{Ranges, Spot};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Newest revisions that stay in memory for watchers, at most, however small they are.
const RECENT_MOMENTS_MAX: usize = 8192;

/// Revisions that one look takes along: bounds how long it keeps the others waiting.
const TAKEN_MAX: usize = 1024;

/// One change, with what it replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The write; a tombstone: a deletion.
    pub record: Record,
    /// What stood there before.
    pub previous: Option<Record>,
}

impl Change {
    /// Bytes of keys and values.
    pub(crate) fn size_bytes(&self) -> usize {
        self.record.size_bytes() + self.previous.as_ref().map_or(0, Record::size_bytes)
    }
}

/// All changes of one revision that somebody sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The revision.
    pub revision: Revision,
    /// In order.
    pub changes: Vec<Arc<Change>>,
}

impl Moment {
    /// Bytes of keys and values.
    pub(crate) fn size_bytes(&self) -> usize {
        self.changes.iter().map(|change| change.size_bytes()).sum()
    }

    /// The keys that changed, in their order.
    fn keys(&self) -> Vec<&[u8]> {
        let mut keys: Vec<&[u8]> = self.changes.iter().map(|change| &change.record.key[..]).collect();
        keys.sort_unstable();
        keys
    }

    fn seen_by(&self, keys: &KeyRange) -> Option<Moment> {
        let seen = |change: &&Arc<Change>| keys.contains(&change.record.key);
        let changes: Vec<_> = self.changes.iter().filter(seen).cloned().collect();
        (!changes.is_empty()).then_some(Moment { revision: self.revision, changes })
    }
}

/// Names a watcher within one hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WatcherId(u64);

/// What wakes the task that serves some watchers.
#[derive(Debug, Default)]
pub(crate) struct Group {
    ready: Mutex<Vec<Ready>>,
    wake: Notify,
}

/// Why a task was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// This watcher has something to see.
    Changes(WatcherId),
    /// A while has passed with writes: watchers that want to know may be told the revision.
    Progress,
    /// The store failed or was closed.
    Ended,
}

impl Group {
    /// Waits until something is ready and takes it.
    pub(crate) async fn ready(&self) -> Vec<Ready> {
        loop {
            let woken = self.wake.notified();
            let ready = std::mem::take(&mut *lock(&self.ready));
            if !ready.is_empty() {
                return ready;
            }
            woken.await;
        }
    }

    /// Makes `ready` return `what`.
    pub(crate) fn push(&self, what: Ready) {
        lock(&self.ready).push(what);
        self.wake.notify_one();
    }
}

#[derive(Debug)]
struct Watcher {
    keys: KeyRange,
    spot: Spot,
    group: Arc<Group>,
    /// Nothing before this is delivered.
    start: Revision,
    /// The first revision that it has not seen and that may concern it; `None`: it has seen everything, and waits
    /// at its spot.
    pending: Option<Revision>,
}

/// What [`Hub::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing more.
    Nothing,
    /// These, in order; the watcher is ready again if there are more.
    Moments(Vec<Moment>),
    /// The watcher is behind: it must read history from here on to the revision given.
    Behind {
        /// First revision not seen.
        from: Revision,
        /// Last that history is to be read to.
        to: Revision,
    },
}

#[derive(Debug)]
struct State {
    published: Revision,
    recent: VecDeque<Arc<Moment>>,
    recent_bytes: usize,
    recent_bytes_max: usize,
    /// Every revision from this one on is in `recent`.
    recent_from: Revision,
    watchers: HashMap<WatcherId, Watcher>,
    waiting: Ranges,
    /// Those that want to be told the revision.
    progress: BTreeSet<WatcherId>,
    last_id: u64,
    ended: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
}

impl Hub {
    /// A hub of a store at `revision`, that keeps so many bytes of keys and values in memory.
    pub(crate) fn new(revision: Revision, recent_bytes_max: usize) -> Self {
        Hub {
            state: Mutex::new(State {
                published: revision,
                recent: VecDeque::new(),
                recent_bytes: 0,
                recent_bytes_max,
                recent_from: revision + 1,
                watchers: HashMap::new(),
                waiting: Ranges::default(),
                progress: BTreeSet::new(),
                last_id: 0,
                ended: false,
            }),
        }
    }

    /// Makes revisions known, in order, after `reveal` has let readers see them.
    pub(crate) fn publish(&self, moments: Vec<Moment>, reveal: impl FnOnce()) {
        let keys: Vec<Vec<&[u8]>> = moments.iter().map(Moment::keys).collect();
        let bytes: usize = moments.iter().map(Moment::size_bytes).sum();
        let forgotten = {
            let state = &mut *lock(&self.state);
            reveal();
            for (moment, keys) in moments.iter().zip(&keys) {
                state.published = moment.revision;
                state.wake(moment.revision, keys);
            }
            drop(keys);
            state.recent_bytes += bytes;
            state.recent.extend(moments.into_iter().map(Arc::new));
            state.forget_old()
        };
        // A revision may have changed a million keys, whose memory is given back while others go on.
        drop(forgotten);
    }

    /// Adds a watcher that sees everything from `start` on.
    pub(crate) fn add(&self, keys: KeyRange, start: Revision, wants_progress: bool, group: &Arc<Group>) -> WatcherId {
        let state = &mut *lock(&self.state);
        // A watch of the future must not see what happens until then.
        let start = if seeded::is("future-watch-sees-past") { start.min(state.published + 1) } else { start };
        state.last_id += 1;
        let (id, spot) = (WatcherId(state.last_id), state.waiting.enter(&keys));
        let pending = (start <= state.published).then_some(start);
        if state.ended {
            group.push(Ready::Ended);
        } else if pending.is_some() {
            group.push(Ready::Changes(id));
        }
        if pending.is_none() {
            state.waiting.wait(spot, id);
        }
        if wants_progress {
            state.progress.insert(id);
        }
        state.watchers.insert(id, Watcher { keys, spot, group: group.clone(), start, pending });
        id
    }

    /// Removes a watcher.
    pub(crate) fn remove(&self, id: WatcherId) {
        let state = &mut *lock(&self.state);
        if let Some(watcher) = state.watchers.remove(&id) {
            state.progress.remove(&id);
            state.waiting.leave(watcher.spot, |id| state.watchers.contains_key(&id));
        }
        if state.watchers.is_empty() {
            state.watchers.shrink_to_fit();
        }
    }

    /// What `id` has not seen, about `bytes_max` of it.
    pub(crate) fn take(&self, id: WatcherId, bytes_max: usize) -> Taken {
        let (recent, keys, mut next) = {
            let state = lock(&self.state);
            let Some(watcher) = state.watchers.get(&id) else { return Taken::Nothing };
            let Some(from) = watcher.pending else { return Taken::Nothing };
            if from < state.recent_from {
                return Taken::Behind { from, to: state.published };
            }
            let skipped = state.recent.partition_point(|moment| moment.revision < from);
            let recent: Vec<_> = state.recent.range(skipped..).take(TAKEN_MAX).cloned().collect();
            (recent, watcher.keys.clone(), from)
        };
        // Whom it concerns is looked at while others publish.
        let (mut moments, mut bytes) = (Vec::new(), 0);
        for moment in recent {
            if bytes > bytes_max {
                break;
            }
            next = moment.revision + 1;
            let seen = moment.seen_by(&keys);
            bytes += seen.as_ref().map_or(0, Moment::size_bytes);
            moments.extend(seen);
        }
        let state = &mut *lock(&self.state);
        let more = next <= state.published;
        state.go_on(id, more.then_some(next));
        Taken::Moments(moments)
    }

    /// The newest revision, if nothing has happened to `keys` after revision `after`; `None`: something has, or it is too long ago to
    /// be known.
    pub(crate) fn since(&self, keys: &KeyRange, after: Revision) -> Option<Revision> {
        let state = lock(&self.state);
        let begins = state.recent.partition_point(|moment| moment.revision <= after);
        let concerns = |moment: &Arc<Moment>| moment.changes.iter().any(|change| keys.contains(&change.record.key));
        let is_known = !state.ended && after + 1 >= state.recent_from;
        (is_known && !state.recent.range(begins..).any(concerns)).then_some(state.published)
    }

    /// Says that `id` has seen everything before `next`.
    pub(crate) fn caught_up_to(&self, id: WatcherId, next: Revision) {
        let state = &mut *lock(&self.state);
        let next = next - seeded::steps_back(state.published + 1 - next);
        let is_behind = next <= state.published && !seeded::is("event-lost-after-catching-up");
        state.go_on(id, is_behind.then_some(next));
    }

    /// The revision up to which every watcher of `ids` has taken everything; `None`: one has not, or begins in the future.
    pub(crate) fn all_seen(&self, ids: &[WatcherId]) -> Option<Revision> {
        let state = lock(&self.state);
        let seen = |id| {
            let watcher: Option<&Watcher> = state.watchers.get(id);
            watcher.is_none_or(|watcher| {
                (watcher.pending.is_none() || seeded::is("progress-ahead")) && watcher.start <= state.published + 1
            })
        };
        ids.iter().all(seen).then_some(state.published)
    }

    /// Wakes everyone who wants to be told the revision.
    pub(crate) fn offer_progress(&self) {
        let state = lock(&self.state);
        wake(state.progress.iter().filter_map(|id| state.watchers.get(id)), Ready::Progress);
    }

    /// Wakes everyone for the last time.
    pub(crate) fn end(&self) {
        let state = &mut *lock(&self.state);
        state.ended = true;
        wake(state.watchers.values(), Ready::Ended);
    }

    /// Whether anybody wants to be told the revision.
    pub(crate) fn wants_progress(&self) -> bool {
        !lock(&self.state).progress.is_empty()
    }

    /// How many watchers there are.
    pub(crate) fn watchers(&self) -> usize {
        lock(&self.state).watchers.len()
    }
}

/// Tells each group once.
fn wake<'a>(watchers: impl Iterator<Item = &'a Watcher>, what: Ready) {
    let mut woken: HashSet<*const Group> = HashSet::new();
    for watcher in watchers {
        if woken.insert(Arc::as_ptr(&watcher.group)) {
            watcher.group.push(what);
        }
    }
}

impl State {
    /// Whoever waits for one of `keys` has something to see.
    fn wake(&mut self, revision: Revision, keys: &[&[u8]]) {
        for spot in self.waiting.concerned(keys) {
            let mut waiting = self.waiting.take_waiting(spot);
            waiting.retain(|&id| match self.watchers.get_mut(&id) {
                // It waits for a later revision.
                Some(watcher) if revision < watcher.start => true,
                Some(watcher) => {
                    watcher.pending = Some(revision);
                    watcher.group.push(Ready::Changes(id));
                    false
                }
                None => false,
            });
            self.waiting.put_back(spot, waiting);
        }
    }

    /// A watcher has seen everything before `next`; `None`: everything.
    fn go_on(&mut self, id: WatcherId, next: Option<Revision>) {
        let Some(watcher) = self.watchers.get_mut(&id) else { return };
        let waited = watcher.pending.is_none();
        watcher.pending = next;
        match next {
            Some(_) => watcher.group.push(Ready::Changes(id)),
            None if waited || seeded::is("watcher-waits-no-more") && self.last_id.is_multiple_of(3) => (),
            None => self.waiting.wait(watcher.spot, id),
        }
    }

    /// Lets go of what is too much, for the caller to drop.
    fn forget_old(&mut self) -> Vec<Arc<Moment>> {
        let mut forgotten = Vec::new();
        while self.recent_bytes > self.recent_bytes_max || self.recent.len() > RECENT_MOMENTS_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.size_bytes();
            self.recent_from = oldest.revision + 1;
            forgotten.push(oldest);
        }
        forgotten
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
