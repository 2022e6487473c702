//! What the store needs of a disk engine: durable batches and consistent snapshots.
//!
//! Ours is a log in front of a database ([`logged`]); the database alone ([`redb`](mod@redb)) is one too, a slower one.

pub(crate) mod chunk; // what the log has and the database has not yet
pub(crate) mod disk; // a file
pub(crate) mod frame; // one batch, as bytes
pub(crate) mod guard; // panics of the database's library
pub(crate) mod log; // the file of batches
pub(crate) mod logged; // log and database together
pub(crate) mod redb; // the database
pub(crate) mod ring; // where in the file of batches
pub(crate) mod rows; // what the database's tables hold

use crate::metrics::Durations;
use crate::record::{Point, Record};
use crate::request::Alarm;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The engine failed. The text names the operation.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct EngineError(pub String);

/// Why a batch was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Unwritten {
    /// There is no room for it. Nothing of it is written, everything else is as it was, and a later batch may fit.
    #[error("{0}")]
    NoSpace(String),
    /// The engine failed: nobody knows how much of it is written.
    #[error(transparent)]
    Failed(#[from] EngineError),
}

/// Whether a disk refused because it is full. Only of writes: a sync that fails has failed, whatever it says.
pub(crate) fn is_no_space(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

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
    /// The id of the log that belongs to the database; the engine's own, like the next two.
    Log,
    /// The last batch of the log that the database has.
    Logged,
    /// Where in the log that batch's frame ends.
    LogAt,
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// New history.
    pub records: Vec<Record>,
    /// History to forget, some time: what is forgotten follows from [`Mark::Compacted`], and is found anew at the next start.
    pub forgotten: Vec<Point>,
    /// Leases granted (their TTL in seconds) and gone.
    pub leases: BTreeMap<i64, Option<i64>>,
    /// Numbers to keep.
    pub marks: BTreeMap<Mark, i64>,
    /// Users and roles by the names they are kept under; `None`: gone.
    pub users: BTreeMap<Bytes, Option<Bytes>>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.forgotten.is_empty() && self.needs_no_log()
    }

    /// Whether there is nothing that must be durable before it is known.
    pub(crate) fn needs_no_log(&self) -> bool {
        self.records.is_empty() && self.leases.is_empty() && self.marks.is_empty() && self.users.is_empty()
    }
}

/// Told when something is done, on a thread of the engine's.
pub(crate) type Then = Box<dyn FnOnce(Result<(), Unwritten>) + Send>;

/// Told why the engine failed.
pub(crate) type OnFailure = Box<dyn Fn(&str) + Send + Sync>;

/// A disk engine. After an error of any method but `defragment`, every later one fails as well, unless there was just no space.
pub(crate) trait Engine: Send + Sync + 'static {
    /// What is durable now, whatever is committed later; it may show later records, but never lacks one of now.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError>;
    /// Writes all of `batch` or nothing; durable when it returns. After a failure nobody knows which, and the caller must stop.
    fn commit(&self, batch: Batch) -> Result<(), Unwritten>;
    /// Whether a batch of about so many bytes would find room now; may take that room for the next one.
    fn has_room(&self, bytes: usize) -> Result<(), Unwritten>;
    /// Bytes of forgotten records that were removed since the last call.
    fn take_removed_bytes(&self) -> u64;
    /// Calls `then` once all that was to be forgotten is removed.
    fn settle(&self, then: Then);
    /// Gives free space back to the file system, then calls `then`.
    fn defragment(&self, then: Then);
    /// Bytes the files take.
    fn disk_bytes(&self) -> u64;
    /// How long writers waited for a sync; one for each batch that a log took.
    fn syncs(&self) -> &Durations;
    /// How long commits of the database took, each from its begin until it was durable.
    fn commits(&self) -> &Durations;
    /// Calls `told` when the engine fails by itself, outside of a call.
    fn on_failure(&self, told: OnFailure);
    /// Closes the files; everything fails from now on.
    fn close(&self);
}

/// A consistent state of the engine.
pub(crate) trait Snapshot: Send {
    /// The record at a point.
    fn record(&self, at: Point) -> Result<Option<Record>, EngineError>;
    /// As [`Snapshot::record`], in memory shared with other records that are read and dropped together.
    fn shelve(&self, at: Point, shelf: &mut Shelf) -> Result<Option<Record>, EngineError>;
    /// Encoded records from a point on, in order, until `visit` breaks.
    fn scan(&self, from: Point, visit: &mut Visit<'_>) -> Result<(), EngineError>;
    /// Every record without its value, in order.
    fn points(&self, visit: &mut dyn FnMut(Written<'_>)) -> Result<(), EngineError>;
    /// Every lease and its TTL in seconds.
    fn leases(&self) -> Result<Vec<(i64, i64)>, EngineError>;
    /// Users and roles by the names they are kept under.
    fn users(&self) -> Result<Vec<(Bytes, Bytes)>, EngineError>;
    /// A number kept.
    fn mark(&self, mark: Mark) -> Result<Option<i64>, EngineError>;
}

/// Sees one encoded record.
pub(crate) type Visit<'a> = dyn FnMut(Point, &[u8]) -> ControlFlow<()> + 'a;

/// A record without its value: what the index in memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written<'a> {
    /// Where it stands.
    pub at: Point,
    /// The key.
    pub key: &'a [u8],
    /// Whether it is a deletion.
    pub gone: bool,
    /// The lease that the key lives by; 0: none.
    pub lease: i64,
    /// [`Record::size_bytes`].
    pub size_bytes: u64,
}

impl<'a> Written<'a> {
    /// Of a whole record.
    pub(crate) fn of(record: &'a Record) -> Self {
        Written {
            at: record.at,
            key: &record.key,
            gone: record.is_tombstone(),
            lease: record.lease,
            size_bytes: record.size_bytes() as u64,
        }
    }
}

/// Memory for many records at once: one allocation for some dozens.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    room: BytesMut,
}

impl Shelf {
    /// Bytes that are allocated at once.
    const PIECE_BYTES: usize = 64 << 10;

    /// A copy of `bytes`.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if self.room.capacity() < bytes.len() {
            self.room = BytesMut::with_capacity(Self::PIECE_BYTES.max(bytes.len()));
        }
        self.room.extend_from_slice(bytes);
        self.room.split().freeze()
    }
}

/// Says which record is not there.
pub(crate) fn missing(at: Point) -> EngineError {
    EngineError(format!("the record at {}.{} is missing", at.revision, at.sub))
}

/// Decodes, or says which record is damaged.
pub(crate) fn decode(at: Point, bytes: &[u8]) -> Result<Record, EngineError> {
    Record::decode(at, &Bytes::copy_from_slice(bytes)).ok_or_else(|| damaged(at))
}

/// Says which record is damaged.
pub(crate) fn damaged(at: Point) -> EngineError {
    EngineError(format!("the record at {}.{} is damaged", at.revision, at.sub))
}
