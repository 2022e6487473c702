//! The data folder: who holds it, and the two files in it, the database and its log.

use crate::StoreError;
use crate::engine::disk::{FileDisk, free_bytes};
use crate::engine::log::Log;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const DATABASE: &str = "store.redb";
const LOG: &str = "store.log";
/// A database being made. A process killed meanwhile leaves it half made, so it gets its real name only when it is whole.
const UNFINISHED: &str = "store.redb.new";

/// The folder's lock, released when dropped or when the process ends.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing (mode 0700) and takes its lock.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| failed("create", path, error))?;
        let lock_path = path.join(LOCK);
        let mut lock = locked(path, open(&lock_path).map_err(|error| failed("open", &lock_path, error))?)?;
        let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(|error| failed("write", &lock_path, error))?;
        Ok(Folder { path: path.to_owned(), _lock: lock })
    }

    /// Takes the lock of a folder that somebody made, to look at it: nothing in it is made or changed.
    pub(crate) fn look(path: &Path) -> Result<Self, StoreError> {
        let lock_path = path.join(LOCK);
        let lock = File::open(&lock_path).map_err(|error| failed("open", &lock_path, error))?;
        Ok(Folder { path: path.to_owned(), _lock: locked(path, lock)? })
    }

    /// Where the database is.
    pub(crate) fn database_path(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Where its log is.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Opens the database and its log; if there are none, lets `make` write them. Both names then survive a power failure, the
    /// database's being given last: without it the folder holds nothing.
    pub(crate) fn files(
        &self,
        make: impl FnOnce(FileDisk, FileDisk) -> Result<(), StoreError>,
    ) -> Result<(FileDisk, FileDisk), StoreError> {
        let (path, log_path) = (self.database_path(), self.log_path());
        let spare = Spare { folder: self.path.clone() };
        if !path.try_exists().map_err(|error| failed("look for", &path, error))? {
            let log = disk(&log_path)?;
            if Log::holds_batches(&log).map_err(|error| failed("read", &log_path, error))? {
                let what = format!("holds writes of a store, but {DATABASE} beside it is missing");
                return Err(StoreError::Foreign { path: log_path, what });
            }
            make(spare.make().map_err(|error| failed("create", &spare.path(), error))?, log)?;
            spare.install().map_err(|error| failed("install", &spare.path(), error))?;
        }
        match fs::remove_file(spare.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &spare.path(), error));
            }
            // One that a defragmentation had begun.
            _ => sync_folder(&self.path).map_err(|error| failed("sync", &self.path, error))?,
        }
        Ok((disk(&path)?, disk(&log_path)?))
    }

    /// Where a database can be made to replace the present one.
    pub(crate) fn spare(&self) -> Spare {
        Spare { folder: self.path.clone() }
    }
}

/// The place of a database that is being made.
#[derive(Debug)]
pub(crate) struct Spare {
    folder: PathBuf,
}

impl Spare {
    fn path(&self) -> PathBuf {
        self.folder.join(UNFINISHED)
    }

    /// An empty file there.
    pub(crate) fn make(&self) -> io::Result<FileDisk> {
        let file = open(&self.path())?;
        file.set_len(0)?;
        FileDisk::new(file, &self.path())
    }

    /// Removes it: half a copy on a full disk would only keep it full.
    pub(crate) fn discard(&self) {
        // One that stays is removed when the store is opened next.
        let _next_open_removes_it = fs::remove_file(self.path());
    }

    /// Bytes that are free where the store is, if that can be told.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        free_bytes(File::open(&self.folder).ok()?)
    }

    /// Makes it the folder's database, also after a power failure.
    pub(crate) fn install(&self) -> io::Result<()> {
        fs::rename(self.path(), self.folder.join(DATABASE))?;
        sync_folder(&self.folder)
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn disk(path: &Path) -> Result<FileDisk, StoreError> {
    open(path).and_then(|file| FileDisk::new(file, path)).map_err(|error| failed("open", path, error))
}

fn locked(folder: &Path, mut lock: File) -> Result<File, StoreError> {
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::InUse { folder: folder.to_owned(), holder: holder(&mut lock) })
        }
        Err(TryLockError::Error(error)) => Err(failed("lock", &folder.join(LOCK), error)),
    }
}

/// Whether there is a store in a folder.
pub(crate) fn holds_store(folder: &Path) -> bool {
    folder.join(DATABASE).is_file()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::File { operation, path: path.to_owned(), source }
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.rewind().and_then(|()| lock.read_to_string(&mut text)) {
        Ok(_) if !text.trim().is_empty() => format!("pid {}", text.trim()),
        _ => "its pid is unknown".to_owned(),
    }
}
