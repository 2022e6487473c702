//! The etcd stand-in: an MVCC key/value store with watch and leases, and its etcd v3 gRPC service.
//!
//! The store knows keys and bytes, no Kubernetes word. [`Store`] is the embedded store; [`backend::Backend`] is the API
//! server's door to it, and to any etcd through [`etcd::Remote`].

pub mod backend; // what the API server asks of a store
mod bolt; // the file that etcd keeps everything in
mod core; // what readers and the writer share
mod embedded; // this store as a backend
mod engine; // the disk
mod error;
pub mod etcd; // this store as an etcd, and any etcd as a backend
mod folder; // the folder it is in
pub mod fsck; // whether its state equals its history
mod gather; // which requests share a commit
mod hub; // who must be told
mod index; // where each key's writes stand
pub mod keys; // ranges of them
mod lease; // keys that die
mod metrics; // how much was done
mod open; // reading it all into memory
mod plan; // what a transaction will do; no I/O
pub mod record; // one write in history
pub mod request; // what anyone may ask of this one
mod seeded; // mistakes, on purpose
mod session; // doing it
pub mod snapshot; // all of it as a file
mod ttl; // leases shared by many keys
mod users; // who may do what
mod watch; // telling them, history first
mod writer; // making it durable, then known

use crate::core::Core;
use crate::embedded::Embedded;
use crate::engine::Engine;
use crate::engine::logged::LoggedEngine;
use crate::engine::redb::{OpenError, RedbEngine};
use crate::folder::{Folder, Spare};
use crate::fsck::Overlay;
use crate::request::{Range, Ranged, Refusal, Txn, TxnDone};
use crate::users::Caller;
use crate::writer::{Reply, Work, Writer};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

pub use backend::{Backend, BackendError, Revision};
pub use error::StoreError;
pub use users::Denied;

/// How much history a store keeps by itself. Costs nothing while nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// All of it, until somebody compacts: an etcd without flags.
    All,
    /// What is younger than this; at most twice as much stands there until it goes.
    Within(Duration),
    /// So many revisions.
    Newest {
        /// How many.
        revisions: Revision,
        /// How often they are counted; as many more as are written meanwhile stand there until then.
        counted_every: Duration,
    },
}

/// How large one request may be; the defaults are etcd's, which clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps and conditions of a transaction (`--max-txn-ops`).
    pub txn_ops: usize,
    /// Bytes of a request that writes (`--max-request-bytes`).
    pub request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { txn_ops: 128, request_bytes: 3 << 19 }
    }
}

/// How a store behaves; the default suits one node.
#[derive(Debug, Clone)]
pub struct Options {
    /// Refuse writes once the kept history reaches this many bytes (etcd's `--quota-backend-bytes`).
    pub quota_bytes: u64,
    /// Pages of the database kept in memory, at most.
    pub cache_bytes: usize,
    /// Which history is compacted without being asked (etcd's `--auto-compaction-mode` and `--auto-compaction-retention`).
    pub history: History,
    /// How large the log in front of the database may become. What it holds is read when the store is opened, and is in memory too
    /// until the database has it: at most this much, and mostly an eighth.
    pub log_bytes: u64,
    /// How often an idle watch that asked for it is told the revision (`--experimental-watch-progress-notify-interval`).
    pub progress_interval: Duration,
    /// Bytes of the newest keys and values that stay in memory for watchers; whoever is further behind reads from the disk.
    pub recent_bytes: usize,
    /// What a request may ask for.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            quota_bytes: 2 << 30,
            cache_bytes: 32 << 20,
            history: History::All,
            log_bytes: 64 << 20,
            progress_interval: Duration::from_secs(5),
            // A burst of 4,000 writes of 1 KiB.
            recent_bytes: 4 << 20,
            limits: Limits::default(),
        }
    }
}

/// The embedded store: one folder, one writer, any number of readers. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    core: Arc<Core>,
    queue: mpsc::Sender<Work>,
    /// Who asks.
    caller: Caller,
}

impl Store {
    /// Whether there is a store in `folder`, whoever has it open.
    pub fn is_in(folder: &Path) -> bool {
        folder::holds_store(folder)
    }

