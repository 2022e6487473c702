//! The database: redb with a table of records, one of their keys, one of leases, one of numbers (see [`super::rows`]).
//!
//! Any [`StorageBackend`] will do as the disk, so a test can fail, tear or cut it. Every commit is one of two phases that also keeps
//! redb's list of free pages: opening after a crash repairs nothing.

mod reading; // a state of it
mod small; // leases, numbers, users

use super::guard::guarded;
use super::{
    Batch, Engine, EngineError, Mark, OnFailure, Snapshot, Then, Unwritten, Written, decode, is_no_space, rows,
};
use crate::metrics::Durations;
use crate::record::{Point, Record};
use crate::seeded;
use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition};
use small::{sum, users_sum, write_small};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

pub(crate) use reading::{RedbSnapshot, in_order};

const RECORDS: TableDefinition<(i64, u32), &[u8]> = TableDefinition::new("records");
const POINTS: TableDefinition<(i64, u32), &[u8]> = TableDefinition::new("points");
const LEASES: TableDefinition<i64, i64> = TableDefinition::new("leases");
const MARKS: TableDefinition<&str, i64> = TableDefinition::new("marks");
/// Made with the first user.
const USERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("users");
/// The records of format 1: without checksums, and without their keys beside them.
const HISTORY_1: TableDefinition<(i64, u32), &[u8]> = TableDefinition::new("history");

/// One row: the sum of the shares of all leases, numbers, users and roles (see [`rows::share`]). A table of its own has pages of its own, so that an
/// old page in the place of a new one is noticed.
const SUM: TableDefinition<u8, i64> = TableDefinition::new("sum");
const SUM_KEY: u8 = 0;
const LEASES_SHARE: u8 = 1;
const MARKS_SHARE: u8 = 2;
const USERS_SHARE: u8 = 3;

/// What [`Mark::Format`] holds; 1 is made into this, and another number is a store this program cannot read.
const FORMAT: i64 = 2;
/// The same of a store that has had users: who knows only the other one must not open it to everybody.
const FORMAT_USERS: i64 = 3;

/// Counts the bytes of the disk below redb, which does not tell; and outlives a database that redb gave up.
#[derive(Debug)]
struct Measured {
    disk: Arc<dyn StorageBackend>,
    length: Arc<AtomicU64>,
}

impl StorageBackend for Measured {
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
        // Whatever it says: what was to become durable may be lost, and a full disk is no excuse.
        self.disk.sync_data().map_err(|error| std::io::Error::other(format!("sync: {error}")))
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.disk.write(offset, data)
    }
}

/// The database; see the module.
pub(crate) struct RedbEngine {
    database: RwLock<Option<Database>>,
    /// What it is on, until it is closed.
    disk: Mutex<Option<Arc<dyn StorageBackend>>>,
    cache_bytes: usize,
    /// A commit found no room: redb does nothing more with a disk that refused something, and must open it anew.
    spoilt: AtomicBool,
    /// How long it was before that commit.
    sound_length: AtomicU64,
    length: Arc<AtomicU64>,
    removed_bytes: AtomicU64,
    /// Of this database alone, without a log.
    commits: Durations,
}

impl RedbEngine {
    /// Opens the database on `disk`, or makes one on an empty disk.
    pub(crate) fn open(disk: impl StorageBackend, cache_bytes: usize) -> Result<Self, OpenError> {
        guarded("open", || Ok(Self::open_unguarded(disk, cache_bytes)))
            .unwrap_or_else(|damage| Err(OpenError::Foreign(damage.0)))
    }

