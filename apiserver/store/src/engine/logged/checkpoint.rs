//! From memory to the database: one chunk after the other, each durable in one commit. On a full disk they stay in memory, and in the log.

use super::{LogMark, Shared, lock, marks};
use crate::engine::chunk::{Chunk, Layers};
use crate::engine::{Batch, Unwritten};
use crate::record::Point;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How often a commit is tried although the disk has no more room than when the last one failed: pages inside the file may be free.
const RETRY_ANYWAY: Duration = Duration::from_secs(5);

/// A disk that had no room for a chunk.
pub(super) struct Full {
    why: String,
    since: Instant,
    /// When it was tried last, and what was free then.
    tried: Instant,
    free_bytes: Option<u64>,
}

impl Shared {
    /// Whether the database had no room for the last chunk.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.full).is_some()
    }

    /// The same, as a refusal.
    pub(super) fn check_space(&self) -> Result<(), Unwritten> {
        lock(&self.full).as_ref().map_or(Ok(()), |full| Err(Unwritten::NoSpace(full.why.clone())))
    }

    /// Adds a batch that goes to no log, in a chunk of its own; see [`Shared::keep_for_later`].
    pub(super) fn add_unlogged(&self, batch: Batch, sequence: u64, bytes: usize) -> Arc<Chunk> {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let chunk = Arc::new(Chunk::default());
        chunk.add(batch, sequence, self.log.end(), bytes);
        chunk.mark_unlogged();
        let mut chunks = layers.chunks.clone();
        // An empty one would tell the database that it has nothing of the log.
        chunks.retain(|chunk| chunk.read().sequence > 0);
        chunks.extend([chunk.clone(), Arc::default()]);
        *layers = Arc::new(Layers { database: layers.database.clone(), chunks });
        chunk
    }

    /// Whether a chunk waits for the database.
    pub(super) fn holds(&self, chunk: &Arc<Chunk>) -> bool {
        self.layers().chunks.iter().any(|held| Arc::ptr_eq(held, chunk))
    }

    /// Brings what is in memory to the database, durable, or fails the engine; without space everything stays where it is.
    pub(super) fn checkpoint(&self, forgotten: &[Point]) -> Result<(), Unwritten> {
        if let Some(full) = &*lock(&self.full)
            && full.tried.elapsed() < RETRY_ANYWAY
            && self.free_bytes().is_some_and(|free| full.free_bytes.is_some_and(|then| free <= then))
        {
            let why = full.why.clone();
            self.drop_unlogged();
            return Err(Unwritten::NoSpace(why));
        }
        let done = self.try_checkpoint(forgotten);
        match &done {
            Ok(()) => self.has_space(),
            Err(Unwritten::NoSpace(why)) => self.keep_for_later(why)?,
            Err(Unwritten::Failed(error)) => self.fail(error),
        }
        done
    }

    fn free_bytes(&self) -> Option<u64> {
        self.spare.as_ref()?.free_bytes()
    }

    fn has_space(&self) {
        if let Some(full) = lock(&self.full).take() {
            tracing::warn!(
                seconds = full.since.elapsed().as_secs(),
                "there is space again, and the database has all that waited"
            );
        }
    }

    /// The database is read anew, because what was open of it is spoilt.
    fn keep_for_later(&self, why: &str) -> Result<(), Unwritten> {
        self.drop_unlogged();
        let read = self.database().read().inspect_err(|error| self.fail(error))?;
        self.show(Arc::new(read), None);
        let (now, free_bytes) = (Instant::now(), self.free_bytes());
        let since = lock(&self.full).as_ref().map(|full| full.since);
        if since.is_none() {
            tracing::error!(
                why,
                "the disk is full; reads go on, writes as long as the log has room, and the rest when there is space"
            );
        }
        *lock(&self.full) = Some(Full { why: why.to_owned(), since: since.unwrap_or(now), tried: now, free_bytes });
        // Whoever waits for room in the log learns that there will be none.
        self.log.wake();
        Ok(())
    }

    /// What is in no log is refused when the database has no room for it.
    fn drop_unlogged(&self) {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let logged = layers.chunks.iter().filter(|chunk| !chunk.read().unlogged).cloned().collect();
        *layers = Arc::new(Layers { database: layers.database.clone(), chunks: logged });
    }

    /// Everything but what will be added: the chunks that the database is to take.
    fn sealed(&self) -> Vec<Arc<Chunk>> {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let mut chunks = layers.chunks.clone();
        if layers.active().read().sequence > 0 {
            chunks.push(Arc::default());
            *layers = Arc::new(Layers { database: layers.database.clone(), chunks: chunks.clone() });
        }
        chunks.pop();
        chunks
    }

    fn try_checkpoint(&self, forgotten: &[Point]) -> Result<(), Unwritten> {
        let sealed = self.sealed();
        for (number, chunk) in sealed.iter().enumerate() {
            // What is to be forgotten may be in the last of them.
            let forgotten = if number + 1 == sealed.len() { forgotten } else { &[] };
            self.take(chunk, forgotten)?;
        }
        if sealed.is_empty() && !forgotten.is_empty() {
            let begun = Instant::now();
            self.database().write(&Batch::default(), forgotten)?;
            self.commits.add(begun.elapsed());
            self.show(Arc::new(self.database().read()?), None);
        }
        Ok(())
    }

    fn take(&self, chunk: &Arc<Chunk>, forgotten: &[Point]) -> Result<(), Unwritten> {
        let (batches, database, begun) = (chunk.read(), self.database(), Instant::now());
        let mark = LogMark { id: self.log.id(), sequence: batches.sequence, end: batches.end };
        database.write_with(&batches.sum, forgotten, &marks(mark))?;
        self.commits.add(begun.elapsed());
        // Before the chunk goes: who waits for it looks first whether it is still there.
        self.checkpointed.store(batches.sequence, Ordering::Release);
        self.show(Arc::new(database.read()?), Some(chunk));
        self.log.release(batches.end);
        Ok(())
    }
}