    /// Opens or makes the store in `folder` and takes the folder's lock. Blocks while it reads the index.
    pub fn open(folder: &Path, options: Options) -> Result<Self, StoreError> {
        let folder = Folder::take(folder)?;
        let names = Names::of(&folder);
        let (database, log) = folder.files(|database, log| {
            // Making the engine makes it durable; closing it leaves files that need no repair.
            make_engine(database, log, None, &names, &options).map(|engine| engine.close())
        })?;
        let engine = make_engine(database, log, Some(folder.spare()), &names, &options)?;
        Self::over(Box::new(engine), &names, Hold::Writes(Some(folder)), options)
    }

    /// Opens the store in `folder` to look at it: no byte in the folder changes, and no lease ends. What opening repairs, it repairs in
    /// memory; what would write is refused. The folder may be on a filesystem that cannot be written to.
    pub fn look(folder: &Path, options: Options) -> Result<Self, StoreError> {
        let folder = Folder::look(folder)?;
        let names = Names::of(&folder);
        let (database, log) = names.overlaid()?;
        let engine = make_engine(database, log, None, &names, &options)?;
        let options = Options { history: History::All, quota_bytes: u64::MAX, ..options };
        Self::over(Box::new(engine), &names, Hold::Looks(folder), options)
    }

    /// Opens or makes a store on any two disks: ones that fail on purpose, or memory (`redb::backends::InMemoryBackend`).
    ///
    /// Both are used as [`Store::open`] uses the files `store.redb` and `store.log`, by two threads: one writes and syncs the log, once
    /// for each batch of requests, before these are answered; the other writes and syncs the database some time later. Neither file
    /// is written because of a read, nor by opening a store that was in use before (redb itself may, to note that it is open).
    /// A store whose first opening did not return is nothing yet, and its disks may be half made. Such a store cannot be
    /// defragmented: that takes a second database.
    pub fn open_disks(
        database: impl redb::StorageBackend,
        log: impl redb::StorageBackend,
        options: Options,
    ) -> Result<Self, StoreError> {
        let names = Names::given();
        let engine = make_engine(database, log, None, &names, &options)?;
        Self::over(Box::new(engine), &names, Hold::Writes(None), options)
    }

    /// The same on one disk, without a log: every batch is a commit of the database, which is slower. Refuses a database that was ever
    /// opened with a log.
    pub fn open_disk(disk: impl redb::StorageBackend, options: Options) -> Result<Self, StoreError> {
        let names = Names { database: "the given disk".into(), log: "no log".into() };
        let engine = RedbEngine::open(disk, options.cache_bytes).map_err(|error| names.blame(error))?;
        match engine::logged::has_log(&engine) {
            Ok(false) => Self::over(Box::new(engine), &names, Hold::Writes(None), options),
            Ok(true) => Err(names.blame(OpenError::Foreign("has writes in a log, which was not given".to_owned()))),
            Err(error) => Err(names.blame(OpenError::Io(error.0))),
        }
    }

