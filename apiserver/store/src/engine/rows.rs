//! What the rows of the database's tables hold. Pure.
//!
//! ```text
//!  records  (revision, sub) -> checksum 4 | record (see crate::record)
//!  points   (revision, sub) -> checksum 4 | lease 8 | record's size 8 | deletion? 1 | key
//! ```
//!
//! The second table repeats what the index in memory needs, so that opening a store reads no values. The checksums (CRC-32) cover the
//! row's key too: the database itself looks at its own checksums only when it repairs itself.

use super::{EngineError, Written, damaged};
use crate::record::{Point, Record};
use crate::seeded;
use bytes::{Buf, BufMut};

const SUM_BYTES: usize = 4;

/// What a row of the small tables, of leases and of numbers, adds to the sum over them all, which is kept beside them. A row that is
/// changed, lost or brought back makes another sum.
pub(crate) fn share(table: u8, key: &[u8], value: i64) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&[table]);
    sum.update(key);
    let mixed = mix(mix(u64::from(sum.finalize())) ^ value.cast_unsigned());
    mixed.cast_signed()
}

/// The end of splitmix64: each bit depends on all, so that shares do not cancel each other out.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn checksum(at: Point, rest: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&at.revision.to_le_bytes());
    sum.update(&at.sub.to_le_bytes());
    sum.update(rest);
    sum.finalize()
}

fn seal(at: Point, row: &mut [u8]) {
    let sum = checksum(at, &row[SUM_BYTES..]);
    row[..SUM_BYTES].copy_from_slice(&sum.to_le_bytes());
}

fn open(at: Point, row: &[u8]) -> Result<&[u8], EngineError> {
    let (sum, rest) = row.split_at_checked(SUM_BYTES).ok_or_else(|| damaged(at))?;
    if sum == checksum(at, rest).to_le_bytes() || seeded::is("checksum-ignored") { Ok(rest) } else { Err(damaged(at)) }
}

/// A row of `records`, in `out`.
pub(crate) fn record_row(record: &Record, out: &mut Vec<u8>) {
    out.clear();
    out.put_u32_le(0);
    record.encode_into(out);
    seal(record.at, out);
}

/// The encoded record in a row.
pub(crate) fn encoded_record(at: Point, row: &[u8]) -> Result<&[u8], EngineError> {
    open(at, row)
}

/// A row of `points`, in `out`.
pub(crate) fn point_row(written: Written<'_>, out: &mut Vec<u8>) {
    out.clear();
    out.put_u32_le(0);
    out.put_i64_le(written.lease);
    out.put_u64_le(written.size_bytes);
    out.put_u8(u8::from(written.gone));
    out.put_slice(written.key);
    seal(written.at, out);
}

/// What a row of `points` says.
pub(crate) fn written(at: Point, row: &[u8]) -> Result<Written<'_>, EngineError> {
    let mut rest = open(at, row)?;
    let short = |_| damaged(at);
    Ok(Written {
        at,
        lease: rest.try_get_i64_le().map_err(short)?,
        size_bytes: rest.try_get_u64_le().map_err(short)?,
        gone: rest.try_get_u8().map_err(short)? != 0,
        key: rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_another_place_is_damaged() {
        let at = Point { revision: 5, sub: 1 };
        let record = Record { at, key: "k".into(), value: "v".into(), created: 4, version: 2, lease: 9 };
        let mut row = Vec::new();
        record_row(&record, &mut row);
        assert_eq!(encoded_record(at, &row).unwrap(), &record.encode()[..]);
        assert!(encoded_record(Point::start_of(5), &row).is_err());
        point_row(Written::of(&record), &mut row);
        assert_eq!(written(at, &row).unwrap(), Written::of(&record));
        for at_bit in 0..row.len() * 8 {
            row[at_bit / 8] ^= 1 << (at_bit % 8);
            assert!(written(at, &row).is_err(), "bit {at_bit}");
            row[at_bit / 8] ^= 1 << (at_bit % 8);
        }
        assert!(written(at, &row[..3]).is_err());
    }
}
