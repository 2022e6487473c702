//! What readers and the writer share: the engine, the index in memory, the leases, the hub of watchers.

use crate::engine::{Engine, EngineError, Shelf, Snapshot, missing};
use crate::hub::Hub;
use crate::index::{Index, LATEST};
use crate::keys::KeyRange;
use crate::lease::Leases;
use crate::metrics::Metrics;
use crate::record::{Point, Record};
use crate::request::{Alarm, Alarms, Direction, Raiser, Range, Ranged, Refusal, SortBy, Want};
use crate::users::{Caller, Denied, Right, Tokens, Users};
use crate::watch::Past;
use crate::{Options, Revision, seeded};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

/// What a reader must see at one instant.
#[derive(Debug)]
pub(crate) struct View {
    /// Every key, durable or not.
    pub index: Index,
    /// The newest revision that is durable.
    pub durable: Revision,
    /// What history was last compacted to; older revisions cannot be read.
    pub compacted: Revision,
    /// Bytes of the history kept, without the engine's own; see [`Core::count_removed`].
    pub history_bytes: u64,
    /// The alarms raised.
    pub alarms: Alarms,
}

/// See the module.
pub(crate) struct Core {
    // Fixed at opening.
    pub engine: Box<dyn Engine>,
    pub options: Options,
    pub cluster: u64,
    pub member: u64,
    /// It was opened to be looked at: nothing is written, and no lease ends.
    pub only_looks: bool,

    // Written by the writer only, except that anyone may keep a lease alive, and count what was removed.
    view: RwLock<View>,
    leases: Mutex<Leases>,
    users: RwLock<Arc<Users>>,
    /// Who has shown a password lately.
    tokens: Mutex<Tokens>,
    /// Why there was no room on the disk when something was written last.
    full: Mutex<Option<String>>,
    failed: OnceLock<String>,
    pub hub: Hub,
    /// What watchers that are behind read.
    pub past: Past,

    // Counted by everybody.
    pub metrics: Metrics,
}

impl Core {
    /// Over an engine whose history was read into `view` and `leases`.
    pub(crate) fn new(
        engine: Box<dyn Engine>,
        options: Options,
        ids: (u64, u64),
        view: View,
        leases: Leases,
        users: Users,
    ) -> Self {
        let hub = Hub::new(view.durable, options.recent_bytes);
        let metrics = Metrics::of(view.index.count(&KeyRange::everything(), view.durable));
        let (view, leases) = (RwLock::new(view), Mutex::new(leases));
        let (full, failed) = (Mutex::default(), OnceLock::new());
        Core {
            engine,
            options,
            cluster: ids.0,
            member: ids.1,
            only_looks: false,
            view,
            leases,
            users: RwLock::new(Arc::new(users)),
            tokens: Mutex::default(),
            full,
            failed,
            hub,
            past: Past::default(),
            metrics,
        }
    }

    /// To read the index.
    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change it: the writer only, but for [`Core::count_removed`].
    pub(crate) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leases.
    pub(crate) fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Users and roles, as they are now.
    pub(crate) fn users(&self) -> Arc<Users> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces them: the writer only.
    pub(crate) fn set_users(&self, users: Arc<Users>) {
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = users;
    }

    /// Whether a caller has a right to every key of a lease.
    pub(crate) fn check_lease(&self, caller: &Caller, id: i64, right: Right) -> Result<(), Denied> {
        let users = self.users();
        if *caller == Caller::Us || !users.is_enabled() {
            return Ok(());
        }
        let keys = self.leases().view(id, Instant::now()).map_or_else(Vec::new, |lease| lease.keys);
        users.check_lease(caller, &keys, right)
    }

    /// The tokens that are good.
    pub(crate) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses everything from now on.
    pub(crate) fn fail(&self, why: &str) {
        // The first reason is the cause; later ones follow from it.
        let _first_reason_counts = self.failed.set(why.to_owned());
        self.hub.end();
    }