    fn over(engine: Box<dyn Engine>, names: &Names, hold: Hold, options: Options) -> Result<Self, StoreError> {
        let (mut core, mut forgotten) =
            open::open(engine, options).map_err(|error| names.blame(OpenError::Foreign(error.0)))?;
        let folder = match hold {
            Hold::Writes(folder) => folder,
            Hold::Looks(folder) => {
                core.only_looks = true;
                forgotten.clear();
                Some(folder)
            }
        };
        let core = Arc::new(core);
        let told = Arc::downgrade(&core);
        core.engine.on_failure(Box::new(move |why| {
            if let Some(core) = told.upgrade() {
                core.fail(why);
            }
        }));
        let (queue, work) = mpsc::channel();
        let writer = Writer::new(core.clone(), work, folder, forgotten);
        let spawned = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run());
        match spawned {
            Ok(_) => Ok(Store { core, queue, caller: Caller::Us }),
            Err(source) => {
                Err(StoreError::File { operation: "start the writer of", path: names.database.clone(), source })
            }
        }
    }

    /// The API server's door to this store.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(Embedded::new(self.clone()))
    }

    /// Finishes what is queued, closes the database and releases the folder. Later requests on clones are refused.
    pub async fn close(self) {
        // Refused: it is closed already.
        let _may_be_closed_already = self.ask(Work::Close).await;
    }

    /// Reads keys.
    pub async fn range(&self, range: Range) -> Result<Ranged, Refusal> {
        if matches!(range.keys.end, keys::End::Single) {
            // One key is a few microseconds; moving it to another thread would cost more.
            return self.core.range(&self.caller, &range);
        }
        let (core, caller) = (self.core.clone(), self.caller.clone());
        let read = tokio::task::spawn_blocking(move || core.range(&caller, &range));
        read.await.map_err(|error| Refusal::Failed(format!("read a range: {error}")))?
    }

    /// Does a transaction; when this returns it is durable.
    pub async fn txn(&self, txn: Txn) -> Result<TxnDone, Refusal> {
        self.ask(|reply| Work::Txn(txn, self.caller.clone(), reply)).await
    }

    /// Grants a lease (id 0: one is drawn); returns its id and TTL in seconds, which may be longer than asked for.
    pub async fn grant(&self, id: i64, ttl_seconds: i64) -> Result<(i64, i64), Refusal> {
        self.ask(|reply| Work::Grant(id, ttl_seconds, reply)).await
    }

    /// Ends a lease and deletes its keys.
    pub async fn revoke(&self, id: i64) -> Result<(), Refusal> {
        self.ask(|reply| Work::Revoke(id, self.caller.clone(), reply)).await
    }

    /// Forgets the history before `revision`.
    pub async fn compact(&self, revision: Revision, until_removed: bool) -> Result<(), Refusal> {
        self.ask(|reply| Work::Compact(revision, until_removed, reply)).await
    }

    /// Gives the database's free space back to the filesystem, by writing the database anew beside the old one.
    pub async fn defragment(&self) -> Result<(), Refusal> {
        self.ask(Work::Defragment).await
    }

    /// The newest durable revision.
    pub fn revision(&self) -> Revision {
        self.core.revision()
    }

    /// The same store, asked by somebody else.
    fn asked_by(&self, caller: Caller) -> Self {
        Store { caller, ..self.clone() }
    }

    fn core(&self) -> &Arc<Core> {
        &self.core
    }

    async fn ask<T>(&self, work: impl FnOnce(Reply<T>) -> Work) -> Result<T, Refusal> {
        let gone = || Refusal::Failed("the store is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.queue.send(work(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// What a store may do with what it was opened on; the folder's lock is kept as long.
enum Hold {
    /// Everything.
    Writes(Option<Folder>),
    /// Read.
    Looks(Folder),
}

/// What the two files are called in errors.
struct Names {
    database: PathBuf,
    log: PathBuf,
}

impl Names {
    /// Those of a folder.
    fn of(folder: &Folder) -> Self {
        Names { database: folder.database_path(), log: folder.log_path() }
    }

    /// Both files, as disks that only seem to be written to.
    fn overlaid(&self) -> Result<(Overlay, Overlay), StoreError> {
        let overlay = |path: &PathBuf| {
            let failed = |operation, source| StoreError::File { operation, path: path.clone(), source };
            let file = File::open(path).map_err(|source| failed("open", source))?;
            Overlay::over_file(file).map_err(|source| failed("look at", source))
        };
        Ok((overlay(&self.database)?, overlay(&self.log)?))
    }

    /// Of disks without a name.
    fn given() -> Self {
        Names { database: "the given disk".into(), log: "the given disk of the log".into() }
    }

    fn blame(&self, error: OpenError) -> StoreError {
        match error {
            OpenError::Foreign(what) => StoreError::Foreign { path: self.database.clone(), what },
            OpenError::Log(what) => StoreError::Foreign { path: self.log.clone(), what },
            OpenError::Io(what) => {
                StoreError::File { operation: "open", path: self.database.clone(), source: std::io::Error::other(what) }
            }
        }
    }
}

fn make_engine(
    database: impl redb::StorageBackend,
    log: impl redb::StorageBackend,
    spare: Option<Spare>,
    names: &Names,
    options: &Options,
) -> Result<LoggedEngine, StoreError> {
    let engine = RedbEngine::open(database, options.cache_bytes)
        .and_then(|database| LoggedEngine::open(database, Box::new(log), spare, options));
    engine.map_err(|error| names.blame(error))
}
