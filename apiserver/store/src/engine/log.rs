//! The log in front of the database: a batch is durable once its frame is written here and synced, one `fdatasync` a batch.
//!
//! ```text
//!  0      8        12         20
//!  | SKIFFLOG | 1  | log's id | zeros up to 4096, then frames (see [`super::frame`]) in a ring (see [`super::ring`])
//! ```
//!
//! The database says which frame it has last and where that one ends; everything after it is read from here. Reading writes nothing,
//! so a crash while reading changes nothing. One frame is written at a time, and the next only after the last is synced: a frame that
//! is not whole is therefore either the last one, which was never acknowledged, or damage, and then a later one shows it.

use super::frame::{self, HEADER_BYTES, Header, SECTOR};
use super::ring::{FIRST, Place, Ring};
use super::{Batch, EngineError, Unwritten, is_no_space};
use crate::metrics::Durations;
use crate::seeded;
use bytes::{BufMut, Bytes};
use redb::StorageBackend;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

const MAGIC: &[u8; 8] = b"SKIFFLOG";
const VERSION: u32 = 1;
/// Zeros are written, and frames looked for, in pieces of this.
const PIECE_BYTES: usize = 1 << 20;

/// What the database knows of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogMark {
    /// The log's id.
    pub id: u64,
    /// The last frame that the database has.
    pub sequence: u64,
    /// Where that one ends.
    pub end: u64,
}

/// One batch found in the log.
#[derive(Debug)]
pub(crate) struct Found {
    /// The batch.
    pub batch: Batch,
    /// Its number.
    pub sequence: u64,
    /// Where its frame ends.
    pub end: u64,
    /// Bytes of its frame.
    pub bytes: usize,
}

/// See the module.
pub(crate) struct Log {
    disk: Box<dyn StorageBackend>,
    id: u64,
    ring: Mutex<Ring>,
    /// Something was released.
    released: Condvar,
    syncs: Durations,
}

fn failed(operation: &str, error: &io::Error) -> EngineError {
    EngineError(format!("{operation} the log: {error}"))
}

/// A write that failed. One that found no room left no whole frame, and the next goes to the same place.
fn unwritten(operation: &str, error: &io::Error) -> Unwritten {
    let why = failed(operation, error);
    if is_no_space(error) { Unwritten::NoSpace(why.0) } else { why.into() }
}

/// The log cannot be what the database says.
fn damaged(what: impl std::fmt::Display) -> EngineError {
    EngineError(format!("the log {what}"))
}

impl Log {
    /// Makes an empty log on `disk`, durable when this returns.
    pub(crate) fn create(disk: Box<dyn StorageBackend>, id: u64, most: u64) -> Result<(Self, LogMark), EngineError> {
        let write = || {
            disk.set_len(0)?;
            disk.set_len(FIRST)?;
            let mut header = MAGIC.to_vec();
            header.put_u32_le(VERSION);
            header.put_u64_le(id);
            header.resize(FIRST as usize, 0);
            disk.write(0, &header)?;
            disk.sync_data()
        };
        write().map_err(|error| failed("make", &error))?;
        let ring = Ring::new(FIRST, FIRST, FIRST, most);
        let log = Log { disk, id, ring: Mutex::new(ring), released: Condvar::new(), syncs: Durations::default() };
        Ok((log, LogMark { id, sequence: 0, end: FIRST }))
    }

    /// Opens the log that `mark` speaks of, and finds what the database does not have. Writes nothing.
    pub(crate) fn open(
        disk: Box<dyn StorageBackend>,
        mark: LogMark,
        most: u64,
    ) -> Result<(Self, Vec<Found>), EngineError> {
        let length = disk.len().map_err(|error| failed("measure", &error))?;
        let ring = Mutex::new(Ring::new(0, 0, length, most));
        let log = Log { disk, id: mark.id, ring, released: Condvar::new(), syncs: Durations::default() };
        log.check_header(length)?;
        if mark.end > length {
            return Err(damaged(format_args!("has {length} bytes; the database knows of {}", mark.end)));
        }
        let (mut found, mut sequence, mut end): (Vec<Found>, _, _) = (Vec::new(), mark.sequence, mark.end);
        while let Some(next) = log.next(sequence + 1, end, length)? {
            (sequence, end) = (next.sequence, next.end);
            found.push(next);
        }
        log.refuse_later_than(sequence, length)?;
        *log.ring() = Ring::new(mark.end, end, length, most.max(length));
        Ok((log, found))
    }

    /// Whether the log in `disk` holds any batch, whoever wrote it.
    pub(crate) fn holds_batches(disk: &dyn StorageBackend) -> io::Result<bool> {
        let mut header = [0; HEADER_BYTES];
        if disk.len()? < FIRST + SECTOR {
            return Ok(false);
        }
        disk.read(FIRST, &mut header)?;
        Ok(Header::read(&header).is_some())
    }

    fn check_header(&self, length: u64) -> Result<(), EngineError> {
        if length < FIRST {
            return Err(damaged("is missing or cut off; it holds writes that the database does not have"));
        }
        let header = self.read(0, 20)?;
        match header.strip_prefix(MAGIC) {
            None => Err(damaged("is no log of a store")),
            Some(rest) if rest[..4] != VERSION.to_le_bytes() => {
                Err(damaged("is of a version this program cannot read"))
            }
            Some(rest) if rest[4..] != self.id.to_le_bytes() => Err(damaged("belongs to another store")),
            Some(_) => Ok(()),
        }
    }

