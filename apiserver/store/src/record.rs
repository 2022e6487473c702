//! One write in history, and how its bytes are laid out on disk.

use crate::Revision;
use bytes::{BufMut, Bytes, BytesMut};

/// Where a record stands in history: its revision, and its place among the writes of that revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// The revision.
    pub revision: Revision,
    /// Counts the writes of one transaction from 0.
    pub sub: u32,
}

impl Point {
    /// The first place of a revision.
    pub const fn start_of(revision: Revision) -> Self {
        Point { revision, sub: 0 }
    }
}

/// A key as one write left it. A deletion is a record of version 0, without a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was written.
    pub at: Point,
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Revision of the write that made the key.
    pub created: Revision,
    /// Counts the writes since then, from 1.
    pub version: i64,
    /// The lease that the key lives by; 0: none.
    pub lease: i64,
}

/// created, version, lease, length of the key.
const HEADER_BYTES: usize = 8 + 8 + 8 + 4;

impl Record {
    /// The deletion of `key`.
    pub fn tombstone(at: Point, key: Bytes) -> Self {
        Record { at, key, value: Bytes::new(), created: 0, version: 0, lease: 0 }
    }

    /// The same, in memory of its own: keys and values of a request are parts of a buffer that is larger than they are.
    #[must_use]
    pub fn in_own_memory(self) -> Self {
        let mut both = BytesMut::with_capacity(self.key.len() + self.value.len());
        both.put_slice(&self.key);
        both.put_slice(&self.value);
        let mut both = both.freeze();
        let key = both.split_to(self.key.len());
        Record { key, value: both, ..self }
    }

    /// Whether this records a deletion.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// Bytes it takes on disk, without the engine's own.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.key.len() + self.value.len()
    }

    /// For the disk.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.size_bytes());
        self.encode_into(&mut out);
        out.freeze()
    }

    /// The same, appended to `out`.
    pub fn encode_into(&self, out: &mut impl BufMut) {
        out.put_i64_le(self.created);
        out.put_i64_le(self.version);
        out.put_i64_le(self.lease);
        let key_len = u32::try_from(self.key.len()).expect("keys are bounded by the request limit");
        out.put_u32_le(key_len);
        out.put_slice(&self.key);
        out.put_slice(&self.value);
    }

    /// From the disk; `None`: the bytes are not a record.
    pub fn decode(at: Point, bytes: &Bytes) -> Option<Self> {
        let number = |from: usize| Some(i64::from_le_bytes(bytes.get(from..from + 8)?.try_into().ok()?));
        let key = encoded_key(bytes)?;
        let value_from = HEADER_BYTES + key.len();
        Some(Record {
            at,
            key: bytes.slice(HEADER_BYTES..value_from),
            value: bytes.slice(value_from..),
            created: number(0)?,
            version: number(8)?,
            lease: number(16)?,
        })
    }
}

/// The key inside an encoded record, without decoding the rest.
pub fn encoded_key(bytes: &[u8]) -> Option<&[u8]> {
    let key_len = u32::from_le_bytes(bytes.get(24..HEADER_BYTES)?.try_into().ok()?) as usize;
    bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(key_len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let at = Point { revision: 7, sub: 2 };
        let record = Record { at, key: "k".into(), value: "value".into(), created: 3, version: 4, lease: -5 };
        assert_eq!(Record::decode(at, &record.encode()), Some(record.clone()));
        assert_eq!(encoded_key(&record.encode()), Some(&b"k"[..]));
    }

    #[test]
    fn short_bytes_are_not_a_record() {
        let at = Point::start_of(1);
        let whole = Record { at, key: "key".into(), value: Bytes::new(), created: 1, version: 1, lease: 0 }.encode();
        for cut in 0..whole.len() {
            assert_eq!(Record::decode(at, &whole.slice(..cut)), None, "cut at {cut}");
        }
    }
}
