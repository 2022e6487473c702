//! The engine over redb: one table of history, one of leases, one of numbers.
//!
//! Any [`StorageBackend`] will do as the disk, so a test can fail, tear or cut it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition,
};

use super::{Batch, Committed, Engine, EngineError, Mark, Snapshot, Visit, decode};
use crate::record::{Point, Record};

const HISTORY: TableDefinition<(i64, u32), &[u8]> = TableDefinition::new("history");
const LEASES: TableDefinition<i64, i64> = TableDefinition::new("leases");
const MARKS: TableDefinition<&str, i64> = TableDefinition::new("marks");

/// What [`Mark::Format`] holds; another number is a store this program cannot read.
const FORMAT: i64 = 1;

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

/// The engine; see the module.
pub(crate) struct RedbEngine {
    database: RwLock<Option<Database>>,
    length: Arc<AtomicU64>,
}

impl RedbEngine {
    /// Opens the database on `disk`, or makes one on an empty disk.
    pub(crate) fn open(disk: impl StorageBackend, cache_bytes: usize) -> Result<Self, OpenError> {
        let length = Arc::new(AtomicU64::new(disk.len().map_err(|error| OpenError::Io(error.to_string()))?));
        let measured = Measured { disk, length: length.clone() };
        let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(measured)?;
        let engine = RedbEngine { database: RwLock::new(Some(database)), length };
        engine.check_format()?;
        Ok(engine)
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let as_io = |error: EngineError| OpenError::Io(error.0);
        let found = match self.tables_exist().map_err(as_io)? {
            true => self.snapshot().map_err(as_io)?.mark(Mark::Format).map_err(as_io)?,
            false => None,
        };
        match found {
            Some(FORMAT) => Ok(()),
            Some(other) => Err(OpenError::Foreign(format!("is of format {other}; this program reads {FORMAT}"))),
            None => {
                let batch = Batch { marks: [(Mark::Format, FORMAT)].into(), ..Batch::default() };
                self.commit(&batch).map(|_| ()).map_err(as_io)
            }
        }
    }

    /// Whether every page matches its checksum and the map of free pages is right. Reads all of it, and may repair the map.
    pub(crate) fn verify(&self) -> Result<bool, EngineError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_mut().ok_or_else(|| EngineError("the store is closed".to_owned()))?;
        database.check_integrity().map_err(|error| EngineError(format!("check pages: {error}")))
    }

    fn tables_exist(&self) -> Result<bool, EngineError> {
        self.with("look for tables", |database| Ok(database.begin_read()?.list_tables()?.next().is_some()))
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

impl Engine for RedbEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        self.with("open a snapshot", |database| {
            let transaction = database.begin_read()?;
            let history = transaction.open_table(HISTORY)?;
            Ok(Box::new(RedbSnapshot { transaction, history }) as Box<dyn Snapshot>)
        })
    }

    fn commit(&self, batch: &Batch) -> Result<Committed, EngineError> {
        self.with("commit", |database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let forgotten_bytes = write_history(&transaction, batch)?;
            write_small(&transaction, batch)?;
            transaction.commit()?;
            Ok(Committed { forgotten_bytes })
        })
    }

    fn disk_bytes(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    fn defragment(&self) -> Result<(), EngineError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_mut().ok_or_else(|| EngineError("the store is closed".to_owned()))?;
        database.compact().map(|_| ()).map_err(|error| EngineError(format!("defragment: {error}")))
    }

    fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn write_history(transaction: &redb::WriteTransaction, batch: &Batch) -> Result<u64, redb::Error> {
    let mut forgotten_bytes = 0;
    let mut history = transaction.open_table(HISTORY)?;
    for record in &batch.records {
        history.insert((record.at.revision, record.at.sub), &record.encode()[..])?;
    }
    for point in &batch.forgotten {
        let removed = history.remove((point.revision, point.sub))?;
        forgotten_bytes += removed.map_or(0, |record| record.value().len() as u64);
    }
    Ok(forgotten_bytes)
}

fn write_small(transaction: &redb::WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    if !batch.leases.is_empty() || !batch.marks.is_empty() {
        let mut leases = transaction.open_table(LEASES)?;
        for (id, ttl_seconds) in &batch.leases {
            match ttl_seconds {
                Some(ttl_seconds) => leases.insert(id, ttl_seconds)?,
                None => leases.remove(id)?,
            };
        }
    }
    if !batch.marks.is_empty() {
        let mut marks = transaction.open_table(MARKS)?;
        for (mark, value) in &batch.marks {
            marks.insert(name(*mark), value)?;
        }
    }
    Ok(())
}

fn name(mark: Mark) -> &'static str {
    match mark {
        Mark::Format => "format",
        Mark::Compacted => "compacted",
        Mark::Cluster => "cluster",
        Mark::Member => "member",
        Mark::NoSpace => "nospace",
        Mark::Corrupt => "corrupt",
    }
}

struct RedbSnapshot {
    transaction: ReadTransaction,
    history: ReadOnlyTable<(i64, u32), &'static [u8]>,
}

fn failed(operation: &str, error: impl Into<redb::Error>) -> EngineError {
    EngineError(format!("{operation}: {}", error.into()))
}

impl Snapshot for RedbSnapshot {
    fn record(&self, at: Point) -> Result<Option<Record>, EngineError> {
        let found = self.history.get((at.revision, at.sub)).map_err(|error| failed("read a record", error))?;
        found.map(|bytes| decode(at, bytes.value())).transpose()
    }

    fn scan(&self, from: Point, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        let rows = self.history.range((from.revision, from.sub)..).map_err(|error| failed("scan history", error))?;
        for row in rows {
            let (key, bytes) = row.map_err(|error| failed("scan history", error))?;
            let (revision, sub) = key.value();
            if let ControlFlow::Break(()) = visit(Point { revision, sub }, bytes.value()) {
                break;
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
