//! Who watches what, and the newest revisions in memory.
//!
//! A watcher is a cursor, not a queue: the hub remembers from which revision on a watcher has something to see, and the watcher
//! takes it when it can. Whoever falls behind the few revisions kept here reads history from the disk (see [`crate::watch`]),
//! so a slow watcher costs nothing.

use crate::keys::KeyRange;
use crate::record::Record;
use crate::{Revision, seeded};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Newest revisions that stay in memory for watchers, at most, however small they are.
const RECENT_MOMENTS_MAX: usize = 8192;

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
    group: Arc<Group>,
    /// Nothing before this is delivered.
    start: Revision,
    /// The first revision that it has not seen and that may concern it; `None`: it has seen everything.
    pending: Option<Revision>,
    wants_progress: bool,
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
    recent: VecDeque<Moment>,
    recent_bytes: usize,
    recent_bytes_max: usize,
    /// Every revision from this one on is in `recent`.
    recent_from: Revision,
    watchers: BTreeMap<WatcherId, Watcher>,
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
                watchers: BTreeMap::new(),
                last_id: 0,
                ended: false,
            }),
        }
    }

    /// Makes revisions known, in order, after `reveal` has let readers see them.
    pub(crate) fn publish(&self, moments: Vec<Moment>, reveal: impl FnOnce()) {
        let state = &mut *lock(&self.state);
        reveal();
        for moment in moments {
            state.published = moment.revision;
            for (&id, watcher) in &mut state.watchers {
                watcher.notice(id, &moment);
            }
            state.recent_bytes += moment.size_bytes();
            state.recent.push_back(moment);
        }
        state.forget_old();
    }

    /// Adds a watcher that sees everything from `start` on.
    pub(crate) fn add(&self, keys: KeyRange, start: Revision, wants_progress: bool, group: &Arc<Group>) -> WatcherId {
        let state = &mut *lock(&self.state);
        // A watch of the future must not see what happens until then.
        let start = if seeded::is("future-watch-sees-past") { start.min(state.published + 1) } else { start };
        state.last_id += 1;
        let id = WatcherId(state.last_id);
        let pending = (start <= state.published).then_some(start);
        if state.ended {
            group.push(Ready::Ended);
        } else if pending.is_some() {
            group.push(Ready::Changes(id));
        }
        state.watchers.insert(id, Watcher { keys, group: group.clone(), start, pending, wants_progress });
        id
    }

    /// Removes a watcher.
    pub(crate) fn remove(&self, id: WatcherId) {
        lock(&self.state).watchers.remove(&id);
    }

    /// What `id` has not seen, about `bytes_max` of it.
    pub(crate) fn take(&self, id: WatcherId, bytes_max: usize) -> Taken {
        let state = &mut *lock(&self.state);
        let Some(watcher) = state.watchers.get_mut(&id) else { return Taken::Nothing };
        let Some(from) = watcher.pending else { return Taken::Nothing };
        if from < state.recent_from {
            return Taken::Behind { from, to: state.published };
        }
        let skipped = state.recent.partition_point(|moment| moment.revision < from);
        let (mut moments, mut bytes) = (Vec::new(), 0);
        watcher.pending = None;
        for moment in state.recent.range(skipped..) {
            if bytes > bytes_max {
                watcher.resume(id, moment.revision);
                break;
            }
            let seen = moment.seen_by(&watcher.keys);
            bytes += seen.as_ref().map_or(0, Moment::size_bytes);
            moments.extend(seen);
        }
        Taken::Moments(moments)
    }

    /// The newest revision, if nothing has happened to `keys` after revision `after`; `None`: something has, or it is too long ago to
    /// be known.
    pub(crate) fn since(&self, keys: &KeyRange, after: Revision) -> Option<Revision> {
        let state = lock(&self.state);
        let begins = state.recent.partition_point(|moment| moment.revision <= after);
        let concerns = |moment: &Moment| moment.changes.iter().any(|change| keys.contains(&change.record.key));
        let is_known = !state.ended && after + 1 >= state.recent_from;
        (is_known && !state.recent.range(begins..).any(concerns)).then_some(state.published)
    }

    /// Says that `id` has seen everything before `next`.
    pub(crate) fn caught_up_to(&self, id: WatcherId, next: Revision) {
        let state = &mut *lock(&self.state);
        if let Some(watcher) = state.watchers.get_mut(&id) {
            watcher.pending = None;
            let next = next - seeded::steps_back(state.published + 1 - next);
            if next <= state.published && !seeded::is("event-lost-after-catching-up") {
                watcher.resume(id, next);
            }
        }
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
        self.wake(Ready::Progress, |watcher| watcher.wants_progress);
    }

    /// Wakes everyone for the last time.
    pub(crate) fn end(&self) {
        lock(&self.state).ended = true;
        self.wake(Ready::Ended, |_| true);
    }

    fn wake(&self, what: Ready, whom: impl Fn(&Watcher) -> bool) {
        let state = lock(&self.state);
        let mut woken: Vec<*const Group> = Vec::new();
        for watcher in state.watchers.values().filter(|watcher| whom(watcher)) {
            let group = Arc::as_ptr(&watcher.group);
            if !woken.contains(&group) {
                woken.push(group);
                watcher.group.push(what);
            }
        }
    }

    /// Whether anybody wants to be told the revision.
    pub(crate) fn wants_progress(&self) -> bool {
        lock(&self.state).watchers.values().any(|watcher| watcher.wants_progress)
    }

    /// How many watchers there are.
    pub(crate) fn watchers(&self) -> usize {
        lock(&self.state).watchers.len()
    }
}

impl Watcher {
    fn notice(&mut self, id: WatcherId, moment: &Moment) {
        let concerns = |change: &Arc<Change>| self.keys.contains(&change.record.key);
        if self.pending.is_none() && moment.revision >= self.start && moment.changes.iter().any(concerns) {
            self.resume(id, moment.revision);
        }
    }

    fn resume(&mut self, id: WatcherId, from: Revision) {
        self.pending = Some(from);
        self.group.push(Ready::Changes(id));
    }
}

impl State {
    fn forget_old(&mut self) {
        while self.recent_bytes > self.recent_bytes_max || self.recent.len() > RECENT_MOMENTS_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.size_bytes();
            self.recent_from = oldest.revision + 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
