//! Files with holes: which stretches of them an archive has.
//!
//! GNU tar has written four forms: a map in the header (type `S`), in PAX records (0.0 and 0.1), and at the beginning of the
//! data (1.0). Sources: GNU tar manual, "Storing Sparse Files"; Go's archive/tar reads the same.

use super::{BLOCK, Tape, bad};
use crate::ImageError;
use std::io::Read;
use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

/// Stretches of one file: 4 MiB of memory; a file of 1 GiB with a hole after every page has as many.
const STRETCHES_MAX: usize = 1 << 18;
/// Digits of a number in a map: as many as 2^64 has.
const DIGITS_MAX: usize = 20;

/// Bytes that are there; between them are holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Where the map is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Map {
    Known(Vec<Stretch>),
    /// At the beginning of the data.
    InData,
}

/// A file with holes, as it is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    /// Bytes of the whole file, holes included.
    pub(super) size: u64,
    pub(super) map: Map,
}

/// What PAX records say about it; several records make one announcement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    major: Option<u64>,
    minor: Option<u64>,
    size: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// Offsets and lengths in turn.
    numbers: Vec<u64>,
}

impl Records {
    /// Takes the record `GNU.sparse.<key>`.
    pub(super) fn keep(&mut self, key: &str, value: &[u8]) -> Result<(), ImageError> {
        let twice = "a PAX header says one thing twice";
        match key {
            "major" => super::put(&mut self.major, number(value)?, twice),
            "minor" => super::put(&mut self.minor, number(value)?, twice),
            // 1.0 calls it realsize, 0.x size.
            "size" | "realsize" => super::put(&mut self.size, number(value)?, twice),
            "name" => super::put(&mut self.name, value.to_vec(), twice),
            "map" => value.split(|&byte| byte == b',').try_for_each(|text| self.push(text)),
            "offset" | "numbytes" => self.push(value),
            // How many there are, which the map shows.
            "numblocks" => number(value).map(drop),
            _ => Err(bad("a sparse file has a record that is not known")),
        }
    }

    fn push(&mut self, text: &[u8]) -> Result<(), ImageError> {
        self.numbers.push(number(text)?);
        Ok(())
    }

    /// The announcement, if the records make one.
    pub(super) fn announced(self) -> Result<Option<Announced>, ImageError> {
        if self == Self::default() {
            return Ok(None);
        }
        let size = self.size.ok_or_else(|| bad("a sparse file does not say how large it is"))?;
        let map = match (self.major, self.minor) {
            (Some(1), Some(0)) if self.numbers.is_empty() => Map::InData,
            (None, None) | (Some(0), Some(0 | 1)) => Map::Known(pairs(&self.numbers)?),
            _ => return Err(bad("a sparse file is of a form that is not known")),
        };
        Ok(Some(Announced { size, map }))
    }
}

/// The map of a header of type `S`, with the blocks that continue it.
pub(super) fn of_header<R: Read>(block: &[u8; BLOCK], tape: &mut Tape<R>) -> Result<Announced, ImageError> {
    let header = Header::from_byte_slice(block);
    let header = header.as_gnu().ok_or_else(|| bad("a sparse file has no GNU header"))?;
    let mut stretches = Vec::new();
    take(&header.sparse, &mut stretches)?;
    let mut more = header.is_extended();
    while more {
        let mut next = GnuExtSparseHeader::new();
        let block = tape.next_block()?.ok_or_else(|| bad("it ends within a header"))?;
        next.as_mut_bytes().copy_from_slice(&block);
        take(next.sparse(), &mut stretches)?;
        more = next.is_extended();
    }
    let size = header.real_size().map_err(|_| bad("a size is no number"))?;
    Ok(Announced { size, map: Map::Known(stretches) })
}

fn take(slots: &[GnuSparseHeader], stretches: &mut Vec<Stretch>) -> Result<(), ImageError> {
    for slot in slots.iter().filter(|slot| !slot.is_empty()) {
        let part =
            |field: std::io::Result<u64>| field.map_err(|_| bad("the map of a sparse file is no list of numbers"));
        stretches.push(Stretch { offset: part(slot.offset())?, length: part(slot.length())? });
    }
    if stretches.len() > STRETCHES_MAX { Err(too_many()) } else { Ok(()) }
}