    fn open_unguarded(disk: impl StorageBackend, cache_bytes: usize) -> Result<Self, OpenError> {
        let as_io = |error: std::io::Error| OpenError::Io(error.to_string());
        let length = Arc::new(AtomicU64::new(disk.len().map_err(as_io)?));
        // A process that was killed may have left a commit that is written but not synced. We are about to believe it.
        if !seeded::is("unsynced-believed") {
            disk.sync_data().map_err(as_io)?;
        }
        let disk: Arc<dyn StorageBackend> = Arc::new(disk);
        let measured = Measured { disk: disk.clone(), length: length.clone() };
        let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(measured)?;
        let engine = RedbEngine {
            database: RwLock::new(Some(database)),
            disk: Mutex::new(Some(disk)),
            cache_bytes,
            spoilt: AtomicBool::new(false),
            sound_length: AtomicU64::new(0),
            length,
            removed_bytes: AtomicU64::new(0),
            commits: Durations::default(),
        };
        engine.check_format()?;
        Ok(engine)
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let as_io = |error: EngineError| OpenError::Io(error.0);
        let found = self.with("read the format", |database| {
            let transaction = database.begin_read()?;
            match transaction.list_tables()?.next().is_some() {
                true => Ok(Some(transaction.open_table(MARKS)?.get(name(Mark::Format))?.map(|value| value.value()))),
                false => Ok(None),
            }
        });
        let Some(found) = found.map_err(as_io)? else {
            let batch = Batch { marks: [(Mark::Format, FORMAT)].into(), ..Batch::default() };
            return self.write(&batch, &[]).map_err(|error| OpenError::Io(error.to_string()));
        };
        match found {
            None => Err(OpenError::Foreign("is damaged: it does not say of which format it is".to_owned())),
            Some(FORMAT | FORMAT_USERS) => self.check_sum(),
            Some(1) => self.with("bring the store to format 2", migrate_1).map_err(as_io),
            Some(other) => {
                Err(OpenError::Foreign(format!("is of format {other}; this program reads {FORMAT} and {FORMAT_USERS}")))
            }
        }
    }

    /// Whether leases and numbers are what was written. History has a checksum in each row.
    fn check_sum(&self) -> Result<(), OpenError> {
        let found = self.with("add up leases and numbers", |database| {
            let transaction = database.begin_read()?;
            let found = sum(&transaction.open_table(LEASES)?, &transaction.open_table(MARKS)?)?;
            let found = match transaction.open_table(USERS) {
                Ok(users) => users_sum(found, &users)?,
                Err(redb::TableError::TableDoesNotExist(_)) => found,
                Err(error) => return Err(error.into()),
            };
            Ok((found, transaction.open_table(SUM)?.get(SUM_KEY)?.map(|kept| kept.value())))
        });
        match found.map_err(|error| OpenError::Io(error.0))? {
            (found, Some(kept)) if found == kept => Ok(()),
            _ => {
                let what = "is damaged: its leases, numbers or users are not those that were written";
                Err(OpenError::Foreign(what.to_owned()))
            }
        }
    }

