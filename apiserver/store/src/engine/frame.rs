//! One batch as the log holds it. Pure: bytes in, bytes out.
//!
//! ```text
//!  0      4          8          16       20                    20+length
//!  | SKFB | checksum | sequence | length | entries ...         | zeros up to a multiple of 512
//!
//!  entry:  1 | revision 8 | sub 4 | length 4 | record (see crate::record)
//!          2 | lease 8    | TTL in seconds 8                  (granted)
//!          3 | lease 8                                        (gone)
//!          4 | which 1    | value 8                           (a number kept by name)
//!          5 | length 4 | name | there? 1 | length 4 | value  (a user or a role; gone: nothing after the 0)
//! ```
//!
//! Numbers are little endian. The checksum (CRC-32) covers the log's own id, the sequence, the length and the entries, so a frame of
//! another log, a half-written one and zeros are no frames. Frames begin at multiples of 512, so that writing one touches no sector of
//! the one before.

use super::{Batch, Mark};
use crate::record::{Point, Record};
use crate::seeded;
use bytes::{Buf, BufMut, Bytes};

/// Frames begin at multiples of this: what a disk writes whole or not at all.
pub(crate) const SECTOR: u64 = 512;
/// Bytes before the entries.
pub(crate) const HEADER_BYTES: usize = 4 + 4 + 8 + 4;
const MAGIC: &[u8; 4] = b"SKFB";

const RECORD: u8 = 1;
const GRANTED: u8 = 2;
const GONE: u8 = 3;
const MARK: u8 = 4;
const USER: u8 = 5;

/// Appends `batch` to `out` as a whole frame. What it forgets is left out: whoever reads the log finds that out anew.
pub(crate) fn encode(log: u64, sequence: u64, batch: &Batch, out: &mut Vec<u8>) {
    let begin = out.len();
    out.put_slice(MAGIC);
    out.put_u32_le(0);
    out.put_u64_le(sequence);
    out.put_u32_le(0);
    for record in &batch.records {
        out.put_u8(RECORD);
        out.put_i64_le(record.at.revision);
        out.put_u32_le(record.at.sub);
        out.put_u32_le(u32::try_from(record.size_bytes()).expect("requests are bounded"));
        record.encode_into(out);
    }
    for (&lease, ttl_seconds) in &batch.leases {
        out.put_u8(if ttl_seconds.is_some() { GRANTED } else { GONE });
        out.put_i64_le(lease);
        ttl_seconds.iter().for_each(|&seconds| out.put_i64_le(seconds));
    }
    for (&mark, &value) in &batch.marks {
        out.put_u8(MARK);
        out.put_u8(number(mark));
        out.put_i64_le(value);
    }
    for (name, value) in &batch.users {
        out.put_u8(USER);
        put_sized(name, out);
        out.put_u8(value.is_some().into());
        value.iter().for_each(|value| put_sized(value, out));
    }
    let length = u32::try_from(out.len() - begin - HEADER_BYTES).expect("a batch is bounded");
    out[begin + 16..begin + 20].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(log, &out[begin + 8..]);
    out[begin + 4..begin + 8].copy_from_slice(&sum.to_le_bytes());
    out.resize(begin + frame_bytes(length), 0);
}

fn put_sized(bytes: &[u8], out: &mut Vec<u8>) {
    out.put_u32_le(u32::try_from(bytes.len()).expect("requests are bounded"));
    out.put_slice(bytes);
}

fn sized(rest: &mut Bytes) -> Option<Bytes> {
    let length = rest.try_get_u32_le().ok()? as usize;
    (length <= rest.len()).then(|| rest.split_to(length))
}

/// Bytes of a whole frame whose entries take `length`.
fn frame_bytes(length: u32) -> usize {
    (HEADER_BYTES + length as usize).next_multiple_of(SECTOR as usize)
}

fn checksum(log: u64, rest: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&log.to_le_bytes());
    sum.update(rest);
    sum.finalize()
}

/// What the first bytes of a frame say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    checksum: u32,
    /// Counts the batches of a log from 1.
    pub sequence: u64,
    length: u32,
}

impl Header {
    /// `None`: no frame begins with these bytes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..HEADER_BYTES)?.strip_prefix(MAGIC)?;
        Some(Header { checksum: rest.get_u32_le(), sequence: rest.get_u64_le(), length: rest.get_u32_le() })
    }

    /// Bytes that the whole frame takes.
    pub(crate) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.length) as u64
    }

    /// Bytes that must be read to decode it.
    pub(crate) fn needed_bytes(&self) -> usize {
        HEADER_BYTES + self.length as usize
    }
}

/// Decodes the frame that `bytes` begin with; `None`: they are none of this log.
pub(crate) fn decode(log: u64, bytes: &Bytes) -> Option<(Header, Batch)> {
    let header = Header::read(bytes)?;
    let whole = bytes.get(8..header.needed_bytes())?;
    if checksum(log, whole) != header.checksum && !seeded::is("torn-frame-believed") {
        return None;
    }
    let mut entries = bytes.slice(HEADER_BYTES..header.needed_bytes());
    let mut batch = Batch::default();
    while !entries.is_empty() {
        entry(&mut entries, &mut batch)?;
    }
    Some((header, batch))
}