impl Announced {
    /// The map, read from the data if it is there, and checked against what is left of them.
    pub(super) fn read<R: Read>(self, tape: &mut Tape<R>) -> Result<(u64, Vec<Stretch>), ImageError> {
        let stretches = match self.map {
            Map::Known(stretches) => stretches,
            Map::InData => read_map(tape)?,
        };
        check(&stretches, self.size, tape.remaining)?;
        Ok((self.size, stretches))
    }
}

/// Form 1.0: decimal numbers, one a line, the count of pairs first, filled up to a block.
fn read_map<R: Read>(tape: &mut Tape<R>) -> Result<Vec<Stretch>, ImageError> {
    let mut lines = Lines { tape, block: Vec::new() };
    let count = usize::try_from(lines.number()?).ok().filter(|&count| count <= STRETCHES_MAX);
    let numbers = (0..count.ok_or_else(too_many)? * 2).map(|_| lines.number()).collect::<Result<Vec<_>, _>>()?;
    pairs(&numbers)
}

/// Takes whole blocks of the data, as the map fills whole blocks.
struct Lines<'a, R> {
    tape: &'a mut Tape<R>,
    /// What is not used yet of the last one, backwards.
    block: Vec<u8>,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> Result<u64, ImageError> {
        let mut digits = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return number(&digits),
                digit if digits.len() < DIGITS_MAX => digits.push(digit),
                _ => return Err(bad("the map of a sparse file is no list of numbers")),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, ImageError> {
        if self.block.is_empty() {
            let mut block = [0; BLOCK];
            self.tape.read_exact(&mut block).map_err(|_| bad("the map of a sparse file does not end"))?;
            self.block.extend(block.iter().rev());
        }
        Ok(self.block.pop().unwrap_or(0))
    }
}

/// In order, apart, inside the file, and as many bytes as there are: else two readers would make two files of it.
fn check(stretches: &[Stretch], size: u64, data: u64) -> Result<(), ImageError> {
    let (mut end, mut sum) = (0, 0_u64);
    for stretch in stretches {
        let ends = stretch.offset.checked_add(stretch.length).filter(|&ends| stretch.offset >= end && ends <= size);
        end = ends.ok_or_else(|| bad("the map of a sparse file leads out of it or back"))?;
        sum += stretch.length;
    }
    if sum == data { Ok(()) } else { Err(bad("a sparse file has not as much data as its map says")) }
}

fn pairs(numbers: &[u64]) -> Result<Vec<Stretch>, ImageError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(bad("the map of a sparse file has an odd number of numbers"));
    }
    Ok(pairs.iter().map(|&[offset, length]| Stretch { offset, length }).collect())
}

fn number(text: &[u8]) -> Result<u64, ImageError> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| bad("the map of a sparse file is no list of numbers"))
}

fn too_many() -> ImageError {
    ImageError::TooLarge { what: "sparse file".into(), limit: format!("{STRETCHES_MAX} stretches") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_two_readers_would_read_differently_are_refused() {
        let map = |pairs: &[(u64, u64)]| -> Vec<Stretch> {
            pairs.iter().map(|&(offset, length)| Stretch { offset, length }).collect()
        };
        assert!(check(&map(&[(0, 4), (8, 4), (16, 0)]), 16, 8).is_ok());
        for (pairs, size, data) in [
            (&[(4, 4), (0, 4)][..], 16, 8),
            (&[(0, 8), (4, 8)], 16, 16),
            (&[(8, 16)], 16, 16),
            (&[(u64::MAX, 2)], u64::MAX, 2),
            (&[(0, 4)], 16, 8),
            (&[(0, 8)], 16, 4),
        ] {
            assert!(check(&map(pairs), size, data).is_err(), "{pairs:?}");
        }
    }
}