    /// Whether every page matches its checksum and the map of free pages is right. Reads all of it, and may repair the map.
    pub(crate) fn verify(&self) -> Result<bool, EngineError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_mut().ok_or_else(|| EngineError("the store is closed".to_owned()))?;
        guarded("check pages", || {
            database.check_integrity().map_err(|error| EngineError(format!("check pages: {error}")))
        })
    }

    fn with<T>(
        &self,
        operation: &str,
        act: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, EngineError> {
        self.open_anew_if_spoilt()?;
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| EngineError("the store is closed".to_owned()))?;
        guarded(operation, || act(database).map_err(|error| EngineError(format!("{operation}: {error}"))))
    }

    /// Writes a batch and removes what is forgotten, in one durable commit.
    pub(crate) fn write(&self, batch: &Batch, forgotten: &[Point]) -> Result<(), Unwritten> {
        self.write_with(batch, forgotten, &[])
    }

    /// The same, with more numbers.
    pub(crate) fn write_with(
        &self,
        batch: &Batch,
        forgotten: &[Point],
        marks: &[(Mark, i64)],
    ) -> Result<(), Unwritten> {
        let (mut full, length) = (false, self.length.load(Ordering::Relaxed));
        let write = |database: &Database| {
            let transaction = begin(database)?;
            let removed = write_history(&transaction, &batch.records, forgotten)?;
            write_small(&transaction, batch, marks)?;
            transaction.commit()?;
            self.removed_bytes.fetch_add(removed, Ordering::Relaxed);
            Ok(())
        };
        let written = self.with("commit", |database| {
            write(database).inspect_err(|error| full = matches!(error, redb::Error::Io(error) if is_no_space(error)))
        });
        written.map_err(|error| {
            if full {
                self.sound_length.store(length, Ordering::Release);
                self.spoilt.store(true, Ordering::Release);
                return Unwritten::NoSpace(error.0);
            }
            error.into()
        })
    }

    /// A commit that found no room is as one that a kill interrupted: nothing of it counts, and nothing was lost that a sync made
    /// durable. What the last one wrote is read and verified as after a kill.
    fn open_anew_if_spoilt(&self) -> Result<(), EngineError> {
        if !self.spoilt.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(disk) = disk.filter(|_| self.spoilt.load(Ordering::Acquire)) else { return Ok(()) };
        guarded("open anew", || {
            *database = None;
            // What it had grown by is of nobody's use, and others want the space: the log, first of all.
            let measured = Measured { disk, length: self.length.clone() };
            let sound = self.sound_length.load(Ordering::Acquire);
            let shrunk = if self.length.load(Ordering::Relaxed) > sound { measured.set_len(sound) } else { Ok(()) };
            shrunk.map_err(|error| EngineError(format!("open anew: {error}")))?;
            let opened = Builder::new().set_cache_size(self.cache_bytes).create_with_backend(measured);
            *database = Some(opened.map_err(|error| EngineError(format!("open anew: {error}")))?);
            self.spoilt.store(false, Ordering::Release);
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
            Ok(RedbSnapshot::new(transaction, records))
        })
    }

    /// Moves what is at the end of the file to free places before it, and cuts the file; fails while there are snapshots.
    pub(crate) fn compact(&self) -> Result<(), EngineError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_mut().ok_or_else(|| EngineError("the store is closed".to_owned()))?;
        guarded("defragment", || {
            database.compact().map(|_| ()).map_err(|error| EngineError(format!("defragment: {error}")))
        })
    }
}

impl Drop for RedbEngine {
    fn drop(&mut self) {
        self.close();
    }
}

fn begin(database: &Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    let durable = !seeded::is("checkpoint-not-durable");
    transaction.set_durability(if durable { Durability::Immediate } else { Durability::None })?;
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
        let (leases, mut marks) = (transaction.open_table(LEASES)?, transaction.open_table(MARKS)?);
        marks.insert(name(Mark::Format), FORMAT)?;
        transaction.open_table(SUM)?.insert(SUM_KEY, sum(&leases, &marks)?)?;
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

    fn has_room(&self, _: usize) -> Result<(), Unwritten> {
        // Only a commit can tell.
        Ok(())
    }

    fn commit(&self, batch: Batch) -> Result<(), Unwritten> {
        let begun = Instant::now();
        self.write(&batch, &batch.forgotten)?;
        self.commits.add(begun.elapsed());
        Ok(())
    }

    fn take_removed_bytes(&self) -> u64 {
        self.removed_bytes.swap(0, Ordering::Relaxed)
    }

    fn settle(&self, then: Then) {
        then(Ok(()));
    }

    fn defragment(&self, then: Then) {
        then(self.compact().map_err(Unwritten::from));
    }

    fn disk_bytes(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    fn syncs(&self) -> &Durations {
        // A batch is a commit.
        &self.commits
    }

    fn commits(&self) -> &Durations {
        &self.commits
    }

    fn on_failure(&self, _: OnFailure) {
        // It does nothing by itself.
    }

    fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(self.disk.lock().unwrap_or_else(PoisonError::into_inner).take());
        // What was found damaged cannot be closed in order either; the log has everything.
        let _log_has_everything = guarded("close", || {
            drop(database);
            Ok(())
        });
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
