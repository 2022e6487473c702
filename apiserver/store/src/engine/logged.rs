//! The engine we use: a log that makes each batch durable, and a database behind it that takes many batches at a time.
//!
//! ```text
//!  commit ──► frame ──► log, one fdatasync ──► chunk in memory ──► answered
//!                                                  │ when it is large, or something is to be forgotten
//!  checkpointer (a thread) ──► database, one durable commit ──► the log's frames may be overwritten
//!  readers: chunks first, then the database as it was when the snapshot was made
//! ```
//!
//! Opening reads what the database has and then the log's frames after that into a chunk. It writes nothing, so it can be
//! interrupted anywhere and begun again. A database or log that failed to write or sync fails the engine for good, but for one failure: a
//! full disk takes a batch or a commit not at all, so that batch is refused, the log keeps what the database has no room for, and the
//! checkpointer tries again until there is space.

mod checkpoint; // from memory to the database

use super::chunk::{Chunk, LayeredSnapshot, Layers};
use super::frame;
use super::log::{Log, LogMark};
use super::redb::{OpenError, RedbEngine, RedbSnapshot};
use super::{Batch, Engine, EngineError, Mark, OnFailure, Snapshot, Then, Unwritten, decode};
use crate::Options;
use crate::folder::Spare;
use crate::metrics::Durations;
use crate::record::{Point, Record};
use crate::seeded;
use checkpoint::Full;
use rand::Rng;
use redb::StorageBackend;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Records that one commit removes, at most: bounds its memory, and how long the next batches wait for theirs.
const REMOVED_MAX: usize = 5_000;
/// Bytes of records that are copied in one commit when the database is made anew.
const COPIED_BYTES: usize = 16 << 20;
/// How often a full disk is looked at.
const RETRY: Duration = Duration::from_millis(250);

/// See the module.
pub(crate) struct LoggedEngine {
    shared: Arc<Shared>,
    /// The last batch, and room to encode the next.
    appender: Mutex<(u64, Vec<u8>)>,
    checkpointer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// Replaced by the checkpointer only.
    database: RwLock<Arc<RedbEngine>>,
    /// Makes the database's replacement; `None`: the disk was given and is all there is.
    spare: Option<Spare>,
    cache_bytes: usize,
    log: Log,
    layers: RwLock<Arc<Layers>>,
    /// A chunk of so many bytes goes to the database.
    chunk_bytes: usize,
    orders: Mutex<Orders>,
    ordered: Condvar,
    /// The last batch that the database has.
    checkpointed: AtomicU64,
    commits: Durations,
    /// Why the database could not take the last chunk; `None`: it could.
    full: Mutex<Option<Full>>,
    failed: OnceLock<String>,
    on_failure: OnceLock<OnFailure>,
}

/// What the checkpointer is to do.
#[derive(Default)]
struct Orders {
    /// Take what there is, however little.
    hurry: bool,
    forgotten: Vec<Point>,
    settle: Vec<Then>,
    defragment: Vec<Then>,
    close: bool,
}

