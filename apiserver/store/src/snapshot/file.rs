//! Reads a saved snapshot: proves it whole, and makes a store of it.
//!
//! Of an etcd's database see `import`. What our earlier releases saved is
//!
//! ```text
//!  magic · version · compacted · a byte per alarm ‖ record … ‖ lease … ‖ user or role … ‖ end: revision, counts ‖ zeros to 512 ‖ SHA-256 of all before
//! ```
//!
//! with little-endian numbers.

use super::{SECTOR_BYTES, SUM_BYTES, import};
use crate::bolt::read::is_bolt;
use crate::engine::redb::RedbEngine;
use crate::engine::{Batch, Engine, EngineError, Mark};
use crate::folder::Folder;
use crate::record::{Point, Record};
use crate::request::{Alarm, Alarms};
use crate::{Names, Options, Revision, StoreError};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8; 8] = b"SKIFFSNP";
/// Of the format; another number is a snapshot this program cannot read.
const VERSION: u32 = 1;
/// Of the format with users in it: whoever knows only the other one must not make a store of it that is open to everybody.
const VERSION_USERS: u32 = 2;
const WRONG_SUM: &str = "is damaged: its checksum does not match";

/// What follows in the stream.
mod tag {
    pub(super) const END: u8 = 0;
    pub(super) const RECORD: u8 = 1;
    pub(super) const LEASE: u8 = 2;
    pub(super) const USER: u8 = 3;
}

/// Bytes of records that a restore makes durable at a time.
const BATCH_BYTES: usize = 8 << 20;

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The revision it was taken at.
    pub revision: Revision,
    /// What its history was compacted to; -1: never.
    pub compacted: Revision,
    /// Keys that exist at `revision`.
    pub keys: u64,
    /// Writes in its history.
    pub records: u64,
    /// Leases.
    pub leases: u64,
    /// Its size with the trailer.
    pub bytes: u64,
    /// The trailer.
    pub sha256: [u8; 32],
}

/// Reads all of a snapshot file and says what it holds; refuses one that is foreign, cut short or damaged.
pub fn status(file: &Path) -> Result<Summary, StoreError> {
    let mut keys = HashSet::new();
    let summary = read(file, &mut |entry| {
        if let Entry::Record(record) = entry {
            if record.is_tombstone() {
                keys.remove(&record.key)
            } else {
                keys.insert(record.key)
            };
        }
        Ok(())
    })?;
    Ok(Summary { keys: keys.len() as u64, ..summary })
}

/// Makes a store of a snapshot file in `folder`, which must not hold one. It is a new cluster: it draws ids of its own.
///
/// The file is proved whole before anything is written, and the database gets its name only when it is whole.
pub fn restore(file: &Path, folder: &Path) -> Result<Summary, StoreError> {
    let summary = status(file)?;
    let folder = Folder::take(folder)?;
    let path = folder.database_path();
    if path.exists() {
        let what = "is a store already; a snapshot is restored into a new folder".to_owned();
        return Err(StoreError::Foreign { path, what });
    }
    let names = Names { database: path.clone(), log: folder.log_path() };
    // Without a log, which the store gets when it is opened: a restore that is interrupted leaves nothing that looks like a store.
    folder.files(|database, _| {
        let engine = RedbEngine::open(database, Options::default().cache_bytes).map_err(|error| names.blame(error))?;
        let failed = |error: EngineError| StoreError::File {
            operation: "restore",
            path: path.clone(),
            source: io::Error::other(error.0),
        };
        let mut filling = Filling { engine: &engine, batch: Batch::default(), bytes: 0 };
        read(file, &mut |entry| filling.add(entry).map_err(failed))?;
        filling.flush().map_err(failed)?;
        engine.close();
        Ok(())
    })?;
    Ok(summary)
}

struct Filling<'a> {
    engine: &'a dyn Engine,
    batch: Batch,
    bytes: usize,
}

