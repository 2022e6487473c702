//! etcd's hash of its history: CRC-32C over records in etcd's own encoding, so that equal histories have equal hashes, there and here.
//!
//! etcd keeps a key-value bucket: the name of a record is its revision (`t` marks a deletion), its value the message KeyValue.

use super::words;
use crate::Revision;
use crate::core::Core;
use crate::engine::decode;
use crate::keys::KeyRange;
use crate::record::{Point, Record};
use crate::request::Refusal;
use bytes::{BufMut, BytesMut};
use prost::Message;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// What [`history`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hashed {
    /// The hash.
    pub hash: u32,
    /// The store's revision.
    pub newest: Revision,
    /// What history was compacted to.
    pub compacted: Revision,
    /// The revision up to which was hashed.
    pub revision: Revision,
}

/// Hashes history up to `revision` (0: all of it).
pub(crate) fn history(core: &Core, revision: Revision) -> Result<Hashed, Refusal> {
    core.check()?;
    let (bounds, kept, snapshot) = {
        let view = core.view();
        let newest = view.durable;
        if revision > newest {
            return Err(Refusal::Future { newest });
        }
        if revision > 0 && revision < view.compacted {
            return Err(Refusal::Compacted { oldest: view.compacted });
        }
        let revision = if revision > 0 { revision } else { newest };
        let bounds = Hashed { hash: 0, newest, compacted: view.compacted, revision };
        // Opened under the lock: a compaction that is about to remove these records waits for it.
        (bounds, kept(&view.index, bounds), core.engine.snapshot()?)
    };
    let (mut sum, mut line, mut damage) = (Crc32c::new(), BytesMut::new(), None);
    sum.update(b"key");
    snapshot.scan(Point::start_of(0), &mut |point, bytes| {
        if point.revision > bounds.revision {
            return ControlFlow::Break(());
        }
        match decode(point, bytes) {
            Ok(record) if counts(&record, &bounds, &kept) => encode(record, &mut line),
            Ok(_) => (),
            Err(error) => {
                damage = Some(error);
                return ControlFlow::Break(());
            }
        }
        sum.update(&line);
        line.clear();
        ControlFlow::Continue(())
    })?;
    damage.map_or(Ok(Hashed { hash: sum.value(), ..bounds }), |damage| Err(damage.into()))
}

/// The records at or before the compacted revision that the hashed one still shows; if it shows nothing at all, those that the
/// compacted one does.
fn kept(index: &crate::index::Index, bounds: Hashed) -> HashSet<Point> {
    let all = KeyRange::everything();
    let empty = index.count(&all, bounds.revision) == 0;
    let shown_at = if empty { bounds.compacted } else { bounds.revision };
    let old = |point: &Point| point.revision <= bounds.compacted;
    index.range(&all, shown_at).map(|(_, point)| point).filter(old).collect()
}

/// A deletion at the compacted revision does not count, because releases of etcd differ in whether they keep it.
fn counts(record: &Record, bounds: &Hashed, kept: &HashSet<Point>) -> bool {
    record.at.revision > bounds.compacted || kept.contains(&record.at)
}

/// As it stands in etcd's bucket.
fn encode(record: Record, out: &mut BytesMut) {
    out.put_i64(record.at.revision);
    out.put_u8(b'_');
    out.put_i64(record.at.sub.into());
    let message = if record.is_tombstone() {
        out.put_u8(b't');
        skiff_proto::etcd::mvccpb::KeyValue { key: record.key, ..Default::default() }
    } else {
        words::key_value(record)
    };
    message.encode(out).expect("a growing buffer has room");
}

/// CRC-32C (Castagnoli), which x86 has an instruction for and etcd therefore uses.
pub(crate) struct Crc32c(u32);

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

impl Crc32c {
    /// Of nothing.
    pub(crate) fn new() -> Self {
        Crc32c(!0)
    }

    /// And these.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 >> 8) ^ TABLE[usize::from(self.0 as u8 ^ byte)];
        }
    }

    /// The sum so far.
    pub(crate) fn value(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_as_rfc_3720_says() {
        let sum = |bytes: &[u8]| {
            let mut sum = Crc32c::new();
            sum.update(bytes);
            sum.value()
        };
        assert_eq!(sum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(sum(b"123456789"), 0xe306_9283);
    }
}
