//! The database: redb with a table of records, one of their keys, one of leases, one of numbers (see [`super::rows`]).
//!
//! Any [`StorageBackend`] will do as the disk, so a test can fail, tear or cut it. Every commit is one of two phases that also keeps
//! redb's list of free pages: opening after a crash repairs nothing.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, StorageBackend, Table, TableDefinition,
};

use super::{Batch, Engine, EngineError, Mark, OnFailure, Snapshot, Then, Visit, Written, decode, rows};
use crate::record::{Point, Record};

const RECORDS: TableDefinition<(i64, u32), &[u8]> = TableDefinition::new("records");
const POINTS: TableDefinition<(i64, u32), &[u8]> = TableDefinition::new("points");
const LEASES: TableDefinition<i64, i64> = TableDefinition::new("leases");
const MARKS: TableDefinition<&str, i64> = TableDefinition::new("marks");
/// The records of format 1: without checksums, and without their keys beside them.
const HISTORY_1: TableDefinition<(i64, u32), &[u8]> = TableDefinition::new("history");

/// What [`Mark::Format`] holds; 1 is made into this, and another number is a store this program cannot read.
const FORMAT: i64 = 2;

/// Counts the bytes of the disk below redb, which does not tell.
#[derive(Debug)]
struct Measured<D> {
    disk: D,
    length: Arc<AtomicU64>,
}

impl<D: StorageBackend> StorageBackend for Measured<D> {
    fn len(&self) -> std::io::Result<u64> {
        self.disk.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.disk.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.disk.set_len(len)?;
        self.length.store(len, Ordering::Relaxed);
        Ok(())
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.disk.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.disk.write(offset, data)
    }
    fn close(&self) -> std::io::Result<()> {
        self.disk.close()
    }
}

/// The database; see the module.
pub(crate) struct RedbEngine {
    database: RwLock<Option<Database>>,
    length: Arc<AtomicU64>,
    removed_bytes: AtomicU64,
}

impl RedbEngine {
    /// Opens the database on `disk`, or makes one on an empty disk.
    pub(crate) fn open(disk: impl StorageBackend, cache_bytes: usize) -> Result<Self, OpenError> {
        let as_io = |error: std::io::Error| OpenError::Io(error.to_string());
        let length = Arc::new(AtomicU64::new(disk.len().map_err(as_io)?));
        // A process that was killed may have left a commit that is written but not synced. We are about to believe it.
        disk.sync_data().map_err(as_io)?;
        let measured = Measured { disk, length: length.clone() };
        let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(measured)?;
        let engine = RedbEngine { database: RwLock::new(Some(database)), length, removed_bytes: AtomicU64::new(0) };
        engine.check_format()?;
        Ok(engine)
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let as_io = |error: EngineError| OpenError::Io(error.0);
        let found = self.with("read the format", |database| {
            let transaction = database.begin_read()?;
            match transaction.list_tables()?.next().is_some() {
                true => Ok(transaction.open_table(MARKS)?.get(name(Mark::Format))?.map(|value| value.value())),
                false => Ok(None),
            }
        });
        match found.map_err(as_io)? {
            Some(FORMAT) => Ok(()),
            Some(1) => self.with("bring the store to format 2", migrate_1).map_err(as_io),
            Some(other) => Err(OpenError::Foreign(format!("is of format {other}; this program reads {FORMAT}"))),
            None => {
                let batch = Batch { marks: [(Mark::Format, FORMAT)].into(), ..Batch::default() };
                self.write(&batch, &[]).map_err(as_io)
            }
        }
    }