impl Orders {
    fn is_idle(&self) -> bool {
        let wanted = self.hurry || self.close || !self.forgotten.is_empty();
        !wanted && self.settle.is_empty() && self.defragment.is_empty()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LoggedEngine {
    /// Opens or makes the log of `database`. `spare`: where a smaller database can be made.
    pub(crate) fn open(
        database: RedbEngine,
        log: Box<dyn StorageBackend>,
        spare: Option<Spare>,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let log_bytes_max = options.log_bytes;
        let as_log = |error: EngineError| OpenError::Log(error.0);
        let as_io = |error: EngineError| OpenError::Io(error.0);
        let (log, found) = match mark(&database).map_err(as_io)? {
            Some(mark) if seeded::is("log-thrown-away") => {
                let (log, _) = Log::open(log, mark, log_bytes_max).map_err(as_log)?;
                (log, Vec::new())
            }
            Some(mark) => Log::open(log, mark, log_bytes_max).map_err(as_log)?,
            None => (adopt(&database, log, log_bytes_max)?, Vec::new()),
        };
        if !found.is_empty() && !seeded::is("unsynced-believed") {
            // A process that was killed may have left a frame that is written but not synced. We are about to believe it.
            log.sync().map_err(as_log)?;
        }
        let chunk = Chunk::default();
        let mut sequence = mark(&database).map_err(as_io)?.map_or(0, |mark| mark.sequence);
        let checkpointed = AtomicU64::new(sequence);
        for next in found {
            sequence = next.sequence;
            chunk.add(next.batch, next.sequence, next.end, next.bytes);
        }
        let layers = Layers { database: Arc::new(database.read().map_err(as_io)?), chunks: vec![Arc::new(chunk)] };
        let shared = Arc::new(Shared {
            database: RwLock::new(Arc::new(database)),
            spare,
            cache_bytes: options.cache_bytes,
            log,
            layers: RwLock::new(Arc::new(layers)),
            chunk_bytes: usize::try_from(log_bytes_max / 8).unwrap_or(usize::MAX),
            orders: Mutex::default(),
            ordered: Condvar::new(),
            checkpointed,
            commits: Durations::default(),
            full: Mutex::default(),
            failed: OnceLock::new(),
            on_failure: OnceLock::new(),
        });
        let works = shared.clone();
        let checkpointer = std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || works.run());
        let checkpointer = checkpointer.map_err(|error| OpenError::Io(format!("start the checkpointer: {error}")))?;
        let (appender, checkpointer) = (Mutex::new((sequence, Vec::new())), Mutex::new(Some(checkpointer)));
        Ok(LoggedEngine { shared, appender, checkpointer })
    }
}

/// What the database says of its log; `None`: it has had none.
fn mark(database: &RedbEngine) -> Result<Option<LogMark>, EngineError> {
    let snapshot = database.snapshot()?;
    let read = |mark| Ok::<_, EngineError>(snapshot.mark(mark)?.map(i64::cast_unsigned));
    let (id, sequence, end) = (read(Mark::Log)?, read(Mark::Logged)?, read(Mark::LogAt)?);
    Ok(id.zip(sequence).zip(end).map(|((id, sequence), end)| LogMark { id, sequence, end }))
}

/// Whether the database has writes in a log.
pub(crate) fn has_log(database: &RedbEngine) -> Result<bool, EngineError> {
    Ok(mark(database)?.is_some())
}

/// Gives the database its first log. The log is whole before the database knows of it.
fn adopt(database: &RedbEngine, log: Box<dyn StorageBackend>, log_bytes_max: u64) -> Result<Log, OpenError> {
    let (log, mark) = Log::create(log, rand::rng().random(), log_bytes_max).map_err(|error| OpenError::Log(error.0))?;
    let marks = marks(mark).into();
    let written = database.write(&Batch { marks, ..Batch::default() }, &[]);
    written.map_err(|error| OpenError::Io(error.to_string()))?;
    Ok(log)
}

fn marks(mark: LogMark) -> [(Mark, i64); 3] {
    [(Mark::Log, mark.id), (Mark::Logged, mark.sequence), (Mark::LogAt, mark.end)]
        .map(|(mark, value)| (mark, value.cast_signed()))
}

impl Shared {
    fn check(&self) -> Result<(), EngineError> {
        self.failed.get().map_or(Ok(()), |why| Err(EngineError(why.clone())))
    }

    fn fail(&self, why: &EngineError) {
        if self.failed.set(why.0.clone()).is_ok()
            && let Some(told) = self.on_failure.get()
        {
            told(&why.0);
        }
        // Whoever waits learns it.
        self.order(|_| ());
        self.log.wake();
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut lock(&self.orders));
        self.ordered.notify_all();
    }

    fn layers(&self) -> Arc<Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn database(&self) -> Arc<RedbEngine> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets readers see a database that has these chunks and those before them, but not the rest.
    fn show(&self, database: Arc<RedbSnapshot>, has: Option<&Arc<Chunk>>) {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let first = has.and_then(|has| layers.chunks.iter().position(|chunk| Arc::ptr_eq(chunk, has)));
        let chunks = layers.chunks[first.map_or(0, |first| first + 1)..].to_vec();
        *layers = Arc::new(Layers { database, chunks });
    }

    /// The checkpointer's life.
    fn run(&self) {
        loop {
            let orders = {
                let mut orders = lock(&self.orders);
                while orders.is_idle() && self.check().is_ok() && !self.is_full() {
                    orders = self.ordered.wait(orders).unwrap_or_else(PoisonError::into_inner);
                }
                if !orders.close && self.check().is_ok() && self.is_full() {
                    orders = self.ordered.wait_timeout(orders, RETRY).unwrap_or_else(PoisonError::into_inner).0;
                }
                std::mem::take(&mut *orders)
            };
            let orders = self.bounded(orders);
            let (done, close) = (self.obey(orders), self.check().is_err());
            if done || close {
                return self.refuse_orders();
            }
        }
    }

    /// What can be removed in one commit; the rest is ordered anew. It comes in the order of keys; in that of history what is removed
    /// at once lies together on the disk. A million are sorted while others order something else.
    fn bounded(&self, mut orders: Orders) -> Orders {
        orders.forgotten.sort_unstable();
        let rest = orders.forgotten.len().saturating_sub(REMOVED_MAX);
        let mut later = orders.forgotten;
        orders.forgotten = later.split_off(rest);
        if !later.is_empty() {
            later.shrink_to(2 * later.len());
            self.order(|next| {
                later.append(&mut next.forgotten);
                next.forgotten = later;
            });
        }
        orders
    }

