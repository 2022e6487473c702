//! A disk that reads a file and keeps what is written to it in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Unit in which changes are kept; redb's page.
const PAGE_BYTES: u64 = 4096;

#[derive(Debug)]
struct Changes {
    len: u64,
    /// What of the file is still visible: it shrinks with `set_len` and does not come back.
    file_len: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES as usize]>>,
}

/// See the module.
#[derive(Debug)]
pub struct Overlay {
    file: File,
    changes: Mutex<Changes>,
}

impl Overlay {
    /// Over a file open for reading.
    pub fn over_file(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Overlay { file, changes: Mutex::new(Changes { len, file_len: len, pages: BTreeMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `act` with each page that `offset..offset + len` touches, and the part of the buffer that lies in it.
    fn parts(
        offset: u64,
        len: usize,
        mut act: impl FnMut(u64, usize, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let within = (at % PAGE_BYTES) as usize;
            let count = (len - done).min(PAGE_BYTES as usize - within);
            act(at / PAGE_BYTES, within, done..done + count)?;
            done += count;
        }
        Ok(())
    }

    fn read_below(&self, changes: &Changes, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let there = changes.file_len.saturating_sub(offset).min(out.len() as u64) as usize;
        self.file.read_exact_at(&mut out[..there], offset)
    }
}

impl redb::StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > changes.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if changes.pages.is_empty() {
            return self.read_below(&changes, offset, out);
        }
        Self::parts(offset, out.len(), |page, within, part| match changes.pages.get(&page) {
            Some(bytes) => {
                let count = part.len();
                out[part].copy_from_slice(&bytes[within..within + count]);
                Ok(())
            }
            None => self.read_below(&changes, page * PAGE_BYTES + within as u64, &mut out[part]),
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let changes = &mut *self.lock();
        if len < changes.len {
            changes.file_len = changes.file_len.min(len);
            changes.pages.split_off(&len.div_ceil(PAGE_BYTES));
            let within = (len % PAGE_BYTES) as usize;
            if let Some(page) = changes.pages.get_mut(&(len / PAGE_BYTES)) {
                page[within..].fill(0);
            }
        }
        changes.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let changes = &mut *self.lock();
        Self::parts(offset, data.len(), |page, within, part| {
            if !changes.pages.contains_key(&page) {
                let mut bytes = Box::new([0; PAGE_BYTES as usize]);
                self.read_below(changes, page * PAGE_BYTES, &mut bytes[..])?;
                changes.pages.insert(page, bytes);
            }
            let bytes = changes.pages.get_mut(&page).expect("a page is copied before it is changed");
            let count = part.len();
            bytes[within..within + count].copy_from_slice(&data[part]);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::StorageBackend;
    use std::io::Write;

    #[test]
    fn the_file_stays_as_it_was() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        let overlay = Overlay::over_file(file.try_clone().unwrap()).unwrap();
        overlay.write(4000, &[1; 200]).unwrap();
        overlay.set_len(5000).unwrap();
        overlay.set_len(9000).unwrap();
        let mut out = vec![9; 9000];
        overlay.read(0, &mut out).unwrap();
        let runs = [(0, 7), (3999, 7), (4000, 1), (4199, 1), (4200, 7), (4999, 7), (5000, 0), (8999, 0)];
        assert_eq!(runs.map(|(at, _)| (at, out[at])), runs);
        assert!(overlay.read(8999, &mut [0; 2]).is_err());
        let mut below = vec![0; 10_000];
        file.read_exact_at(&mut below, 0).unwrap();
        assert_eq!(below, [7; 10_000], "written through");
    }
}