    /// Says that the disk is full, or is not any more.
    pub(crate) fn set_full(&self, why: Option<String>) {
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why nothing that takes space is done now, if it is the disk.
    pub(crate) fn full(&self) -> Option<String> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an alarm is on: raised, or true of the disk now.
    pub(crate) fn is_alarmed(&self, alarm: Alarm, raiser: Raiser) -> bool {
        let by_itself = (alarm, raiser) == (Alarm::NoSpace, Raiser::Us) && self.full().is_some();
        by_itself || self.view().alarms.has_for(alarm, raiser)
    }

    /// Whether the store still works.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        match self.failed.get() {
            None => Ok(()),
            Some(why) => Err(Refusal::Failed(why.clone())),
        }
    }

    /// Whether the store works and was opened to be written to.
    pub(crate) fn check_owned(&self) -> Result<(), Refusal> {
        self.check()?;
        if self.only_looks { Err(Refusal::OnlyLooks) } else { Ok(()) }
    }

    /// Whether data may be written: not while damaged data must not be touched.
    pub(crate) fn check_writable(&self) -> Result<(), Refusal> {
        self.check_owned()?;
        if self.view().alarms.has(Alarm::Corrupt) { Err(Refusal::Corrupt) } else { Ok(()) }
    }

    /// Counts what the engine has removed since the last time. It removes when it has time, so whoever wants to know asks first.
    pub(crate) fn count_removed(&self) {
        let removed = self.engine.take_removed_bytes();
        if removed > 0 {
            let view = &mut *self.view_mut();
            view.history_bytes = view.history_bytes.saturating_sub(removed);
        }
    }

    /// The newest durable revision.
    pub(crate) fn revision(&self) -> Revision {
        self.view().durable
    }

    /// Decides which records answer a range, and holds the state they are to be read from.
    pub(crate) fn picked(&self, range: &Range) -> Result<(Picked, Box<dyn Snapshot>), Refusal> {
        self.check()?;
        let view = self.view();
        let newest = seeded::stale(view.durable);
        let picked = pick(&view, range, newest, newest)?;
        // Opened under the lock: a compaction that is about to remove these records waits for it.
        Ok((picked, self.engine.snapshot()?))
    }

    /// Answers a range of a caller's from durable state.
    pub(crate) fn range(&self, caller: &Caller, range: &Range) -> Result<Ranged, Refusal> {
        let users = self.users();
        users.check_read(caller, &range.keys)?;
        let found = self.found(range)?;
        // Rights that were taken away meanwhile are not used.
        let is_stale = users.is_enabled() && *caller != Caller::Us && self.users().revision() != users.revision();
        if is_stale { Err(Denied::OldRevision.into()) } else { Ok(found) }
    }

    fn found(&self, range: &Range) -> Result<Ranged, Refusal> {
        self.metrics.ranges.add(1);
        let (picked, snapshot) = self.picked(range)?;
        if picked.points.len() < SHELVED_MIN {
            return fetch(picked, range, |point| read(&*snapshot, point));
        }
        let mut shelf = Shelf::default();
        fetch(picked, range, |point| snapshot.shelve(point, &mut shelf)?.ok_or_else(|| missing(point)))
    }
}

/// From so many records on, those of one answer share their memory.
const SHELVED_MIN: usize = 16;

/// Reads a record that the index says exists.
pub(crate) fn read(snapshot: &dyn Snapshot, point: Point) -> Result<Record, EngineError> {
    snapshot.record(point)?.ok_or_else(|| missing(point))
}

/// Which records a range needs.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Where they stand, in the order of their keys; one more than the limit if there are more.
    pub points: Vec<Point>,
    /// Keys in the range.
    pub count: usize,
    /// The revision that the answer bears.
    pub revision: Revision,
}

/// Decides which records answer `range`: `newest` is the revision its answer bears, `present` what revision 0 reads.
pub(crate) fn pick(view: &View, range: &Range, newest: Revision, present: Revision) -> Result<Picked, Refusal> {
    let at = match range.revision {
        asked if asked <= 0 => present,
        asked if asked > newest => return Err(Refusal::Future { newest }),
        asked if asked < view.compacted && !(present == LATEST && seeded::is("compacted-read-in-transaction")) => {
            return Err(Refusal::Compacted { oldest: view.compacted });
        }
        asked => asked,
    };
    let needed = match (range.want, range.limit) {
        (Want::CountOnly, _) => 0,
        (_, 0) => usize::MAX,
        _ if range.is_picky() => usize::MAX,
        (_, limit) => limit.saturating_add(1),
    };
    let points: Vec<Point> = view.index.range(&range.keys, at).take(needed).map(|(_, point)| point).collect();
    let count = if points.len() < needed { points.len() } else { view.index.count(&range.keys, at) };
    Ok(Picked { points, count, revision: newest })
}

/// Reads what was picked, and filters, sorts and cuts it.
pub(crate) fn fetch(
    picked: Picked,
    range: &Range,
    mut read: impl FnMut(Point) -> Result<Record, EngineError>,
) -> Result<Ranged, Refusal> {
    let mut records = Vec::with_capacity(picked.points.len());
    for point in picked.points {
        let record = read(point)?;
        if within(record.at.revision, range.modified) && within(record.created, range.created) {
            records.push(record);
        }
    }
    if let Some((by, direction)) = range.sort {
        sort(&mut records, by, direction);
    }
    let more = range.limit > 0 && records.len() > range.limit;
    if more {
        records.truncate(range.limit);
    }
    if range.want == Want::KeysOnly {
        records.iter_mut().for_each(|record| record.value.clear());
    }
    Ok(Ranged { records, more, count: picked.count, revision: picked.revision })
}

fn within(revision: Revision, (min, max): (Revision, Revision)) -> bool {
    (min == 0 || revision >= min) && (max == 0 || revision <= max)
}

fn sort(records: &mut [Record], by: SortBy, direction: Direction) {
    records.sort_by(|a, b| {
        let order = match by {
            SortBy::Key => a.key.cmp(&b.key),
            SortBy::Version => a.version.cmp(&b.version),
            SortBy::Created => a.created.cmp(&b.created),
            SortBy::Modified => a.at.revision.cmp(&b.at.revision),
            SortBy::Value => a.value.cmp(&b.value),
        };
        match direction {
            Direction::Ascending => order,
            Direction::Descending => order.reverse(),
        }
    });
}

/// Counts the keys of a range as the writer sees them.
pub(crate) fn keys_of(view: &View, keys: &KeyRange) -> Vec<Point> {
    view.index.range(keys, LATEST).map(|(_, point)| point).collect()
}