    /// Returns whether that was the last.
    fn obey(&self, orders: Orders) -> bool {
        let mut done = self.check().map_err(Unwritten::from).and_then(|()| self.checkpoint(&orders.forgotten));
        if matches!(done, Err(Unwritten::NoSpace(_))) {
            // To be removed when there is room for it.
            self.order(|next| next.forgotten.extend_from_slice(&orders.forgotten));
        }
        let more = !lock(&self.orders).forgotten.is_empty();
        if more && done.is_ok() && !orders.close {
            // What waits for all to be removed waits for the next round too.
            self.order(|next| {
                next.settle.extend(orders.settle);
                next.defragment.extend(orders.defragment);
            });
            return false;
        }
        orders.settle.into_iter().for_each(|then| then(done.clone()));
        if !orders.defragment.is_empty() {
            done = done.and_then(|()| Ok(self.defragment()?));
        }
        orders.defragment.into_iter().for_each(|then| then(done.clone()));
        orders.close
    }

    /// Copies the database to a new file, without the free space, and puts that in its place. The log takes what is written
    /// meanwhile. An error while copying leaves the database in use as it was; one while the copy takes its name fails the engine,
    /// because nobody knows which of them the next start would find.
    fn defragment(&self) -> Result<(), EngineError> {
        let spare = self.spare()?;
        let fresh = self.copied(spare).inspect_err(|_| spare.discard())?;
        self.replace(spare, fresh).inspect_err(|error| self.fail(error))
    }

    fn spare(&self) -> Result<&Spare, EngineError> {
        let given = || EngineError("defragment: the database's disk was given, and there is no other".to_owned());
        self.spare.as_ref().ok_or_else(given)
    }

    /// A copy of the database as it is. Nothing is removed in between, and what is added comes last.
    fn copied(&self, spare: &Spare) -> Result<RedbEngine, EngineError> {
        let no_room = |error: Unwritten| EngineError(format!("defragment: {error}"));
        let failed = |error: std::io::Error| EngineError(format!("defragment: {error}"));
        let fresh = RedbEngine::open(spare.make().map_err(failed)?, self.cache_bytes);
        let fresh = fresh.map_err(|error| EngineError(format!("defragment: {error}")))?;
        let mut from = Point::start_of(0);
        loop {
            // Only for the log's sake: as long as nothing is added to the database, the copy comes nearer to its end.
            if self.layers().active().read().bytes >= self.chunk_bytes {
                self.checkpoint(&[]).map_err(no_room)?;
            }
            let records = part(&self.database().read()?, from)?;
            let Some(last) = records.last() else { break };
            from = Point { revision: last.at.revision, sub: last.at.sub + 1 };
            fresh.write(&Batch { records, ..Batch::default() }, &[]).map_err(no_room)?;
        }
        fresh.write(&self.database().read()?.all_but_records()?, &[]).map_err(no_room)?;
        Ok(fresh)
    }

    fn replace(&self, spare: &Spare, fresh: RedbEngine) -> Result<(), EngineError> {
        spare.install().map_err(|error| EngineError(format!("defragment: {error}")))?;
        fresh.add_removed_bytes(self.database().take_removed_bytes());
        let fresh = Arc::new(fresh);
        let read = Arc::new(fresh.read()?);
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.show(read, None);
        Ok(())
    }

    fn refuse_orders(&self) {
        let why = || self.check().err().unwrap_or_else(|| EngineError("the store is closed".to_owned()));
        let orders = std::mem::take(&mut *lock(&self.orders));
        for then in orders.settle.into_iter().chain(orders.defragment) {
            then(Err(why().into()));
        }
    }
}

