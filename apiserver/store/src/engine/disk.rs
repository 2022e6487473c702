//! A file as redb's storage: positioned reads and writes, `fdatasync`, and its length without asking the kernel.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// A database file. The folder's own lock keeps other processes out (see [`crate::folder`]).
#[derive(Debug)]
pub(crate) struct FileDisk {
    file: File,
    length: Arc<AtomicU64>,
}

impl FileDisk {
    /// Over an open file.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let length = Arc::new(AtomicU64::new(file.metadata()?.len()));
        Ok(FileDisk { file, length })
    }
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
            let _ = posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}
