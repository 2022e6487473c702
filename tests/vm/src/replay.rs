//! Goes along a log of writes and makes the disks that a power failure would leave.
//!
//! What was flushed is on the disk. Of what was written since, any part may be: a disk with a write cache writes in whatever order
//! it likes, and its smallest unit is a sector. Which part is for the caller to choose.

use crate::error::{Error, On, Result};
use crate::writes::{Entry, WriteLog};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const BLOCK: usize = 4096;

type Block = [u8; BLOCK];

/// A disk's content. Clones share what they have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `None`: never written.
    blocks: Vec<Option<Arc<Block>>>,
    bytes: u64,
}

impl Image {
    pub(crate) fn read(file: &File) -> Result<Self> {
        let bytes = file.metadata().on("stat", "a disk")?.len();
        let mut image = Self { blocks: vec![None; usize::try_from(bytes).unwrap_or(0).div_ceil(BLOCK)], bytes };
        for (index, block) in image.blocks.iter_mut().enumerate() {
            let at = (index * BLOCK) as u64;
            let mut content = [0; BLOCK];
            let length = usize::try_from(bytes - at).unwrap_or(BLOCK).min(BLOCK);
            file.read_exact_at(&mut content[..length], at).on("read", "a disk")?;
            *block = (content != [0; BLOCK]).then(|| Arc::new(content));
        }
        Ok(image)
    }

    fn write(&mut self, at: u64, mut data: &[u8]) -> Result<()> {
        let outside = || Error::Refused(format!("a write at {at} is beyond the disk's end"));
        let mut at = usize::try_from(at).map_err(|_| outside())?;
        while !data.is_empty() {
            let (index, within) = (at / BLOCK, at % BLOCK);
            let (now, later) = data.split_at(data.len().min(BLOCK - within));
            let block = self.blocks.get_mut(index).ok_or_else(outside)?;
            let block = Arc::make_mut(block.get_or_insert_with(|| Arc::new([0; BLOCK])));
            block[within..within + now.len()].copy_from_slice(now);
            (at, data) = (at + now.len(), later);
        }
        Ok(())
    }

    /// Makes `path` a sparse file with this content.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = File::create(path).on("create", path.display())?;
        file.set_len(self.bytes).on("lengthen", path.display())?;
        for (index, block) in self.blocks.iter().enumerate() {
            if let Some(block) = block {
                let at = (index * BLOCK) as u64;
                let length = usize::try_from(self.bytes - at).unwrap_or(BLOCK).min(BLOCK);
                file.write_all_at(&block[..length], at).on("write", path.display())?;
            }
        }
        Ok(())
    }
}

/// A walk along a log.
#[derive(Debug)]
pub struct Replay<'a> {
    log: &'a WriteLog,
    /// The next entry.
    position: usize,
    /// What cannot be lost.
    durable: Image,
    /// What came since: where, and what.
    pending: Vec<(u64, Vec<u8>)>,
}

impl<'a> Replay<'a> {
    /// At the beginning: the disk as it was before the machine started.
    ///
    /// # Errors
    /// That disk cannot be read.
    pub fn along(log: &'a WriteLog) -> Result<Self> {
        Ok(Self { log, position: 0, durable: Image::read(&log.before)?, pending: Vec::new() })
    }

