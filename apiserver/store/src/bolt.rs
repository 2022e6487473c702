//! The file of bbolt, in which etcd keeps everything: pages of 4 KiB, trees of sorted names in them, and trees named in the first tree.
//!
//! ```text
//!  meta 0 · meta 1 · leaves and branches of each bucket … · leaf of the buckets' names · list of free pages (none)
//!  page:   id 8 · kind 2 · count 2 · pages more 4 ‖ element (16 bytes) … ‖ key, value …
//!  leaf:   flags 4 · offset of the key from here 4 · key's bytes 4 · value's bytes 4      flag 1: the value is a bucket
//!  branch: offset of the key from here 4 · key's bytes 4 · page 8
//!  bucket: first page 8 (0: a page follows, inside) · sequence 8
//! ```
//!
//! Numbers are little-endian, as on every machine that an etcd is run on. Pure: pages go to a function and come from a [`read::Source`].

pub(crate) mod read;
pub(crate) mod write;

/// Bytes of a page's head, of an element, and of a bucket's head.
const HEAD_BYTES: usize = 16;
/// Kinds of pages.
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const META: u16 = 4;
const FREE: u16 = 16;
/// Of a leaf's element: its value is a bucket.
const IS_BUCKET: u32 = 1;
/// What a meta page begins with.
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Bytes of a meta page that its sum covers.
const SUMMED_BYTES: usize = 56;

/// FNV-1a of 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::read::{Bolt, Broken};
    use super::write::{Bucket, Pages, Plan};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

    fn write(buckets: &[(&[u8], &Rows)]) -> Vec<u8> {
        let lay_out = |plan: Plan, bytes: &mut Vec<u8>| {
            let mut out = |page: &[u8]| {
                bytes.extend_from_slice(page);
                ControlFlow::Continue(())
            };
            let mut pages = Pages::begin(&mut out, plan);
            let mut named = Vec::new();
            for (name, rows) in buckets {
                let mut bucket = Bucket::default();
                rows.iter().for_each(|(key, value)| bucket.put(&mut pages, key, value));
                named.push((*name, bucket.end(&mut pages)));
            }
            pages.end(&named)
        };
        let plan = lay_out(Plan::default(), &mut Vec::new());
        let mut bytes = Vec::new();
        assert_eq!(lay_out(plan, &mut bytes), plan);
        assert_eq!(plan.bytes(), bytes.len() as u64);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<BTreeMap<Vec<u8>, Rows>, Broken> {
        let bolt = Bolt::open(bytes, bytes.len() as u64)?;
        let mut all = BTreeMap::new();
        for (name, bucket) in bolt.buckets()? {
            let mut rows = Rows::new();
            bolt.walk::<Broken>(&bucket, &mut |key, value| {
                rows.insert(key.to_vec(), value.to_vec());
                Ok(())
            })?;
            all.insert(name, rows);
        }
        Ok(all)
    }

    fn rows() -> impl Strategy<Value = Rows> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
        let value = prop_oneof![9 => bytes(60), 1 => bytes(9000)];
        proptest::collection::btree_map(proptest::collection::vec(any::<u8>(), 1..40), value, 0..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_written_is_read(one in rows(), other in rows()) {
            let read = read(&write(&[(b"a", &one), (b"b", &other)])).unwrap();
            prop_assert_eq!(read.into_iter().collect::<Vec<_>>(), [(b"a".to_vec(), one), (b"b".to_vec(), other)]);
        }

        #[test]
        fn a_hostile_file_is_read_or_refused(
            rows in rows(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
            cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
        ) {
            let mut bytes = write(&[(b"key", &rows)]);
            for (at, byte) in changes {
                // Not the metas, whose sums would refuse all of it.
                let at = 8192 + at.index(bytes.len() - 8192);
                bytes[at] = byte;
            }
            bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
            if let Err(broken) = read(&bytes) {
                prop_assert!(!broken.to_string().is_empty());
            }
        }
    }

    #[test]
    fn a_tree_that_bites_its_tail_ends() {
        let rows: Rows = (0..2000_u32).map(|n| (n.to_be_bytes().to_vec(), vec![7; 40])).collect();
        let mut bytes = write(&[(b"key", &rows)]);
        let branch = (2..bytes.len() / 4096).find(|page| bytes[page * 4096 + 8] == 1).unwrap();
        // Its first child is itself.
        bytes[branch * 4096 + 24..][..8].copy_from_slice(&(branch as u64).to_le_bytes());
        assert!(read(&bytes).is_err());
    }
}