impl Filling<'_> {
    fn add(&mut self, entry: Entry) -> Result<(), EngineError> {
        match entry {
            Entry::Head { compacted, alarms } => {
                if compacted >= 0 {
                    self.batch.marks.insert(Mark::Compacted, compacted);
                }
                for alarm in Alarm::ALL {
                    self.batch.marks.insert(alarm.into(), i64::from(alarms.bits(alarm)));
                }
            }
            Entry::Record(record) => {
                self.bytes += record.size_bytes();
                self.batch.records.push(record);
            }
            Entry::Lease(id, ttl_seconds) => drop(self.batch.leases.insert(id, Some(ttl_seconds))),
            Entry::User(name, value) => drop(self.batch.users.insert(name, Some(value))),
        }
        if self.bytes < BATCH_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.bytes = 0;
        self.engine.commit(std::mem::take(&mut self.batch)).map_err(|error| EngineError(error.to_string()))
    }
}

/// A part of a store.
pub(super) enum Entry {
    Head { compacted: Revision, alarms: Alarms },
    Record(Record),
    Lease(i64, i64),
    User(Bytes, Bytes),
}

/// Why a file is not read on.
pub(super) enum Stop {
    Io(io::Error),
    Foreign(String),
    Visitor(StoreError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Stop::Foreign("is cut short".to_owned()),
            _ => Stop::Io(error),
        }
    }
}

/// Passes every entry to `visit` and proves the file whole. Keys are not counted.
fn read(path: &Path, visit: &mut dyn FnMut(Entry) -> Result<(), StoreError>) -> Result<Summary, StoreError> {
    let mut read = || -> Result<Summary, Stop> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let left = bytes.checked_sub(SUM_BYTES).ok_or_else(|| Stop::Foreign("is not a snapshot".to_owned()))?;
        if left % SECTOR_BYTES != 0 {
            return Err(Stop::Foreign("is cut short, or not a snapshot: its size fits no checksum".to_owned()));
        }
        if is_database(&file)? {
            let sha256 = prove(&file, left)?;
            return import::read(file, left, sha256, visit).map(|summary| Summary { bytes, ..summary });
        }
        Source { input: BufReader::new(file), sum: Sha256::new(), left }.read(bytes, visit)
    };
    read().map_err(|stop| match stop {
        Stop::Io(source) => StoreError::File { operation: "read", path: path.to_owned(), source },
        Stop::Foreign(what) => StoreError::Foreign { path: path.to_owned(), what },
        Stop::Visitor(error) => error,
    })
}

/// Whether it begins as etcd's database does.
fn is_database(file: &File) -> io::Result<bool> {
    let mut first = [0; 32];
    file.read_exact_at(&mut first, 0)?;
    Ok(is_bolt(&first))
}

/// The trailer, if it is the sum of all before it.
fn prove(file: &File, left: u64) -> Result<[u8; 32], Stop> {
    let (mut sum, mut piece) = (Sha256::new(), vec![0; 1 << 16]);
    let mut input = BufReader::with_capacity(1 << 16, file);
    let mut rest = left;
    while rest > 0 {
        let part = usize::try_from(rest).map_or(piece.len(), |rest| rest.min(piece.len()));
        input.read_exact(&mut piece[..part])?;
        sum.update(&piece[..part]);
        rest -= part as u64;
    }
    let mut trailer = [0; 32];
    input.read_exact(&mut trailer)?;
    if sum.finalize()[..] == trailer { Ok(trailer) } else { Err(Stop::Foreign(WRONG_SUM.to_owned())) }
}

struct Source {
    input: BufReader<File>,
    sum: Sha256,
    /// Bytes before the trailer.
    left: u64,
}

