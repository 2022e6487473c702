//! Watching: history first, then what happens, without a gap or a repetition.

use crate::core::{Core, read};
use crate::engine::{EngineError, decode};
use crate::hub::{Change, Group, Moment, Taken, WatcherId};
use crate::keys::KeyRange;
use crate::record::{Point, Record, encoded_key};
use crate::request::Refusal;
use crate::{Revision, seeded};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Records that one look into history passes, at most: bounds how long it holds a snapshot.
const SCANNED_MAX: usize = 10_000;
/// Bytes that one batch delivers, about: with those that wait for a client that reads slowly, 4 MiB a stream.
const BATCH_BYTES: usize = 256 << 10;

/// One watch; ends when dropped.
pub(crate) struct Watcher {
    core: Arc<Core>,
    keys: KeyRange,
    id: WatcherId,
}

impl Watcher {
    /// Watches `keys` from revision `start` on; `group` is told when there is something to [`Watcher::take`].
    pub(crate) fn add(
        core: &Arc<Core>,
        keys: KeyRange,
        start: Revision,
        wants_progress: bool,
        group: &Arc<Group>,
    ) -> Self {
        let id = core.hub.add(keys.clone(), start, wants_progress, group);
        Watcher { core: core.clone(), keys, id }
    }

    /// Its name in its group.
    pub(crate) fn id(&self) -> WatcherId {
        self.id
    }

    /// What happened since; empty: nothing, or nothing of interest yet, and the group will be told.
    pub(crate) async fn take(&self) -> Result<Vec<Moment>, Refusal> {
        self.core.check()?;
        match self.core.hub.take(self.id, BATCH_BYTES) {
            Taken::Nothing => Ok(Vec::new()),
            Taken::Moments(moments) => Ok(moments),
            Taken::Behind { from, to } => {
                let (core, keys) = (self.core.clone(), self.keys.clone());
                let read = tokio::task::spawn_blocking(move || replay(&core, &keys, from, to));
                let (moments, next) = read.await.map_err(|error| Refusal::Failed(error.to_string()))??;
                self.core.hub.caught_up_to(self.id, next);
                Ok(moments)
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.core.hub.remove(self.id);
    }
}

/// Reads revisions `from` to `to` from the disk; returns also the first revision not read.
fn replay(core: &Core, keys: &KeyRange, from: Revision, to: Revision) -> Result<(Vec<Moment>, Revision), Refusal> {
    let snapshot = {
        let view = core.view();
        still_kept(from, view.compacted)?;
        core.engine.snapshot()?
    };
    let mut replay =
        Replay { keys, to, records: Vec::new(), scanned: 0, bytes: 0, next: to + 1, last: 0, damage: None };
    snapshot.scan(Point::start_of(from), &mut |point, bytes| replay.visit(point, bytes))?;
    if let Some(damage) = replay.damage {
        return Err(damage.into());
    }
    let mut moments: Vec<Moment> = Vec::new();
    for record in replay.records {
        let before = core.view().index.before(&record.key, record.at);
        let before = before.map(|point| match seeded::is("older-previous-value") {
            true => core.view().index.before(&record.key, point).unwrap_or(point),
            false => point,
        });
        let previous = before.map(|point| read(&*snapshot, point)).transpose()?;
        let revision = record.at.revision;
        let change = Arc::new(Change { record, previous });
        match moments.last_mut().filter(|moment| moment.revision == revision) {
            Some(moment) => moment.changes.push(change),
            None => moments.push(Moment { revision, changes: vec![change] }),
        }
    }
    // A compaction meanwhile may have taken what was replaced from the index.
    still_kept(from, core.view().compacted)?;
    Ok((moments, replay.next))
}

fn still_kept(from: Revision, compacted: Revision) -> Result<(), Refusal> {
    if from < compacted { Err(Refusal::Compacted { oldest: compacted }) } else { Ok(()) }
}

struct Replay<'a> {
    keys: &'a KeyRange,
    to: Revision,
    records: Vec<Record>,
    scanned: usize,
    bytes: usize,
    next: Revision,
    last: Revision,
    damage: Option<EngineError>,
}

impl Replay<'_> {
    fn visit(&mut self, point: Point, bytes: &[u8]) -> ControlFlow<()> {
        let full = self.scanned >= SCANNED_MAX || self.bytes >= BATCH_BYTES;
        if point.revision > self.to || (full && point.revision != self.last) {
            self.next = self.next.min(point.revision);
            return ControlFlow::Break(());
        }
        self.last = point.revision;
        self.scanned += 1;
        if encoded_key(bytes).is_none_or(|key| self.keys.contains(key)) {
            match decode(point, bytes) {
                Ok(record) => self.records.push(record),
                Err(damage) => {
                    self.damage = Some(damage);
                    return ControlFlow::Break(());
                }
            }
            self.bytes += bytes.len();
        }
        ControlFlow::Continue(())
    }
}
