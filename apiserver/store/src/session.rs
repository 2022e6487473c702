//! The writer's work between two commits: applies transactions one after the other, each seeing those before it.
//!
//! What it writes goes into a [`Batch`] and, invisible to readers until it is durable, into the index.

use crate::core::{Core, fetch, keys_of, pick, read};
use crate::engine::{Batch, EngineError, Snapshot};
use crate::hub::{Change, Moment};
use crate::index::LATEST;
use crate::keys::KeyRange;
use crate::lease::{Lease, TTL_SECONDS_MAX, TTL_SECONDS_MIN};
use crate::plan::{self, Path, Present};
use crate::record::{Point, Record};
use crate::request::{Alarm, Alarms, Compare, Delete, Done, Op, Put, Raiser, Refusal, Txn, TxnDone};
use crate::users::{Caller, Change as UsersChange, Right, Users};
use crate::{Revision, seeded};
use rand::Rng;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// See the module.
pub(crate) struct Session<'a> {
    core: &'a Core,
    snapshot: Box<dyn Snapshot>,
    /// What is to become durable.
    pub batch: Batch,
    /// Bytes of what was written.
    pub bytes: usize,
    /// What is to be announced.
    pub moments: Vec<Moment>,
    written: HashMap<Point, Record>,
    /// The newest revision, durable or not.
    pub revision: Revision,
    /// The changes of the transaction being applied.
    changes: Vec<Arc<Change>>,
    /// What was done in memory, in order.
    done_in_memory: Vec<Undo>,
}

/// Something done in memory that a full disk makes undone.
enum Undo {
    Wrote(Arc<Change>),
    Granted(i64),
    Revoked(i64, Lease),
    /// What they were before.
    Alarms(Alarms),
    /// The same.
    Users(Arc<Users>),
}

/// Whether a request makes the database larger.
#[derive(Clone, Copy)]
enum Takes {
    Space,
    Nothing,
}

impl<'a> Session<'a> {
    /// Begins where the last one's commit ended.
    pub(crate) fn begin(core: &'a Core) -> Result<Self, Refusal> {
        core.check()?;
        Ok(Session {
            core,
            snapshot: core.engine.snapshot()?,
            batch: Batch::default(),
            bytes: 0,
            moments: Vec::new(),
            written: HashMap::new(),
            revision: core.revision(),
            changes: Vec::new(),
            done_in_memory: Vec::new(),
        })
    }

    /// Does all of `txn`, or refuses it and does nothing.
    pub(crate) fn apply(&mut self, txn: &Txn, caller: &Caller) -> Result<TxnDone, Refusal> {
        let keys_of = |lease| self.core.leases().view(lease, Instant::now()).map_or_else(Vec::new, |lease| lease.keys);
        self.core.users().check_txn(caller, txn, &keys_of)?;
        self.check_space(txn)?;
        let path = plan::decide(txn, self)?;
        plan::check(txn, &path, self)?;
        let done = self.run(txn, &path)?;
        self.core.metrics.txns.add(1);
        self.seal();
        Ok(TxnDone { succeeded: path.succeeded, done, revision: self.revision })
    }

    /// Grants a lease; id 0: draws one. Returns id and TTL.
    pub(crate) fn grant(&mut self, id: i64, ttl_seconds: i64) -> Result<(i64, i64), Refusal> {
        if ttl_seconds > TTL_SECONDS_MAX {
            return Err(Refusal::LeaseTooLong);
        }
        self.check_alarms(Takes::Space)?;
        let mut leases = self.core.leases();
        let id = match id {
            0 => draw(|id| !leases.contains(id)),
            id if leases.contains(id) => return Err(Refusal::LeaseExists),
            id => id,
        };
        let ttl_seconds = ttl_seconds.max(TTL_SECONDS_MIN);
        leases.grant(id, ttl_seconds, Instant::now());
        self.done_in_memory.push(Undo::Granted(id));
        self.batch.leases.insert(id, Some(ttl_seconds));
        self.core.metrics.granted.add(1);
        Ok((id, ttl_seconds))
    }

