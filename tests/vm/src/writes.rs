//! The log of a disk's writes, in the format of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst),
//! which QEMU's blklogwrites writes as well.
//!
//! A first sector says how many entries follow; each is a sector with the entry's head, and then what was written. All numbers
//! are little-endian. QEMU logs a request when it has ended, before the guest is told: what is logged after a flush may be
//! missing after a power failure, and what a guest writes because a flush has ended is logged after it.

use crate::disk::{BEFORE, WRITES};
use crate::error::{Error, On, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
/// What later versions of dm-log-writes add: the write is metadata of a filesystem.
const METADATA: u64 = 16;
/// Of a head: sector, sectors, flags, and the length of what a mark says.
const HEAD_BYTES: usize = 32;

/// One request to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where it writes, in bytes.
    pub at: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Whether all that ended before it is durable once it is done.
    pub flushes: bool,
    /// Whether what it writes is durable once it is done.
    pub is_durable: bool,
    /// Whether it says that the content does not matter any more, instead of writing.
    pub discards: bool,
    /// Where in the log its bytes are.
    data: u64,
}

impl Entry {
    /// Whether the disk promises something when it is done.
    #[must_use]
    pub fn is_mark(&self) -> bool {
        self.flushes || self.is_durable
    }
}

/// A log, opened, and the disk that it begins with.
#[derive(Debug)]
pub struct WriteLog {
    pub(crate) before: File,
    file: File,
    entries: Vec<Entry>,
}

impl WriteLog {
    /// Opens what [`crate::Guest::log_writes`] left in `folder`. What came after the last flush is not in it.
    ///
    /// # Errors
    /// It cannot be read, or is not such a log.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let (before, writes) = (folder.as_ref().join(BEFORE), folder.as_ref().join(WRITES));
        let before = File::open(&before).on("open", before.display())?;
        let file = File::open(&writes).on("open", writes.display())?;
        let entries = entries(&file, &writes)?;
        Ok(Self { before, file, entries })
    }

    /// All requests, in the order in which they ended.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What an entry wrote.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn data(&self, entry: &Entry) -> Result<Vec<u8>> {
        let length = if entry.discards { 0 } else { entry.bytes };
        let mut data = vec![0; usize::try_from(length).map_err(|_| garbled("an entry is too long"))?];
        self.file.read_exact_at(&mut data, entry.data).on("read", "a log of writes")?;
        Ok(data)
    }
}

fn garbled(why: &str) -> Error {
    Error::Refused(format!("not a log of writes: {why}"))
}