    fn read(&self, at: u64, bytes: usize) -> Result<Vec<u8>, EngineError> {
        let mut out = vec![0; bytes];
        self.disk.read(at, &mut out).map_err(|error| failed("read", &error))?;
        Ok(out)
    }

    /// The frame `sequence`, after one that ends at `end`: there, or where the ring begins.
    fn next(&self, sequence: u64, end: u64, length: u64) -> Result<Option<Found>, EngineError> {
        match self.frame(sequence, end, length)? {
            None if end != FIRST => self.frame(sequence, FIRST, length),
            found => Ok(found),
        }
    }

    fn frame(&self, sequence: u64, at: u64, length: u64) -> Result<Option<Found>, EngineError> {
        if at + SECTOR > length {
            return Ok(None);
        }
        let header = Header::read(&self.read(at, HEADER_BYTES)?);
        let Some(header) = header.filter(|header| header.sequence == sequence) else { return Ok(None) };
        if at + header.frame_bytes() > length {
            return Ok(None);
        }
        let bytes = Bytes::from(self.read(at, header.needed_bytes())?);
        let (end, length) = (at + header.frame_bytes(), bytes.len());
        Ok(frame::decode(self.id, &bytes).map(|(_, batch)| Found { batch, sequence, end, bytes: length }))
    }

    /// Looks for frames after the last one found: there are none unless one in between is damaged, or the database is an old copy.
    fn refuse_later_than(&self, last: u64, length: u64) -> Result<(), EngineError> {
        if seeded::is("gap-in-log-accepted") {
            return Ok(());
        }
        for piece_at in (0..length).step_by(PIECE_BYTES) {
            let bytes = usize::try_from(length - piece_at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            let piece = self.read(piece_at, bytes)?;
            for (sector, bytes) in piece.chunks(SECTOR as usize).enumerate() {
                let later = Header::read(bytes).filter(|header| header.sequence > last + 1);
                let Some(header) = later else { continue };
                let at = piece_at + sector as u64 * SECTOR;
                if self.frame(header.sequence, at, length)?.is_some() {
                    return Err(damaged(format_args!(
                        "is damaged: batch {} cannot be read, but batch {} at byte {at} can",
                        last + 1,
                        header.sequence
                    )));
                }
            }
        }
        Ok(())
    }

    /// Makes what is in the file durable, whoever wrote it.
    pub(crate) fn sync(&self) -> Result<(), EngineError> {
        let begun = Instant::now();
        let done = self.disk.sync_data();
        self.syncs.add(begun.elapsed());
        match done {
            Err(_) if seeded::is("failed-sync-forgiven") => Ok(()),
            done => done.map_err(|error| failed("sync", &error)),
        }
    }

    /// How long the syncs took.
    pub(crate) fn syncs(&self) -> &Durations {
        &self.syncs
    }

    /// The log's id.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.ring().length()
    }

    /// Where the last frame ends.
    pub(crate) fn end(&self) -> u64 {
        self.ring().head()
    }

    /// Whether a frame may be so large.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        bytes as u64 <= self.ring().frame_most()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that a frame of so many bytes finds its place; `false`: it must wait for the database.
    pub(crate) fn make_room(&self, bytes: usize) -> Result<bool, Unwritten> {
        let mut ring = self.ring();
        match ring.place(bytes as u64) {
            Place::At(_) => Ok(true),
            Place::Full => Ok(false),
            Place::Grow { length, .. } => {
                self.grow(ring.length(), length)?;
                ring.grown(length);
                Ok(true)
            }
        }
    }

    /// Writes a frame and syncs; returns where it ends. While there is no room, waits; `hurry` is called before each wait and may
    /// refuse.
    pub(crate) fn append(
        &self,
        frame: &[u8],
        mut hurry: impl FnMut() -> Result<(), Unwritten>,
    ) -> Result<u64, Unwritten> {
        let bytes = frame.len() as u64;
        let mut ring = self.ring();
        let at = loop {
            match ring.place(bytes) {
                Place::At(at) => break at,
                Place::Grow { at, length } => {
                    self.grow(ring.length(), length)?;
                    ring.grown(length);
                    break at;
                }
                Place::Full => {
                    hurry()?;
                    ring = self.released.wait(ring).unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        drop(ring);
        self.disk.write(at, frame).map_err(|error| unwritten("write", &error))?;
        if !seeded::is("sync-forgotten") {
            self.sync()?;
        }
        self.ring().wrote(at, bytes);
        Ok(at + bytes)
    }

    /// Writes zeros, so that syncing a frame later need not record where on the disk it is.
    fn grow(&self, from: u64, to: u64) -> Result<(), Unwritten> {
        let zeros = vec![0; PIECE_BYTES];
        let write = || {
            self.disk.set_len(to)?;
            for at in (from..to).step_by(PIECE_BYTES) {
                let bytes = usize::try_from(to - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
                self.disk.write(at, &zeros[..bytes])?;
            }
            Ok(())
        };
        write().map_err(|error| {
            // What it got of a full disk is better used by others. A file that stays longer has zeros at its end, which are no frame.
            let _zeros_are_no_frame = self.disk.set_len(from);
            unwritten("extend", &error)
        })
    }

    /// The database has every frame up to the one that ends at `end`, durable.
    pub(crate) fn release(&self, end: u64) {
        self.ring().release(end);
        self.released.notify_all();
    }

    /// Wakes whoever waits for room, to find out why there will be none.
    pub(crate) fn wake(&self) {
        let _ring = self.ring();
        self.released.notify_all();
    }
}
