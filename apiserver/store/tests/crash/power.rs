//! What a power failure may leave of a machine's files, worked out from its log.
//!
//! What was synced is there. Of what was not, the kernel may have written any sector (512 bytes) or page (4 KiB) at any time, as
//! it was in memory then; so operations are lost, torn and reordered. Lengths likewise. A sector that was being written may hold
//! garbage, except where it would overwrite what was synced: disks keep the old or the new content of a sector that is rewritten.

use crate::machine::{Image, Logged, Op};
use crate::pages::Pages;
use rand::Rng;
use rand::rngs::StdRng;

const SECTOR: usize = 512;

/// How much of what was not synced is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// All of it: the process was killed, the computer lives.
    Nothing,
    /// Nothing of it.
    Everything,
    /// Some operations, each whole.
    Operations,
    /// The first operations, and part of the next.
    Tail,
    /// Some units of this many bytes.
    Units(usize),
    /// Some sectors, and garbage in others.
    Garbage,
}

/// Walks along a log.
pub(crate) struct Walk<'a> {
    names: Vec<String>,
    log: &'a [Logged],
    pub position: usize,
    files: Vec<File<'a>>,
}

struct File<'a> {
    synced: Pages,
    now: Pages,
    pending: Vec<&'a Op>,
}

impl<'a> Walk<'a> {
    /// From the beginning.
    pub(crate) fn along(base: Image, log: &'a [Logged]) -> Self {
        let (names, files): (Vec<_>, Vec<_>) = base.into_iter().unzip();
        let file = |pages: Pages| File { synced: pages.clone(), now: pages, pending: Vec::new() };
        Walk { names, log, position: 0, files: files.into_iter().map(file).collect() }
    }

    /// Goes on to `position`.
    pub(crate) fn advance(&mut self, position: usize) {
        for logged in &self.log[self.position..position] {
            let file = &mut self.files[logged.file];
            match &logged.op {
                Op::Write { at, data } => file.now.write(*at, data),
                Op::SetLen(len) => file.now.set_len(*len),
                Op::Sync => {
                    file.synced = file.now.clone();
                    file.pending.clear();
                    continue;
                }
            }
            file.pending.push(&logged.op);
        }
        self.position = position;
    }

    /// One of the possible outcomes of a power failure now.
    pub(crate) fn power_fails(&self, chance: &mut StdRng) -> Image {
        let loss = match chance.random_range(0..16) {
            0 => Loss::Nothing,
            1 => Loss::Everything,
            2..=5 => Loss::Operations,
            6..=7 => Loss::Tail,
            8..=11 => Loss::Units(SECTOR),
            12..=13 => Loss::Units(4096),
            _ => Loss::Garbage,
        };
        let mut first = true;
        self.each(|file| {
            // The first sector of the database has both of its commit slots, and is never garbage: it is rewritten in place.
            let is_database = std::mem::take(&mut first);
            file.after(loss, is_database, chance)
        })
    }

    fn each(&self, act: impl FnMut(&File<'_>) -> Pages) -> Image {
        self.names.iter().cloned().zip(self.files.iter().map(act)).collect()
    }
}

impl File<'_> {
    fn after(&self, loss: Loss, is_database: bool, chance: &mut StdRng) -> Pages {
        match loss {
            Loss::Nothing => return self.now.clone(),
            Loss::Everything => return self.synced.clone(),
            _ => (),
        }
        let mut left = Left { image: self.synced.clone(), cache: self.synced.clone(), chance };
        let likely = [0.1, 0.5, 0.9][left.chance.random_range(0..3)];
        let whole = left.chance.random_range(0..=self.pending.len());
        let mut lengths = vec![self.synced.len()];
        for (index, op) in self.pending.iter().enumerate() {
            match op {
                Op::Sync => (),
                Op::SetLen(len) => left.cache.set_len(*len),
                Op::Write { at, data } => {
                    left.cache.write(*at, data);
                    let (from, to) = (*at, at + data.len());
                    match loss {
                        Loss::Operations if left.chance.random_bool(likely) => left.take(from, to, SECTOR, 1.0),
                        Loss::Tail if index < whole => left.take(from, to, SECTOR, 1.0),
                        Loss::Tail if index == whole => left.take(from, to, SECTOR, likely),
                        Loss::Units(unit) => left.take(from, to, unit, likely),
                        Loss::Garbage => {
                            left.take(from, to, SECTOR, likely);
                            left.spoil(&self.synced, from, to, is_database);
                        }
                        _ => (),
                    }
                }
            }
            lengths.push(left.cache.len());
        }
        let newest = left.chance.random_bool(0.5);
        let len = if newest { self.now.len() } else { lengths[left.chance.random_range(0..lengths.len())] };
        left.image.set_len(len);
        left.image
    }
}

/// An image being made.
struct Left<'a> {
    image: Pages,
    /// What the kernel has in memory at this point of the log.
    cache: Pages,
    chance: &'a mut StdRng,
}

impl Left<'_> {
    /// Writes back what `from..to` touches, in units, each as likely as said.
    fn take(&mut self, from: usize, to: usize, unit: usize, likely: f64) {
        for unit_from in (from / unit * unit..to).step_by(unit) {
            if likely >= 1.0 || self.chance.random_bool(likely) {
                self.image.copy_from(&self.cache, unit_from..unit_from + unit);
            }
        }
    }

    fn spoil(&mut self, synced: &Pages, from: usize, to: usize, is_database: bool) {
        for sector in (from / SECTOR * SECTOR..to).step_by(SECTOR) {
            let mut before = [0; SECTOR];
            let there = synced.len().saturating_sub(sector).min(SECTOR);
            if there > 0 {
                synced.read(sector, &mut before[..there]).expect("it reaches that far");
            }
            // The database never writes to a page in use, but its first.
            let free = if is_database { sector > 0 } else { before == [0; SECTOR] };
            if free && self.chance.random_bool(0.1) {
                self.chance.fill(&mut before[..]);
                let end = (sector + SECTOR).min(self.cache.len()).saturating_sub(sector);
                self.image.write(sector, &before[..end.min(SECTOR)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::chance;
    use crate::machine::Machine;
    use redb::StorageBackend;

    #[test]
    fn what_was_synced_is_there_and_the_rest_may_be() {
        let machine = Machine::default();
        let file = machine.file("a");
        file.set_len(8192).unwrap();
        file.write(0, &[1; 8192]).unwrap();
        file.sync_data().unwrap();
        file.write(4096, &[2; 4096]).unwrap();
        file.set_len(16384).unwrap();
        let (base, log) = machine.log();
        let mut walk = Walk::along(base, &log);
        walk.advance(log.len());
        let (mut torn, mut old, mut new, mut longer) = (0, 0, 0, 0);
        for seed in 0..200 {
            let bytes = walk.power_fails(&mut chance(seed))[0].1.bytes();
            assert!(bytes[..4096] == [1; 4096], "what was synced is gone");
            let twos = bytes[4096..8192].iter().filter(|byte| **byte == 2).count();
            assert!(bytes.len() == 8192 || bytes.len() == 16384);
            (torn, old) = (torn + u32::from(twos % 4096 > 0), old + u32::from(twos == 0));
            (new, longer) = (new + u32::from(twos == 4096), longer + u32::from(bytes.len() == 16384));
        }
        assert!(torn > 20 && old > 20 && new > 20 && longer > 50, "{torn} torn, {old} old, {new} new, {longer} longer");
    }
}