/// Some records from a point on; none: there are no more.
fn part(snapshot: &RedbSnapshot, from: Point) -> Result<Vec<Record>, EngineError> {
    let (mut records, mut bytes, mut damage) = (Vec::new(), 0, None);
    snapshot.scan(from, &mut |at, row| {
        bytes += row.len();
        match decode(at, row) {
            Ok(record) => records.push(record),
            Err(error) => damage = Some(error),
        }
        if bytes < COPIED_BYTES && damage.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    damage.map_or(Ok(records), Err)
}

impl LoggedEngine {
    /// Writes the frame, or, when the batch is too large for the log, waits for the database to have it.
    fn make_durable(&self, sequence: u64, frame: &[u8], batch: Batch) -> Result<(), Unwritten> {
        let shared = &*self.shared;
        if !shared.log.takes(frame.len()) {
            return self.make_durable_without_log(sequence, frame.len(), batch);
        }
        let end = shared.log.append(frame, || {
            shared.check()?;
            shared.check_space()?;
            shared.order(|orders| orders.hurry = true);
            Ok(())
        })?;
        let bytes = {
            // Held, so that the chunk is not sealed meanwhile.
            let layers = shared.layers.read().unwrap_or_else(PoisonError::into_inner);
            layers.active().add(batch, sequence, end, frame.len())
        };
        if bytes >= shared.chunk_bytes {
            shared.order(|orders| orders.hurry = true);
        }
        Ok(())
    }

    /// Has the database take a batch at once. It is in a chunk of its own, which goes if there is no room for it.
    fn make_durable_without_log(&self, sequence: u64, bytes: usize, batch: Batch) -> Result<(), Unwritten> {
        let shared = &*self.shared;
        let chunk = shared.add_unlogged(batch, sequence, bytes);
        loop {
            let held = shared.holds(&chunk);
            if shared.checkpointed.load(Ordering::Acquire) >= sequence {
                return Ok(());
            }
            if !held {
                let there_is_again = || Unwritten::NoSpace("the disk was full a moment ago".to_owned());
                return Err(shared.check_space().err().unwrap_or_else(there_is_again));
            }
            shared.check()?;
            let (told, answer) = std::sync::mpsc::channel();
            shared.order(|orders| orders.settle.push(Box::new(move |done| drop(told.send(done)))));
            answer.recv().map_err(|_| EngineError("the checkpointer ended".to_owned()))??;
        }
    }
}

/// One that was not closed writes nothing more: what the database lacks is in the log.
impl Drop for LoggedEngine {
    fn drop(&mut self) {
        let _first_reason_counts = self.shared.failed.set("the store is closed".to_owned());
        self.shared.order(|_| ());
        if let Some(checkpointer) = lock(&self.checkpointer).take() {
            // It panicked, and is gone as well.
            let _is_gone_as_well = checkpointer.join();
        }
    }
}

impl Engine for LoggedEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, EngineError> {
        self.shared.check()?;
        Ok(Box::new(LayeredSnapshot(self.shared.layers())))
    }

    fn has_room(&self, bytes: usize) -> Result<(), Unwritten> {
        self.shared.check()?;
        // The log may have room although the database has none.
        if self.shared.log.takes(bytes) && self.shared.log.make_room(bytes)? {
            Ok(())
        } else {
            self.shared.check_space()
        }
    }

    fn commit(&self, mut batch: Batch) -> Result<(), Unwritten> {
        self.shared.check()?;
        let forgotten = std::mem::take(&mut batch.forgotten);
        if !batch.is_empty() {
            let (last, frame) = &mut *lock(&self.appender);
            let sequence = *last + 1;
            frame.clear();
            frame::encode(self.shared.log.id(), sequence, &batch, frame);
            self.make_durable(sequence, frame, batch).inspect_err(|error| match error {
                Unwritten::NoSpace(_) => (),
                Unwritten::Failed(error) => self.shared.fail(error),
            })?;
            *last = sequence;
            // A large batch is rare; its room is not kept.
            frame.shrink_to(self.shared.chunk_bytes.min(1 << 20));
        }
        if !forgotten.is_empty() {
            self.shared.order(|orders| orders.forgotten.extend(forgotten));
        }
        Ok(())
    }

    fn take_removed_bytes(&self) -> u64 {
        self.shared.database().take_removed_bytes()
    }

    fn settle(&self, then: Then) {
        match self.shared.check() {
            Ok(()) => self.shared.order(|orders| orders.settle.push(then)),
            Err(error) => then(Err(error.into())),
        }
    }

    fn defragment(&self, then: Then) {
        match self.shared.check() {
            Ok(()) => self.shared.order(|orders| orders.defragment.push(then)),
            Err(error) => then(Err(error.into())),
        }
    }

    fn disk_bytes(&self) -> u64 {
        self.shared.database().disk_bytes() + self.shared.log.length()
    }

    fn syncs(&self) -> &Durations {
        self.shared.log.syncs()
    }

    fn commits(&self) -> &Durations {
        &self.shared.commits
    }

    fn on_failure(&self, told: OnFailure) {
        // Set once, when the store is made.
        let _set_once = self.shared.on_failure.set(told);
    }

    fn close(&self) {
        self.shared.order(|orders| orders.close = true);
        if let Some(checkpointer) = lock(&self.checkpointer).take() {
            // It panicked: the database is closed all the same, and the log has everything.
            let _log_has_everything = checkpointer.join();
        }
        let _first_reason_counts = self.shared.failed.set("the store is closed".to_owned());
        self.shared.database().close();
    }
}