impl Source {
    fn read(mut self, bytes: u64, visit: &mut dyn FnMut(Entry) -> Result<(), StoreError>) -> Result<Summary, Stop> {
        if self.take::<8>()? != *MAGIC {
            return Err(Stop::Foreign("is neither a snapshot of this store nor of an etcd".to_owned()));
        }
        match u32::from_le_bytes(self.take()?) {
            VERSION | VERSION_USERS => (),
            other => {
                let what = format!("is a snapshot of format {other}; this program reads {VERSION} and {VERSION_USERS}");
                return Err(Stop::Foreign(what));
            }
        }
        let compacted = self.number()?;
        let mut alarms = Alarms::default();
        for alarm in Alarm::ALL {
            let [bits] = self.take()?;
            alarms.set_bits(alarm, bits);
        }
        visit(Entry::Head { compacted, alarms }).map_err(Stop::Visitor)?;
        let (mut records, mut leases) = (0, 0);
        loop {
            match self.take::<1>()? {
                [tag::RECORD] => {
                    records += 1;
                    visit(Entry::Record(self.record()?)).map_err(Stop::Visitor)?;
                }
                [tag::LEASE] => {
                    leases += 1;
                    visit(Entry::Lease(self.number()?, self.number()?)).map_err(Stop::Visitor)?;
                }
                [tag::USER] => {
                    let (name, value) = (u32::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?));
                    visit(Entry::User(self.bytes(name)?, self.bytes(value)?)).map_err(Stop::Visitor)?;
                }
                [tag::END] => break,
                _ => return Err(damaged()),
            }
        }
        let revision = self.number()?;
        let counted = (u64::from_le_bytes(self.take()?), u64::from_le_bytes(self.take()?));
        let sha256 = self.end()?;
        if counted != (records, leases) {
            return Err(damaged());
        }
        Ok(Summary { revision, compacted, keys: 0, records, leases, bytes, sha256 })
    }

    fn record(&mut self) -> Result<Record, Stop> {
        let revision = self.number()?;
        let at = Point { revision, sub: u32::from_le_bytes(self.take()?) };
        let (created, version, lease) = (self.number()?, self.number()?, self.number()?);
        let (key, value) = (u32::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?));
        Ok(Record { at, key: self.bytes(key)?, value: self.bytes(value)?, created, version, lease })
    }

    fn number(&mut self) -> Result<i64, Stop> {
        Ok(i64::from_le_bytes(self.take()?))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&mut self, length: u32) -> Result<Bytes, Stop> {
        if u64::from(length) > self.left {
            return Err(damaged());
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(bytes.into())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Stop> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(damaged)?;
        self.input.read_exact(bytes)?;
        self.sum.update(bytes);
        Ok(())
    }

    /// Reads the padding and the trailer, which must be the sum of all before it.
    fn end(mut self) -> Result<[u8; 32], Stop> {
        let padding = u32::try_from(self.left).ok().filter(|&left| u64::from(left) < SECTOR_BYTES);
        self.bytes(padding.ok_or_else(damaged)?)?;
        let mut trailer = [0; 32];
        self.input.read_exact(&mut trailer)?;
        if self.sum.finalize()[..] != trailer {
            return Err(Stop::Foreign(WRONG_SUM.to_owned()));
        }
        Ok(trailer)
    }
}

fn damaged() -> Stop {
    Stop::Foreign("is damaged: it does not hold what it says".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    /// One key with a lease, as the releases before saved it.
    fn former() -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.put_u32_le(VERSION);
        bytes.put_i64_le(-1);
        bytes.put_bytes(0, Alarm::ALL.len());
        bytes.put_u8(tag::RECORD);
        bytes.put_i64_le(2);
        bytes.put_u32_le(0);
        [2, 1, 7].into_iter().for_each(|number| bytes.put_i64_le(number));
        bytes.put_u32_le(1);
        bytes.put_u32_le(1);
        bytes.put_slice(b"kv");
        bytes.put_u8(tag::LEASE);
        [7, 60].into_iter().for_each(|number| bytes.put_i64_le(number));
        bytes.put_u8(tag::END);
        [2, 1, 1].into_iter().for_each(|number| bytes.put_i64_le(number));
        bytes.resize(512, 0);
        let sum = Sha256::digest(&bytes);
        bytes.put_slice(&sum);
        bytes
    }

    #[test]
    fn what_earlier_releases_saved_is_restored() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("saved");
        std::fs::write(&file, former()).unwrap();
        let summary = restore(&file, &folder.path().join("store")).unwrap();
        assert_eq!((summary.revision, summary.keys, summary.records, summary.leases), (2, 1, 1, 1));
        let mut damaged = former();
        damaged[40] ^= 1;
        std::fs::write(&file, damaged).unwrap();
        assert!(status(&file).unwrap_err().to_string().contains("is damaged"));
    }
}