    /// Whether every page matches its checksum and the map of free pages is right. Reads all of it, and may repair the map.
    pub(crate) fn verify(&self) -> Result<bool, EngineError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_mut().ok_or_else(|| EngineError("the store is closed".to_owned()))?;
        database.check_integrity().map_err(|error| EngineError(format!("check pages: {error}")))
    }

    fn with<T>(
        &self,
        operation: &str,
        act: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, EngineError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| EngineError("the store is closed".to_owned()))?;
        act(database).map_err(|error| EngineError(format!("{operation}: {error}")))
    }

    /// Writes a batch and removes what is forgotten, in one durable commit.
    pub(crate) fn write(&self, batch: &Batch, forgotten: &[Point]) -> Result<(), EngineError> {
        self.write_with(batch, forgotten, &[])
    }

    /// The same, with more numbers.
    pub(crate) fn write_with(
        &self,
        batch: &Batch,
        forgotten: &[Point],
        marks: &[(Mark, i64)],
    ) -> Result<(), EngineError> {
        self.with("commit", |database| {
            let transaction = begin(database)?;
            let removed = write_history(&transaction, &batch.records, forgotten)?;
            write_leases(&transaction, batch)?;
            write_marks(
                &transaction,
                batch.marks.iter().map(|(&mark, &value)| (mark, value)).chain(marks.iter().copied()),
            )?;
            transaction.commit()?;
            self.removed_bytes.fetch_add(removed, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Counts bytes that another database removed.
    pub(crate) fn add_removed_bytes(&self, bytes: u64) {
        self.removed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What is in the database now.
    pub(crate) fn read(&self) -> Result<RedbSnapshot, EngineError> {
        self.with("open a snapshot", |database| {
            let transaction = database.begin_read()?;
            let records = transaction.open_table(RECORDS)?;
            Ok(RedbSnapshot { transaction, records })
        })
    }

    /// Moves what is at the end of the file to free places before it, and cuts the file; fails while there are snapshots.
    pub(crate) fn compact(&self) -> Result<(), EngineError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_mut().ok_or_else(|| EngineError("the store is closed".to_owned()))?;
        database.compact().map(|_| ()).map_err(|error| EngineError(format!("defragment: {error}")))
    }
}

fn begin(database: &Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Makes a store of format 1 one of format 2, or leaves it as it was.
fn migrate_1(database: &Database) -> Result<(), redb::Error> {
    let transaction = begin(database)?;
    {
        let history = transaction.open_table(HISTORY_1)?;
        let mut tables = Tables::open(&transaction)?;
        for row in history.iter()? {
            let (key, bytes) = row?;
            let (revision, sub) = key.value();
            let at = Point { revision, sub };
            let record = decode(at, bytes.value()).map_err(|error| redb::Error::Corrupted(error.0))?;
            tables.insert(&record)?;
        }
        transaction.open_table(MARKS)?.insert(name(Mark::Format), FORMAT)?;
    }
    transaction.delete_table(HISTORY_1)?;
    Ok(transaction.commit()?)
}

/// Why a disk cannot be opened as an engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// It holds something else, or damage.
    #[error("{0}")]
    Foreign(String),
    /// It cannot be read or written.
    #[error("{0}")]
    Io(String),
    /// The log beside the database is not what it should be.
    #[error("{0}")]
    Log(String),
}

impl From<redb::DatabaseError> for OpenError {
    fn from(error: redb::DatabaseError) -> Self {
        match error {
            redb::DatabaseError::Storage(redb::StorageError::Io(error))
                if error.kind() == std::io::ErrorKind::InvalidData =>
            {
                OpenError::Foreign("is not a store".to_owned())
            }
            redb::DatabaseError::Storage(redb::StorageError::Corrupted(what)) => {
                OpenError::Foreign(format!("is damaged: {what}"))
            }
            other => OpenError::Io(other.to_string()),
        }
    }
}

/// The database without a log: every batch is a commit of its own.
impl Engine for RedbEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        Ok(Box::new(self.read()?))
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        self.write(&batch, &batch.forgotten)
    }

    fn take_removed_bytes(&self) -> u64 {
        self.removed_bytes.swap(0, Ordering::Relaxed)
    }

    fn settle(&self, then: Then) {
        then(Ok(()));
    }

    fn defragment(&self, then: Then) {
        then(self.compact());
    }

    fn disk_bytes(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    fn on_failure(&self, _: OnFailure) {
        // It does nothing by itself.
    }

    fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The two tables of history, being written.
struct Tables<'t> {
    records: Table<'t, (i64, u32), &'static [u8]>,
    points: Table<'t, (i64, u32), &'static [u8]>,
    row: Vec<u8>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t redb::WriteTransaction) -> Result<Self, redb::Error> {
        let (records, points) = (transaction.open_table(RECORDS)?, transaction.open_table(POINTS)?);
        Ok(Tables { records, points, row: Vec::new() })
    }

    fn insert(&mut self, record: &Record) -> Result<(), redb::Error> {
        let key = (record.at.revision, record.at.sub);
        rows::record_row(record, &mut self.row);
        self.records.insert(key, &self.row[..])?;
        rows::point_row(Written::of(record), &mut self.row);
        self.points.insert(key, &self.row[..])?;
        Ok(())
    }

    /// Returns the bytes of the record, if it was there.
    fn remove(&mut self, at: Point) -> Result<u64, redb::Error> {
        let key = (at.revision, at.sub);
        let removed = self.points.remove(key)?.map_or(0, |row| {
            // Only a counter depends on it; who reads a damaged row hears of it.
            rows::written(at, row.value()).map_or(0, |written| written.size_bytes)
        });
        self.records.remove(key)?;
        Ok(removed)
    }
}

fn write_history(
    transaction: &redb::WriteTransaction,
    records: &[Record],
    forgotten: &[Point],
) -> Result<u64, redb::Error> {
    let mut tables = Tables::open(transaction)?;
    for record in records {
        tables.insert(record)?;
    }
    let mut removed = 0;
    for &at in forgotten {
        removed += tables.remove(at)?;
    }
    Ok(removed)
}

fn write_leases(transaction: &redb::WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut leases = transaction.open_table(LEASES)?;
    for (id, ttl_seconds) in &batch.leases {
        match ttl_seconds {
            Some(ttl_seconds) => leases.insert(id, ttl_seconds)?,
            None => leases.remove(id)?,
        };
    }
    Ok(())
}

fn write_marks(
    transaction: &redb::WriteTransaction,
    values: impl Iterator<Item = (Mark, i64)>,
) -> Result<(), redb::Error> {
    let mut marks = transaction.open_table(MARKS)?;
    for (mark, value) in values {
        marks.insert(name(mark), value)?;
    }
    Ok(())
}

const MARKS_ALL: [Mark; 9] = [
    Mark::Format,
    Mark::Compacted,
    Mark::Cluster,
    Mark::Member,
    Mark::NoSpace,
    Mark::Corrupt,
    Mark::Log,
    Mark::Logged,
    Mark::LogAt,
];

fn name(mark: Mark) -> &'static str {
    match mark {
        Mark::Format => "format",
        Mark::Compacted => "compacted",
        Mark::Cluster => "cluster",
        Mark::Member => "member",
        Mark::NoSpace => "nospace",
        Mark::Corrupt => "corrupt",
        Mark::Log => "log",
        Mark::Logged => "logged",
        Mark::LogAt => "log-at",
    }
}