    /// How many entries were passed.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many writes may be lost here.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Does the next entry and returns it; `None` at the end.
    ///
    /// # Errors
    /// The log cannot be read, or does not belong to this disk.
    pub fn step(&mut self) -> Result<Option<&'a Entry>> {
        let Some(entry) = self.log.entries().get(self.position) else { return Ok(None) };
        self.position += 1;
        if entry.flushes {
            for (at, data) in self.pending.drain(..) {
                self.durable.write(at, &data)?;
            }
        }
        // What is discarded may stay as well as go; here it stays.
        let data = self.log.data(entry)?;
        if entry.is_durable {
            // An older write to the same place must not come after it. It, and those before it, are taken as written.
            let overlaps =
                |(at, old): &(u64, Vec<u8>)| *at < entry.at + entry.bytes && entry.at < *at + old.len() as u64;
            let older = self.pending.iter().rposition(overlaps).map_or(0, |last| last + 1);
            for (at, data) in self.pending.drain(..older) {
                self.durable.write(at, &data)?;
            }
            self.durable.write(entry.at, &data)?;
        } else if !data.is_empty() {
            self.pending.push((entry.at, data));
        }
        Ok(Some(entry))
    }

    /// The disk with everything that was written.
    ///
    /// # Errors
    /// The log does not belong to this disk.
    pub fn now(&self) -> Result<Image> {
        self.power_fails(u64::MAX, &mut |_, _| true)
    }

    /// The disk after a power failure: `is_kept(n, at)` decides of each `unit` bytes (at multiples of it) that are pending whether they
    /// were written. `n` is the number of the write, from 0, and `at` where on the disk, in bytes.
    ///
    /// # Errors
    /// The log does not belong to this disk.
    pub fn power_fails(&self, unit: u64, is_kept: &mut dyn FnMut(usize, u64) -> bool) -> Result<Image> {
        let mut image = self.durable.clone();
        for (number, (at, data)) in self.pending.iter().enumerate() {
            let (mut at, mut rest) = (*at, &data[..]);
            while !rest.is_empty() {
                let length = usize::try_from(unit - at % unit).unwrap_or(rest.len()).min(rest.len());
                let (now, later) = rest.split_at(length);
                if is_kept(number, at) {
                    image.write(at, now)?;
                }
                (at, rest) = (at + length as u64, later);
            }
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writes::tests::{Request, SECTOR, flush, logged, write};
    use proptest::prelude::*;

    const SECTORS: usize = 20;

    fn bytes(image: &Image) -> Vec<u8> {
        let blocks = image.blocks.iter().map(|block| block.as_ref().map_or([0; BLOCK], |block| **block));
        let mut bytes: Vec<u8> = blocks.flatten().collect();
        bytes.truncate(usize::try_from(image.bytes).unwrap());
        bytes
    }

    /// What the first byte of each sector says.
    fn content(image: &Image) -> Vec<u8> {
        bytes(image).chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    /// A disk of four sectors after all of `requests`, of whose pending writes some are kept.
    fn left(requests: &[Request], unit: u64, is_kept: &mut dyn FnMut(usize, u64) -> bool) -> Vec<u8> {
        let folder = logged(&[9; 4 * SECTOR], requests);
        let log = WriteLog::open(&folder).unwrap();
        let mut replay = Replay::along(&log).unwrap();
        while replay.step().unwrap().is_some() {}
        content(&replay.power_fails(unit, is_kept).unwrap())
    }

    #[test]
    fn what_was_flushed_stays_and_the_rest_is_chosen() {
        let requests = [write(0, &[1; SECTOR]), flush(), write(1, &[2; 2 * SECTOR]), write(2, &[3; 2 * SECTOR])];
        assert_eq!(left(&requests, u64::MAX, &mut |_, _| false), [1, 9, 9, 9]);
        assert_eq!(left(&requests, u64::MAX, &mut |_, _| true), [1, 2, 3, 3]);
        assert_eq!(left(&requests, u64::MAX, &mut |number, _| number == 0), [1, 2, 2, 9]);
        assert_eq!(left(&requests, u64::MAX, &mut |number, _| number == 1), [1, 9, 3, 3]);
    }

    #[test]
    fn a_saved_disk_is_as_long_and_has_the_same_bytes() {
        let before: Vec<u8> = (0..3 * BLOCK + SECTOR).map(|at| if at / BLOCK == 1 { 0 } else { 7 }).collect();
        let folder = logged(&before, &[write(2, &[8; SECTOR])]);
        let log = WriteLog::open(&folder).unwrap();
        let mut replay = Replay::along(&log).unwrap();
        replay.step().unwrap();
        let (image, path) = (replay.now().unwrap(), folder.path().join("saved"));
        image.save(&path).unwrap();
        let saved = std::fs::read(path).unwrap();
        assert!(saved == bytes(&image) && saved.len() == before.len() && saved[2 * SECTOR] == 8);
    }

    #[test]
    fn a_write_tears_at_units() {
        let requests = [write(1, &[2; 3 * SECTOR])];
        let mut asked = Vec::new();
        let torn = left(&requests, SECTOR as u64, &mut |number, at| {
            asked.push((number, at));
            at == 1024
        });
        assert_eq!(torn, [9, 9, 2, 9]);
        assert_eq!(asked, [(0, 512), (0, 1024), (0, 1536)]);
        // Units lie where they lie on the disk, wherever the write begins.
        assert_eq!(left(&requests, 1024, &mut |_, at| at == 512), [9, 2, 9, 9]);
    }

    #[test]
    fn what_is_written_for_good_overtakes_what_is_pending() {
        let requests = [write(0, &[1; SECTOR]), write(3, &[2; SECTOR]), (2, 0, vec![3; SECTOR])];
        assert_eq!(left(&requests, u64::MAX, &mut |_, _| true), [3, 9, 9, 2]);
        assert_eq!(left(&requests, u64::MAX, &mut |_, _| false), [3, 9, 9, 9]);
        let overlapping = [write(0, &[1; 2 * SECTOR]), write(1, &[2; 2 * SECTOR]), (2, 2, vec![3; SECTOR])];
        assert_eq!(left(&overlapping, u64::MAX, &mut |_, _| true), [1, 2, 3, 9]);
    }

    #[test]
    fn a_log_of_another_disk_is_refused() {
        let folder = logged(&[0; 2 * BLOCK], &[write(100, &[1; SECTOR]), flush()]);
        let log = WriteLog::open(&folder).unwrap();
        let mut replay = Replay::along(&log).unwrap();
        replay.step().unwrap();
        assert!(replay.step().unwrap_err().to_string().contains("beyond"));
    }

    fn request() -> impl Strategy<Value = Request> {
        let written = (0..SECTORS - 3, 1..=3_usize, any::<u8>());
        let write = written.prop_map(|(at, sectors, byte)| write(at as u64, &vec![byte; sectors * SECTOR]));
        prop_oneof![5 => write, 1 => Just(flush())]
    }

    proptest! {
        /// Against a plain array: with all that is pending it is the disk as the guest sees it, without it that of the last flush.
        #[test]
        fn a_replayed_disk_is_what_was_written(requests in prop::collection::vec(request(), 0..40)) {
            let mut seen = vec![0; SECTORS * SECTOR];
            let mut flushed = seen.clone();
            let folder = logged(&seen, &requests);
            let log = WriteLog::open(&folder).unwrap();
            let mut replay = Replay::along(&log).unwrap();
            for (flags, sector, data) in &requests {
                replay.step().unwrap().unwrap();
                let at = usize::try_from(*sector).unwrap() * SECTOR;
                seen[at..at + data.len()].copy_from_slice(data);
                if *flags != 0 {
                    flushed.clone_from(&seen);
                }
                prop_assert_eq!(bytes(&replay.now().unwrap()), seen.clone());
                prop_assert_eq!(bytes(&replay.power_fails(512, &mut |_, _| false).unwrap()), flushed.clone());
            }
        }
    }
}
