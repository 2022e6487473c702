//! The journal: changes, one batch a line, durable before anybody hears of them.
//!
//! A line is a checksum (CRC-32 of what follows, eight hexadecimal digits), a space, and a JSON array of records, which hold together or
//! not at all. A crash can halve the last line only, because each is made durable before the next is written; a half line was never
//! acknowledged and is cut off. A bad line with a good one behind it is damage, and then nothing is opened.

use crate::disk::{Disk, JOURNAL_RENEW, JOURNAL_SYNC, JOURNAL_WRITE, private, sync_folder};
use crate::error::{On, StorageError};
use crate::state::{Record, State};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A journal below this size is never written anew: it is read in milliseconds.
const RENEW_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// From how many times its size after the last renewal it is written anew; so the work stays in proportion to what was written.
const RENEW_FACTOR: u64 = 4;

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Its size when it was last written anew.
    renewed_bytes: u64,
    poisoned: bool,
}

/// A line of these records.
fn line(records: &[Record]) -> std::io::Result<Vec<u8>> {
    let body = serde_json::to_vec(records)?;
    let mut line = format!("{:08x} ", crc32fast::hash(&body)).into_bytes();
    line.extend(body);
    line.push(b'\n');
    Ok(line)
}

fn records(line: &[u8]) -> Result<Vec<Record>, String> {
    let (sum, body) = line.split_at_checked(9).ok_or("it is too short")?;
    let sum = std::str::from_utf8(sum).ok().and_then(|text| u32::from_str_radix(text.strip_suffix(' ')?, 16).ok());
    if sum != Some(crc32fast::hash(body)) {
        return Err("its checksum is another".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// What a journal's text holds.
struct Replayed {
    state: State,
    /// Bytes of its whole lines.
    good: u64,
}

/// Reads a journal; pure.
fn replay(text: &[u8]) -> Result<Replayed, (usize, String)> {
    let mut read = Replayed { state: State::default(), good: 0 };
    let mut bad: Option<(usize, String)> = None;
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let whole = line.strip_suffix(b"\n").ok_or_else(|| "it has no end".to_owned());
        match (whole.and_then(records), &bad) {
            (Ok(batch), None) => {
                batch.into_iter().for_each(|record| read.state.apply(record));
                read.good += line.len() as u64;
            }
            (Err(reason), None) => bad = Some((index + 1, reason)),
            (Ok(_), Some(damage)) => return Err(damage.clone()),
            (Err(_), Some(_)) => {}
        }
    }
    Ok(read)
}

/// What a journal says that another registry may be writing; what it has not finished is not seen.
pub(crate) fn look(path: &Path) -> Result<State, StorageError> {
    let text = fs::read(path).on("read", path)?;
    let read = replay(&text);
    read.map(|read| read.state).map_err(|(line, reason)| StorageError::Damaged { path: path.to_owned(), line, reason })
}

impl Journal {
    /// Opens the journal of a folder, and makes it if there is none.
    pub(crate) fn open(disk: &Disk) -> Result<(Self, State), StorageError> {
        let path = disk.journal();
        let mut file = private().create(true).truncate(false).open(&path).on("open", &path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).on("read", &path)?;
        let read =
            replay(&text).map_err(|(line, reason)| StorageError::Damaged { path: path.clone(), line, reason })?;
        if read.good < text.len() as u64 {
            tracing::warn!(
                bytes = text.len() as u64 - read.good,
                "a change that was not acknowledged is cut off the journal"
            );
            file.set_len(read.good).on("cut", &path)?;
        }
        file.sync_all().on("sync", &path)?;
        sync_folder(disk.root())?;
        file.seek(SeekFrom::Start(read.good)).on("seek in", &path)?;
        let mut journal =
            Self { path, file, bytes: read.good, renewed_bytes: RENEW_BYTES_MIN / RENEW_FACTOR, poisoned: false };
        journal.renew_if_long(disk, &read.state)?;
        Ok((journal, read.state))
    }

    /// Writes a batch, durably.
    pub(crate) fn append(&mut self, disk: &Disk, batch: &[Record]) -> Result<(), StorageError> {
        if self.poisoned {
            return Err(StorageError::Poisoned);
        }
        let line = line(batch).on("encode a change for", &self.path)?;
        let (file, bytes) = (&mut self.file, self.bytes);
        let written = disk.engine.run(&JOURNAL_WRITE, || format!("at {bytes}"), || file.write_all(&line));
        if let Err(error) = written {
            // Half a line must not stay in front of the next.
            let cut = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
            self.poisoned = cut.is_err();
            return Err(error).on("write", &self.path);
        }
        let file = &self.file;
        let synced = disk.engine.run(&JOURNAL_SYNC, || format!("at {bytes}"), || file.sync_data());
        if let Err(error) = synced {
            // The kernel may have dropped the page, and says so once (fsync(2)): what is on the disk is not known any more.
            self.poisoned = true;
            return Err(error).on("sync", &self.path);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Writes the journal anew if most of it is past.
    pub(crate) fn renew_if_long(&mut self, disk: &Disk, state: &State) -> Result<(), StorageError> {
        if self.poisoned || self.bytes < self.renewed_bytes.saturating_mul(RENEW_FACTOR) {
            return Ok(());
        }
        let made = self.path.with_extension("new");
        let mut file = private().create(true).truncate(true).open(&made).on("create", &made)?;
        let mut bytes = 0;
        for batch in state.records() {
            let line = line(&batch).on("encode", &made)?;
            file.write_all(&line).on("write", &made)?;
            bytes += line.len() as u64;
        }
        file.sync_all().on("sync", &made)?;
        let renamed = || fs::rename(&made, &self.path);
        disk.engine.run(&JOURNAL_RENEW, || self.path.display().to_string(), renamed).on("rename", &made)?;
        // The old file has no name any more: whatever happens now, it must not be written to.
        (self.file, self.bytes, self.renewed_bytes) = (file, bytes, bytes.max(RENEW_BYTES_MIN / RENEW_FACTOR));
        let synced = sync_folder(disk.root());
        self.poisoned = synced.is_err();
        synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithm, Digest};
    use skiff_step::Engine;

    fn blob(n: u8) -> Record {
        let digest = Digest::of(Algorithm::Sha256, &[n]);
        Record::Blob { repository: "a".parse().unwrap(), digest, size: 1, at: n.into() }
    }

    fn text(count: u8) -> Vec<u8> {
        (0..count).flat_map(|n| line(&[blob(n)]).unwrap()).collect()
    }

    fn blobs(state: &State) -> usize {
        state.repositories().map(|(_, held)| held.blobs.len()).sum()
    }

    #[test]
    fn every_torn_end_is_cut_and_nothing_before_it() {
        let whole = text(3);
        let two = text(2).len();
        for end in two..=whole.len() {
            let read = replay(&whole[..end]).unwrap_or_else(|_| panic!("cut at {end}"));
            assert_eq!(blobs(&read.state), if end == whole.len() { 3 } else { 2 }, "cut at {end}");
        }
        let mut zeroed = text(2);
        zeroed.extend([0; 500]);
        assert_eq!(replay(&zeroed).map(|read| read.good).unwrap(), two as u64, "a power cut may leave zeros");
    }

    #[test]
    fn damage_with_good_lines_behind_it_is_told() {
        let whole = text(3);
        for at in 0..text(2).len() - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(replay(&damaged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_folder_remembers_and_a_long_journal_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path(), Engine::off()).unwrap();
        let (mut journal, mut state) = Journal::open(&disk).unwrap();
        for n in 0..5 {
            journal.append(&disk, &[blob(n)]).unwrap();
            state.apply(blob(n));
        }
        assert_eq!(Journal::open(&disk).unwrap().1, state);
        journal.renewed_bytes = 1;
        journal.renew_if_long(&disk, &state).unwrap();
        journal.append(&disk, &[blob(9)]).unwrap();
        state.apply(blob(9));
        assert_eq!(Journal::open(&disk).unwrap().1, state);
    }

    #[test]
    fn what_could_not_be_written_is_not_there_and_what_could_not_be_synced_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let faults = "registry.journal.write:2=error(28),registry.journal.sync:3=error(5)".parse().unwrap();
        let disk = Disk::open(folder.path(), Engine::new("registry", None, faults).unwrap()).unwrap();
        let (mut journal, _) = Journal::open(&disk).unwrap();
        let done: Vec<bool> = (0..6).map(|n| journal.append(&disk, &[blob(n)]).is_ok()).collect();
        assert_eq!(done, [true, false, true, false, false, false]);
        let kept = blobs(&Journal::open(&disk).unwrap().1);
        assert!((2..=3).contains(&kept), "two were acknowledged, and a third may be there");
    }
}