/// A state of the database.
pub(crate) struct RedbSnapshot {
    transaction: ReadTransaction,
    records: ReadOnlyTable<(i64, u32), &'static [u8]>,
}

fn failed(operation: &str, error: impl Into<redb::Error>) -> EngineError {
    EngineError(format!("{operation}: {}", error.into()))
}

impl RedbSnapshot {
    /// Everything else, to be copied.
    pub(crate) fn all_but_records(&self) -> Result<Batch, EngineError> {
        let mut batch = Batch::default();
        batch.leases.extend(self.leases()?.into_iter().map(|(id, ttl_seconds)| (id, Some(ttl_seconds))));
        for mark in MARKS_ALL {
            batch.marks.extend(self.mark(mark)?.map(|value| (mark, value)));
        }
        Ok(batch)
    }
}

impl Snapshot for RedbSnapshot {
    fn record(&self, at: Point) -> Result<Option<Record>, EngineError> {
        let found = self.records.get((at.revision, at.sub)).map_err(|error| failed("read a record", error))?;
        found.map(|row| decode(at, rows::encoded_record(at, row.value())?)).transpose()
    }

    fn scan(&self, from: Point, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        let rows = self.records.range((from.revision, from.sub)..).map_err(|error| failed("scan history", error))?;
        for row in rows {
            let (key, row) = row.map_err(|error| failed("scan history", error))?;
            let (revision, sub) = key.value();
            let at = Point { revision, sub };
            if let ControlFlow::Break(()) = visit(at, rows::encoded_record(at, row.value())?) {
                break;
            }
        }
        Ok(())
    }

    fn points(&self, visit: &mut dyn FnMut(Written<'_>)) -> Result<(), EngineError> {
        let failed = |error: redb::Error| failed("read the keys", error);
        let points = self.transaction.open_table(POINTS).map_err(|error| failed(error.into()))?;
        let mut count = 0;
        for row in points.iter().map_err(|error| failed(error.into()))? {
            let (key, row) = row.map_err(|error| failed(error.into()))?;
            let (revision, sub) = key.value();
            visit(rows::written(Point { revision, sub }, row.value())?);
            count += 1;
        }
        let kept = [points.len(), self.records.len()].map(|kept| kept.map_err(|error| failed(error.into())));
        for kept in kept {
            let kept = kept?;
            if kept != count {
                return Err(EngineError(format!("{count} keys of {kept} records can be found: it is damaged")));
            }
        }
        Ok(())
    }

    fn leases(&self) -> Result<Vec<(i64, i64)>, EngineError> {
        let act = || -> Result<Vec<(i64, i64)>, redb::Error> {
            let leases = self.transaction.open_table(LEASES)?;
            let all = leases.iter()?.map(|row| row.map(|(id, ttl)| (id.value(), ttl.value())));
            Ok(all.collect::<Result<_, _>>()?)
        };
        act().map_err(|error| failed("read leases", error))
    }

    fn mark(&self, mark: Mark) -> Result<Option<i64>, EngineError> {
        let act = || -> Result<Option<i64>, redb::Error> {
            Ok(self.transaction.open_table(MARKS)?.get(name(mark))?.map(|value| value.value()))
        };
        act().map_err(|error| failed("read a mark", error))
    }
}