fn entry(rest: &mut Bytes, batch: &mut Batch) -> Option<()> {
    match rest.try_get_u8().ok()? {
        RECORD => {
            let at = Point { revision: rest.try_get_i64_le().ok()?, sub: rest.try_get_u32_le().ok()? };
            batch.records.push(Record::decode(at, &sized(rest)?)?);
        }
        GRANTED => {
            let lease = rest.try_get_i64_le().ok()?;
            batch.leases.insert(lease, Some(rest.try_get_i64_le().ok()?));
        }
        GONE => drop(batch.leases.insert(rest.try_get_i64_le().ok()?, None)),
        MARK => {
            let mark = mark(rest.try_get_u8().ok()?)?;
            batch.marks.insert(mark, rest.try_get_i64_le().ok()?);
        }
        USER => {
            let name = sized(rest)?;
            let value = match rest.try_get_u8().ok()? {
                0 => None,
                _ => Some(sized(rest)?),
            };
            batch.users.insert(name, value);
        }
        _ => return None,
    }
    Some(())
}

const MARKS: [(u8, Mark); 9] = [
    (1, Mark::Format),
    (2, Mark::Compacted),
    (3, Mark::Cluster),
    (4, Mark::Member),
    (5, Mark::NoSpace),
    (6, Mark::Log),
    (7, Mark::Logged),
    (8, Mark::LogAt),
    (9, Mark::Corrupt),
];

fn number(wanted: Mark) -> u8 {
    MARKS.iter().find(|(_, mark)| *mark == wanted).map_or(0, |(number, _)| *number)
}

fn mark(wanted: u8) -> Option<Mark> {
    MARKS.iter().find(|(number, _)| *number == wanted).map(|(_, mark)| *mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Record> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
        (any::<(i64, u32, i64, i64, i64)>(), bytes(20), bytes(700)).prop_map(|(numbers, key, value)| {
            let (revision, sub, created, version, lease) = numbers;
            Record { at: Point { revision, sub }, key, value, created, version, lease }
        })
    }

    fn batches() -> impl Strategy<Value = Batch> {
        let records = proptest::collection::vec(records(), 0..4);
        let leases = proptest::collection::btree_map(any::<i64>(), any::<Option<i64>>(), 0..4);
        let marks = proptest::collection::btree_map(proptest::sample::select(&MARKS[..]), any::<i64>(), 0..3);
        let text = || proptest::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from);
        let users = proptest::collection::btree_map(text(), proptest::option::of(text()), 0..3);
        (records, leases, marks, users).prop_map(|(records, leases, marks, users)| Batch {
            records,
            leases,
            users,
            marks: marks.into_iter().map(|((_, mark), value)| (mark, value)).collect(),
            forgotten: Vec::new(),
        })
    }

    /// The bytes that `docs/store-format.md` explains.
    #[test]
    fn a_put_looks_as_documented() {
        let at = Point { revision: 2, sub: 0 };
        let record = Record { at, key: "/a".into(), value: "hello".into(), created: 2, version: 1, lease: 0 };
        let batch = Batch { records: vec![record], ..Batch::default() };
        let mut out = Vec::new();
        encode(0x1122_3344_5566_7788, 1, &batch, &mut out);
        let documented = include_str!("../../../../docs/store-format.md");
        let lines = documented.lines().filter_map(|line| line.strip_prefix("    00")).filter_map(|line| line.get(4..));
        let shown: Vec<u8> =
            lines.flat_map(str::split_whitespace).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert_eq!(shown, out[..shown.len()]);
        assert!(shown.len() >= Header::read(&out).unwrap().needed_bytes() && out.len() == 512);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(log: u64, sequence: u64, batch in batches()) {
            let mut out = Vec::new();
            encode(log, sequence, &batch, &mut out);
            let out = Bytes::from(out);
            let (header, decoded) = decode(log, &out).unwrap();
            prop_assert_eq!(header.sequence, sequence);
            prop_assert_eq!(header.frame_bytes(), out.len() as u64);
            prop_assert_eq!(decoded, batch);
            prop_assert!(decode(log ^ 1, &out).is_none(), "another log's frame");
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0..200_u32) {
            let mut bytes = bytes;
            let _ = decode(7, &Bytes::from(bytes.clone()));
            // The same with a header that is right, so that the entries are looked at.
            let mut framed = MAGIC.to_vec();
            framed.put_u32_le(0);
            framed.put_u64_le(1);
            bytes.truncate(length as usize);
            framed.put_u32_le(bytes.len() as u32);
            framed.extend(&bytes);
            let sum = checksum(7, &framed[8..]);
            framed[4..8].copy_from_slice(&sum.to_le_bytes());
            let _ = decode(7, &Bytes::from(framed));
        }

        #[test]
        fn a_flipped_bit_is_seen(batch in batches(), at: prop::sample::Index, bit in 0..8_u32) {
            let mut out = Vec::new();
            encode(1, 5, &batch, &mut out);
            let needed = Header::read(&out).unwrap().needed_bytes();
            out[at.index(needed)] ^= 1 << bit;
            prop_assert!(decode(1, &Bytes::from(out)).is_none());
        }

        #[test]
        fn a_part_is_no_frame(batch in batches(), at: prop::sample::Index) {
            let mut out = Vec::new();
            encode(1, 5, &batch, &mut out);
            let needed = Header::read(&out).unwrap().needed_bytes();
            out.truncate(at.index(needed));
            prop_assert!(decode(1, &Bytes::from(out)).is_none());
        }
    }
}