fn entries(file: &File, path: &Path) -> Result<Vec<Entry>> {
    let length = file.metadata().on("stat", path.display())?.len();
    let head = |at: u64| -> Result<[u64; HEAD_BYTES / 8]> {
        let mut bytes = [0; HEAD_BYTES];
        if at.checked_add(HEAD_BYTES as u64).is_none_or(|end| end > length) {
            return Err(garbled("it is cut short"));
        }
        file.read_exact_at(&mut bytes, at).on("read", path.display())?;
        let (words, _) = bytes.as_chunks::<8>();
        Ok(std::array::from_fn(|index| u64::from_le_bytes(words[index])))
    };
    let [magic, version, count, sector] = head(0)?;
    // The sector's size has 32 bits.
    let sector = sector & u64::from(u32::MAX);
    if magic != MAGIC || version != VERSION || !sector.is_power_of_two() || sector < HEAD_BYTES as u64 {
        return Err(garbled("its first sector is another program's"));
    }
    let (mut entries, mut at) = (Vec::new(), sector);
    for _ in 0..count {
        let [first, sectors, flags, told] = head(at)?;
        if flags & !(FLUSH | FUA | DISCARD | MARK | METADATA) != 0 {
            return Err(garbled("an entry has flags that nobody knows"));
        }
        let bytes = |sectors: u64| sectors.checked_mul(sector).ok_or_else(|| garbled("an entry is too long"));
        let entry = Entry {
            at: bytes(first)?,
            bytes: bytes(sectors)?,
            flushes: flags & FLUSH != 0,
            is_durable: flags & FUA != 0,
            discards: flags & DISCARD != 0,
            data: at + sector,
        };
        let follows = match () {
            () if flags & MARK != 0 => told.next_multiple_of(sector),
            () if entry.discards => 0,
            () => entry.bytes,
        };
        at = entry.data.checked_add(follows).filter(|end| *end <= length).ok_or_else(|| garbled("it is cut short"))?;
        // What somebody wanted to be said between writes is no request.
        if flags & MARK == 0 {
            entries.push(entry);
        }
    }
    Ok(entries)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Sectors of this size in logs of tests.
    pub(crate) const SECTOR: usize = 512;

    /// A request of a test: flags, first sector, what is written.
    pub(crate) type Request = (u64, u64, Vec<u8>);

    pub(crate) fn flush() -> Request {
        (FLUSH, 0, Vec::new())
    }

    pub(crate) fn write(sector: u64, data: &[u8]) -> Request {
        (0, sector, data.to_vec())
    }

    fn sector(words: [u64; 4]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.resize(SECTOR, 0);
        bytes
    }

    fn encode(requests: &[Request]) -> Vec<u8> {
        let mut log = sector([MAGIC, VERSION, requests.len() as u64, SECTOR as u64]);
        for (flags, at, data) in requests {
            log.extend(sector([*at, (data.len() / SECTOR) as u64, *flags, 0]));
            log.extend(data);
        }
        log
    }

    /// A folder with a log, as a guest leaves it.
    pub(crate) fn logged(before: &[u8], requests: &[Request]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(BEFORE), before).unwrap();
        std::fs::write(folder.path().join(WRITES), encode(requests)).unwrap();
        folder
    }

    fn refusal(bytes: &[u8]) -> String {
        let folder = logged(&[], &[]);
        std::fs::write(folder.path().join(WRITES), bytes).unwrap();
        WriteLog::open(&folder).unwrap_err().to_string()
    }

    #[test]
    fn requests_are_read_as_they_were_logged() {
        let (one, two) = (vec![1; SECTOR], vec![2; 3 * SECTOR]);
        let requests = [write(7, &one), flush(), (FUA | METADATA, 9, two.clone())];
        let folder = logged(&[], &requests);
        let log = WriteLog::open(&folder).unwrap();
        let [first, second, third] = log.entries() else { panic!("{:?}", log.entries()) };
        assert_eq!((first.at, first.bytes, first.is_mark()), (7 * 512, 512, false));
        assert_eq!(log.data(first).unwrap(), one);
        assert!(second.flushes && second.is_mark() && log.data(second).unwrap().is_empty());
        assert!(third.is_durable && third.is_mark() && !third.flushes);
        assert_eq!(log.data(third).unwrap(), two);
    }

    #[test]
    fn discards_have_no_data_and_marks_are_no_requests() {
        let mut bytes = sector([MAGIC, VERSION, 3, SECTOR as u64]);
        bytes.extend(sector([8, 100, DISCARD, 0]));
        bytes.extend(sector([0, 0, MARK, 5]).into_iter().chain(vec![b'x'; SECTOR]));
        bytes.extend(sector([1, 1, 0, 0]).into_iter().chain(vec![3; SECTOR]));
        let folder = logged(&[], &[]);
        std::fs::write(folder.path().join(WRITES), bytes).unwrap();
        let log = WriteLog::open(&folder).unwrap();
        let [discard, write] = log.entries() else { panic!("{:?}", log.entries()) };
        assert!(discard.discards && discard.bytes == 100 * 512);
        assert_eq!(log.data(write).unwrap(), vec![3; SECTOR]);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let whole = encode(&[write(0, &[1; SECTOR]), flush()]);
        for length in [0, 31, 100, SECTOR + 8, 2 * SECTOR + 100, 3 * SECTOR + 31] {
            assert!(refusal(&whole[..length]).contains("cut short"), "{length}");
        }
        assert!(refusal(&vec![0; 4096]).contains("another program's"));
        let mut strange = whole.clone();
        strange[SECTOR + 17] = 1;
        assert!(refusal(&strange).contains("flags"));
        let mut endless = whole;
        endless[SECTOR + 8..SECTOR + 16].fill(0xff);
        assert!(refusal(&endless).contains("too long"));
    }
}
