//! A file as redb's storage: positioned reads and writes, `fdatasync`, and its length without asking the kernel.

use super::is_no_space;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A database file. The folder's own lock keeps other processes out (see [`crate::folder`]).
#[derive(Debug)]
pub(crate) struct FileDisk {
    file: File,
    path: PathBuf,
    length: Arc<AtomicU64>,
}

impl FileDisk {
    /// Over the open file of this path, which errors are to name.
    pub(crate) fn new(file: File, path: &Path) -> io::Result<Self> {
        let length = Arc::new(AtomicU64::new(file.metadata()?.len()));
        Ok(FileDisk { file, path: path.to_owned(), length })
    }

    /// Says of a full disk which it is, and by how much.
    fn with_figures(&self, error: io::Error, needed: usize) -> io::Error {
        let Some(free) = free_bytes(&self.file).filter(|_| is_no_space(&error)) else { return error };
        let path = self.path.display();
        let what = match error.kind() {
            io::ErrorKind::QuotaExceeded => "the quota of disk space is used up for",
            _ => "no space is left on the filesystem of",
        };
        io::Error::new(error.kind(), format!("{what} {path}: {free} bytes are free, {needed} are needed"))
    }
}

/// Bytes that whoever runs the store may still use of the filesystem of a file or folder.
pub(crate) fn free_bytes(file: impl AsFd) -> Option<u64> {
    let told = nix::sys::statvfs::fstatvfs(file).ok()?;
    Some(told.blocks_available() * told.fragment_size())
}

impl redb::StorageBackend for FileDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length.load(Ordering::Acquire))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.length.store(len, Ordering::Release);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| {
            // The kernel takes the pages that it could not write for clean, and serves them to whoever opens the file next, who
            // would believe them durable. Without them he sees what the disk has. Best effort: the sync's error is what counts.
            let _sync_error_counts = posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset).map_err(|error| self.with_figures(error, data.len()))
    }
}