    /// Ends a lease and deletes its keys.
    pub(crate) fn revoke(&mut self, id: i64, caller: &Caller) -> Result<(), Refusal> {
        self.check_alarms(Takes::Nothing)?;
        self.core.check_lease(caller, id, Right::Write)?;
        let lease = self.core.leases().take(id).ok_or(Refusal::LeaseNotFound)?;
        self.batch.leases.insert(id, None);
        for key in lease.keys() {
            self.delete_all(&KeyRange::single(key.clone()))?;
        }
        // After the deletions, so that it is back before them.
        self.done_in_memory.push(Undo::Revoked(id, lease));
        self.core.metrics.revoked.add(1);
        self.seal();
        Ok(())
    }

    /// A lease's time was over.
    pub(crate) fn count_expired(&self) {
        self.core.metrics.expired.add(1);
    }

    /// The leases whose time is over, at most so many; none while damaged data must not be touched.
    pub(crate) fn expired(&self, count_max: usize) -> Vec<i64> {
        if self.check_alarms(Takes::Nothing).is_err() {
            return Vec::new();
        }
        self.core.leases().expired(Instant::now(), count_max)
    }

    /// Changes users and roles.
    pub(crate) fn change_users(&mut self, change: &UsersChange, caller: &Caller) -> Result<(), Refusal> {
        self.check_alarms(Takes::Space)?;
        let before = self.core.users();
        before.check_admin(caller)?;
        let mut users = (*before).clone();
        self.batch.users.extend(users.change(change)?);
        self.core.set_users(Arc::new(users));
        self.done_in_memory.push(Undo::Users(before));
        match change {
            UsersChange::DeleteUser(name) | UsersChange::SetPassword(name, _) => self.core.tokens().forget(name),
            UsersChange::Disable => self.core.tokens().forget_all(),
            _ => (),
        }
        Ok(())
    }

    /// Lowers or raises an alarm.
    pub(crate) fn set_alarm(&mut self, alarm: Alarm, raiser: Raiser, raised: bool) -> Result<(), Refusal> {
        self.core.check_owned()?;
        let alarms = &mut self.core.view_mut().alarms;
        self.done_in_memory.push(Undo::Alarms(*alarms));
        alarms.set(alarm, raiser, raised);
        self.batch.marks.insert(alarm.into(), i64::from(alarms.bits(alarm)));
        Ok(())
    }

    fn check_alarms(&self, takes: Takes) -> Result<(), Refusal> {
        self.core.check_writable()?;
        let alarms = self.core.view().alarms;
        match takes {
            Takes::Space if alarms.has(Alarm::NoSpace) => Err(Refusal::NoSpace),
            Takes::Space => self.core.full().map_or(Ok(()), |why| Err(Refusal::DiskFull(why))),
            Takes::Nothing => Ok(()),
        }
    }

    /// Forgets all of it: it found no room on the disk, and nobody was told of it.
    pub(crate) fn undo(mut self) {
        while let Some(step) = self.done_in_memory.pop() {
            match step {
                Undo::Wrote(change) => {
                    let Change { record, previous } = &*change;
                    let view = &mut *self.core.view_mut();
                    view.index.take_back(&record.key, record.at);
                    view.history_bytes = view.history_bytes.saturating_sub(record.size_bytes() as u64);
                    self.core.leases().attach(&record.key, previous.as_ref().map_or(0, |previous| previous.lease));
                    self.core.metrics.took_back(record);
                }
                Undo::Granted(id) => drop(self.core.leases().take(id)),
                Undo::Revoked(id, lease) => self.core.leases().put_back(id, lease),
                Undo::Users(before) => self.core.set_users(before),
                Undo::Alarms(before) => self.core.view_mut().alarms = before,
            }
        }
    }

