//! What the store needs of a disk engine: durable batches and consistent snapshots. See [`redb`](mod@redb) for the one we use.

pub(crate) mod disk;
pub(crate) mod redb;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::record::{Point, Record};
use crate::request::Alarm;

/// The engine failed. The text names the operation.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct EngineError(pub String);

/// A number that the engine keeps by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// Layout of the tables.
    Format,
    /// The revision that history was last compacted to.
    Compacted,
    /// Our cluster's identity.
    Cluster,
    /// Our own identity.
    Member,
    /// Whether the space alarm was raised.
    NoSpace,
    /// Whether the alarm of damaged data was raised.
    Corrupt,
}

impl From<Alarm> for Mark {
    fn from(alarm: Alarm) -> Self {
        match alarm {
            Alarm::NoSpace => Mark::NoSpace,
            Alarm::Corrupt => Mark::Corrupt,
        }
    }
}

/// Changes that become durable together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// New history.
    pub records: Vec<Record>,
    /// History to forget.
    pub forgotten: Vec<Point>,
    /// Leases granted (their TTL in seconds) and gone.
    pub leases: BTreeMap<i64, Option<i64>>,
    /// Numbers to keep.
    pub marks: BTreeMap<Mark, i64>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.forgotten.is_empty() && self.leases.is_empty() && self.marks.is_empty()
    }
}

/// What a commit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Bytes of the records forgotten.
    pub forgotten_bytes: u64,
}

/// A disk engine.
pub(crate) trait Engine: Send + Sync + 'static {
    /// What is durable now, whatever is committed later.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError>;
    /// Writes all of `batch` or nothing; durable when it returns. After an error nobody knows which, and the caller must stop.
    fn commit(&self, batch: &Batch) -> Result<Committed, EngineError>;
    /// Bytes the files take.
    fn disk_bytes(&self) -> u64;
    /// Gives free space back to the file system; waits for nobody: fails while snapshots are in use.
    fn defragment(&self) -> Result<(), EngineError>;
    /// Closes the files; everything fails from now on.
    fn close(&self);
}

/// A consistent state of the engine.
pub(crate) trait Snapshot: Send {
    /// The record at a point.
    fn record(&self, at: Point) -> Result<Option<Record>, EngineError>;
    /// Encoded records from a point on, in order, until `visit` breaks.
    fn scan(&self, from: Point, visit: &mut Visit<'_>) -> Result<(), EngineError>;
    /// Every lease and its TTL in seconds.
    fn leases(&self) -> Result<Vec<(i64, i64)>, EngineError>;
    /// A number kept.
    fn mark(&self, mark: Mark) -> Result<Option<i64>, EngineError>;
}

/// Sees one encoded record.
pub(crate) type Visit<'a> = dyn FnMut(Point, &[u8]) -> ControlFlow<()> + 'a;

/// Decodes, or says which record is damaged.
pub(crate) fn decode(at: Point, bytes: &[u8]) -> Result<Record, EngineError> {
    Record::decode(at, &Bytes::copy_from_slice(bytes))
        .ok_or_else(|| EngineError(format!("the record at {}.{} is damaged", at.revision, at.sub)))
}
