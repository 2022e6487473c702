//! Batches that are durable in the log and not yet in the database, kept in memory to be read.

use super::redb::{RedbSnapshot, in_order};
use super::{Batch, EngineError, Mark, Shelf, Snapshot, Visit, Written};
use crate::record::{Point, Record};
use bytes::Bytes;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Some batches, one after the other; the database takes all of a chunk in one commit.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    state: RwLock<Batches>,
}

/// What a chunk holds.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    /// All of them as one; its records are in order.
    pub sum: Batch,
    /// The number of the last one; 0: there is none.
    pub sequence: u64,
    /// Where in the log the last one's frame ends.
    pub end: u64,
    /// Bytes of their frames, about.
    pub bytes: usize,
    /// They are in no log, and nobody was told that they are durable.
    pub unlogged: bool,
}

impl Chunk {
    /// Adds the next batch. Readers see it at once; they ask for it only once it is announced.
    pub(crate) fn add(&self, batch: Batch, sequence: u64, end: u64, bytes: usize) -> usize {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.sum.records.extend(batch.records);
        state.sum.leases.extend(batch.leases);
        state.sum.marks.extend(batch.marks);
        state.sum.users.extend(batch.users);
        (state.sequence, state.end) = (sequence, end);
        state.bytes += bytes;
        state.bytes
    }

    /// Says that what it holds is in no log.
    pub(crate) fn mark_unlogged(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).unlogged = true;
    }

    /// To look inside.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Batches> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What readers read: the database, and what came after, oldest first. The last chunk is the one being added to.
pub(crate) struct Layers {
    /// The database.
    pub database: Arc<RedbSnapshot>,
    /// After it.
    pub chunks: Vec<Arc<Chunk>>,
}

impl Layers {
    /// The chunk that takes the next batch.
    pub(crate) fn active(&self) -> &Arc<Chunk> {
        self.chunks.last().expect("layers are made with a chunk")
    }
}

/// A snapshot of both.
pub(crate) struct LayeredSnapshot(pub Arc<Layers>);

fn place(records: &[Record], at: Point) -> usize {
    records.partition_point(|record| record.at < at)
}

impl LayeredSnapshot {
    /// What the chunks say; `None`: it is from before them.
    fn in_memory(&self, at: Point) -> Option<Option<Record>> {
        self.0.chunks.iter().rev().find_map(|chunk| {
            let state = chunk.read();
            let records = &state.sum.records;
            let begun = records.first().is_some_and(|first| first.at <= at);
            begun.then(|| records.get(place(records, at)).filter(|record| record.at == at).cloned())
        })
    }
}

impl Snapshot for LayeredSnapshot {
    fn record(&self, at: Point) -> Result<Option<Record>, EngineError> {
        self.in_memory(at).map_or_else(|| self.0.database.record(at), Ok)
    }

    fn shelve(&self, at: Point, shelf: &mut Shelf) -> Result<Option<Record>, EngineError> {
        self.in_memory(at).map_or_else(|| self.0.database.shelve(at, shelf), Ok)
    }

    fn scan(&self, from: Point, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        let mut ended = false;
        self.0.database.scan(from, &mut |at, bytes| {
            let flow = visit(at, bytes);
            ended = flow.is_break();
            flow
        })?;
        let mut row = Vec::new();
        for chunk in &self.0.chunks {
            // Copies share their bytes. Whoever visits may take its time, and must not hold up the writer.
            let records: Vec<Record> = {
                let state = chunk.read();
                state.sum.records[place(&state.sum.records, from)..].to_vec()
            };
            for record in records {
                if ended {
                    return Ok(());
                }
                row.clear();
                record.encode_into(&mut row);
                ended = matches!(visit(record.at, &row), ControlFlow::Break(()));
            }
        }
        Ok(())
    }

    fn points(&self, visit: &mut dyn FnMut(Written<'_>)) -> Result<(), EngineError> {
        let mut last = None;
        self.0.database.points(&mut |written| {
            last = Some(written.at);
            visit(written);
        })?;
        for chunk in &self.0.chunks {
            for record in &chunk.read().sum.records {
                // The log repeats what the database has: its numbers are older than its records.
                last = in_order(last, record.at)?;
                visit(Written::of(record));
            }
        }
        Ok(())
    }

    fn leases(&self) -> Result<Vec<(i64, i64)>, EngineError> {
        let mut leases: std::collections::BTreeMap<i64, i64> = self.0.database.leases()?.into_iter().collect();
        for chunk in &self.0.chunks {
            for (&id, ttl_seconds) in &chunk.read().sum.leases {
                match ttl_seconds {
                    Some(ttl_seconds) => leases.insert(id, *ttl_seconds),
                    None => leases.remove(&id),
                };
            }
        }
        Ok(leases.into_iter().collect())
    }

    fn users(&self) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        let mut users: std::collections::BTreeMap<Bytes, Bytes> = self.0.database.users()?.into_iter().collect();
        for chunk in &self.0.chunks {
            for (name, value) in &chunk.read().sum.users {
                match value {
                    Some(value) => users.insert(name.clone(), value.clone()),
                    None => users.remove(name),
                };
            }
        }
        Ok(users.into_iter().collect())
    }

    fn mark(&self, mark: Mark) -> Result<Option<i64>, EngineError> {
        let newest = self.0.chunks.iter().rev().find_map(|chunk| chunk.read().sum.marks.get(&mark).copied());
        newest.map_or_else(|| self.0.database.mark(mark), |value| Ok(Some(value)))
    }
}
