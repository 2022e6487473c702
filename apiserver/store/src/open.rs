//! Reads the engine into memory: the index, the leases, the revision.

use crate::core::{Core, View};
use crate::engine::{Batch, Engine, EngineError, Mark, Snapshot, Written};
use crate::index::Index;
use crate::lease::Leases;
use crate::record::Point;
use crate::request::{Alarm, Alarms};
use crate::users::Users;
use crate::{Options, Revision, seeded};
use bytes::Bytes;
use rand::Rng;
use std::collections::HashMap;
use std::time::Instant;

/// As in etcd, so that a first compaction to 0 is accepted and one to -1 is not.
pub(crate) const NEVER_COMPACTED: Revision = -1;

/// A store that was read, and the history that a compaction before had no time to remove.
pub(crate) fn open(engine: Box<dyn Engine>, options: Options) -> Result<(Core, Vec<Point>), EngineError> {
    let ids = identity(&*engine)?;
    let snapshot = engine.snapshot()?;
    let compacted = snapshot.mark(Mark::Compacted)?.unwrap_or(NEVER_COMPACTED);
    let history = History::read(&*snapshot)?;
    let leases = leases(&*snapshot, &history)?;
    let users = Users::read(snapshot.users()?)?;
    let mut view = View {
        index: history.index,
        // A fresh etcd answers 1, so that 0 can mean "the present".
        durable: history.newest.max(if seeded::is("revision-lost-in-compaction") { 1 } else { compacted }).max(1),
        compacted,
        history_bytes: history.bytes,
        alarms: alarms(&*snapshot)?,
    };
    let forgotten = view.index.compact(compacted);
    drop(snapshot);
    Ok((Core::new(engine, options, ids, view, leases, users), forgotten))
}

struct History {
    index: Index,
    newest: Revision,
    bytes: u64,
    /// Keys whose last write named a lease.
    leased: HashMap<Bytes, i64>,
}

impl History {
    fn read(snapshot: &dyn Snapshot) -> Result<Self, EngineError> {
        let mut history = History { index: Index::default(), newest: 0, bytes: 0, leased: HashMap::new() };
        snapshot.points(&mut |written| history.add(written))?;
        Ok(history)
    }

    fn add(&mut self, written: Written<'_>) {
        if !(written.gone && seeded::is("revision-lost-at-restart")) {
            self.newest = written.at.revision;
        }
        self.bytes += written.size_bytes;
        match written.lease {
            0 if self.leased.is_empty() => (),
            0 => drop(self.leased.remove(written.key)),
            lease => drop(self.leased.insert(Bytes::copy_from_slice(written.key), lease)),
        }
        self.index.insert(written.key, written.at, written.gone);
    }
}

fn leases(snapshot: &dyn Snapshot, history: &History) -> Result<Leases, EngineError> {
    let (mut leases, now) = (Leases::default(), Instant::now());
    for (id, ttl_seconds) in snapshot.leases()? {
        leases.grant(id, ttl_seconds, now);
    }
    for (key, &lease) in &history.leased {
        leases.attach(key, lease);
    }
    Ok(leases)
}

/// The alarms that were raised and not lowered.
pub(crate) fn alarms(snapshot: &dyn Snapshot) -> Result<Alarms, EngineError> {
    let mut alarms = Alarms::default();
    for alarm in Alarm::ALL {
        let bits = snapshot.mark(alarm.into())?.unwrap_or(0);
        alarms.set_bits(alarm, u8::try_from(bits).unwrap_or(0));
    }
    Ok(alarms)
}

/// The ids that every answer bears; drawn once.
fn identity(engine: &dyn Engine) -> Result<(u64, u64), EngineError> {
    let snapshot = engine.snapshot()?;
    let found = (snapshot.mark(Mark::Cluster)?, snapshot.mark(Mark::Member)?);
    drop(snapshot);
    if let (Some(cluster), Some(member)) = found {
        return Ok((cluster as u64, member as u64));
    }
    let draw = || rand::rng().random_range(1..i64::MAX);
    let (cluster, member) = (draw(), draw());
    let marks = [(Mark::Cluster, cluster), (Mark::Member, member)].into();
    engine.commit(Batch { marks, ..Batch::default() }).map_err(|error| EngineError(error.to_string()))?;
    Ok((cluster as u64, member as u64))
}