    fn check_space(&mut self, txn: &Txn) -> Result<(), Refusal> {
        if !plan::may_write(txn) {
            return Ok(());
        }
        if !plan::may_put(txn) {
            return self.check_alarms(Takes::Nothing);
        }
        self.check_alarms(Takes::Space)?;
        let used = self.core.view().history_bytes;
        if used + plan::put_bytes(txn) > self.core.options.quota_bytes {
            self.set_alarm(Alarm::NoSpace, Raiser::Us, true)?;
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }

    fn run(&mut self, txn: &Txn, path: &Path) -> Result<Vec<Done>, Refusal> {
        let mut inside = path.inside.iter();
        let mut done = Vec::new();
        for op in plan::branch(txn, path.succeeded) {
            done.push(match op {
                Op::Range(range) => {
                    let newest = self.revision + i64::from(!self.changes.is_empty());
                    let picked = pick(&self.core.view(), range, newest, LATEST)?;
                    Done::Range(fetch(picked, range, |point| self.read(point))?)
                }
                Op::Put(put) => self.put(put)?,
                Op::Delete(delete) => self.delete(delete)?,
                Op::Txn(txn) => {
                    let path = inside.next().expect("decide made a path for each transaction inside");
                    Done::Txn { succeeded: path.succeeded, done: self.run(txn, path)? }
                }
            });
        }
        Ok(done)
    }

    fn put(&mut self, put: &Put) -> Result<Done, Refusal> {
        let at = self.next_point();
        let point = self.core.view().index.at(&put.key, LATEST);
        let previous = point.map(|point| self.read(point)).transpose()?;
        let old = previous.as_ref();
        let record = Record {
            at,
            key: put.key.clone(),
            value: put.value.clone().or_else(|| Some(old?.value.clone())).ok_or(Refusal::KeyNotFound)?,
            created: old.map_or(at.revision, |old| old.created),
            version: old.map_or(0, |old| old.version) + 1,
            lease: put.lease.or_else(|| Some(old?.lease)).ok_or(Refusal::KeyNotFound)?,
        };
        self.write(record.in_own_memory(), previous.clone());
        Ok(Done::Put { previous: previous.filter(|_| put.want_previous), revision: at.revision })
    }

    fn delete(&mut self, delete: &Delete) -> Result<Done, Refusal> {
        let previous = self.delete_all(&delete.keys)?;
        let revision = self.revision + i64::from(!self.changes.is_empty());
        let deleted = previous.len();
        Ok(Done::Delete { deleted, previous: if delete.want_previous { previous } else { Vec::new() }, revision })
    }

    fn delete_all(&mut self, keys: &KeyRange) -> Result<Vec<Record>, Refusal> {
        let points = keys_of(&self.core.view(), keys);
        let mut previous = Vec::with_capacity(points.len());
        for point in points {
            let record = self.read(point)?;
            self.write(Record::tombstone(self.next_point(), record.key.clone()), Some(record.clone()));
            previous.push(record);
        }
        Ok(previous)
    }

    fn next_point(&self) -> Point {
        let sub = u32::try_from(self.changes.len()).expect("a transaction changes fewer keys than fit in memory");
        Point { revision: self.revision + 1, sub }
    }

    fn read(&self, point: Point) -> Result<Record, EngineError> {
        match self.written.get(&point) {
            Some(record) => Ok(record.clone()),
            None => read(&*self.snapshot, point),
        }
    }

    fn write(&mut self, record: Record, previous: Option<Record>) {
        {
            let mut view = self.core.view_mut();
            view.index.insert(&record.key, record.at, record.is_tombstone());
            view.history_bytes += record.size_bytes() as u64;
        }
        self.core.leases().attach(&record.key, record.lease);
        self.bytes += record.size_bytes();
        self.core.metrics.wrote(&record);
        self.written.insert(record.at, record.clone());
        self.batch.records.push(record.clone());
        let change = Arc::new(Change { record, previous });
        self.done_in_memory.push(Undo::Wrote(change.clone()));
        self.changes.push(change);
    }

    /// Ends a transaction: what it changed is one revision.
    fn seal(&mut self) {
        if !self.changes.is_empty() {
            self.revision += 1;
            self.moments.push(Moment { revision: self.revision, changes: std::mem::take(&mut self.changes) });
        }
    }
}

impl Present for Session<'_> {
    fn records(&self, compare: &Compare) -> Result<Vec<Record>, EngineError> {
        let points = match seeded::is("compare-with-stale-state") {
            true => self.core.view().index.range(&compare.keys, self.core.revision()).map(|(_, point)| point).collect(),
            false => keys_of(&self.core.view(), &compare.keys),
        };
        points.into_iter().map(|point| self.read(point)).collect()
    }

    fn exists(&self, key: &[u8]) -> bool {
        self.core.view().index.at(key, LATEST).is_some()
    }

    fn has_lease(&self, lease: i64) -> bool {
        self.core.leases().contains(lease)
    }

    fn bounds(&self) -> (Revision, Revision) {
        (self.revision, self.core.view().compacted)
    }
}

fn draw(free: impl Fn(i64) -> bool) -> i64 {
    loop {
        let id = rand::rng().random_range(1..=i64::MAX);
        if free(id) {
            return id;
        }
    }
}
