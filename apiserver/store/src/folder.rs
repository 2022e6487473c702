//! The data folder: who holds it, and the database file in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::StoreError;

const LOCK: &str = "lock";
const DATABASE: &str = "store.redb";

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
        let mut lock = open(&lock_path).map_err(|error| failed("open", &lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { folder: path.to_owned(), holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path, error)),
        }
        let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(|error| failed("write", &lock_path, error))?;
        Ok(Folder { path: path.to_owned(), _lock: lock })
    }

    /// Where the database is.
    pub(crate) fn database_path(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Opens the database file, or makes an empty one whose name survives a power failure.
    pub(crate) fn database(&self) -> Result<File, StoreError> {
        let path = self.database_path();
        let file = open(&path).map_err(|error| failed("open", &path, error))?;
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| failed("sync", &self.path, error))?;
        Ok(file)
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
