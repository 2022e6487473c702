//! The data folder: who holds it, and the database file in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::StoreError;

const LOCK: &str = "lock";
const DATABASE: &str = "store.redb";
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

    /// Opens the database file; if there is none, lets `make` write one, whose name then survives a power failure.
    pub(crate) fn database(&self, make: impl FnOnce(File) -> Result<(), StoreError>) -> Result<File, StoreError> {
        let (path, unfinished) = (self.database_path(), self.path.join(UNFINISHED));
        if !path.try_exists().map_err(|error| failed("look for", &path, error))? {
            let file = open(&unfinished).and_then(|file| file.set_len(0).map(|()| file));
            make(file.map_err(|error| failed("create", &unfinished, error))?)?;
            fs::rename(&unfinished, &path).map_err(|error| failed("rename", &unfinished, error))?;
        }
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| failed("sync", &self.path, error))?;
        open(&path).map_err(|error| failed("open", &path, error))
    }
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
