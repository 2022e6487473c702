//! The keys in memory: for each, where in history its writes stand. Values stay on disk.
//!
//! The writer adds revisions before they are durable; readers never ask above the durable one, so they cannot see them.
//!
//! Keys stand in blocks of some hundred, and each block knows how many of its keys exist: who counts a million keys looks at some thousand
//! blocks, and a page costs what it shows. A compaction goes from block to block and can stop after each.

mod block; // some keys

use crate::keys::{End, KeyRange};
use crate::record::Point;
use crate::{Revision, seeded};
use block::Block;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Blocks that one piece of a compaction goes through: a fraction of a millisecond, during which nobody reads.
const PIECE_BLOCKS: usize = 16;

/// Reads what the writer sees, durable or not.
pub(crate) const LATEST: Revision = Revision::MAX;

/// One write: where it stands, and whether it was a deletion. There is one for every write kept, so it is packed into 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Write {
    revision: Revision,
    sub_and_gone: u32,
}

impl Write {
    fn new(at: Point, gone: bool) -> Self {
        debug_assert!(at.sub <= u32::MAX >> 1, "a transaction changes fewer keys");
        Write { revision: at.revision, sub_and_gone: at.sub << 1 | u32::from(gone) }
    }

    fn at(self) -> Point {
        Point { revision: self.revision, sub: self.sub_and_gone >> 1 }
    }

    fn is_gone(self) -> bool {
        self.sub_and_gone & 1 == 1
    }
}

/// The writes of one key, in order. Most keys have one.
#[derive(Debug)]
enum Steps {
    One(Write),
    More(Vec<Write>),
}

impl Steps {
    fn all(&self) -> &[Write] {
        match self {
            Steps::One(step) => std::slice::from_ref(step),
            Steps::More(steps) => steps,
        }
    }

    fn push(&mut self, step: Write) {
        match self {
            Steps::One(first) => *self = Steps::More(vec![*first, step]),
            Steps::More(steps) => {
                if steps.len() == steps.capacity() {
                    // Most keys are written a few times between compactions: doubling would waste half of a large index.
                    steps.reserve_exact(1 + steps.len() / 4);
                }
                steps.push(step);
            }
        }
    }

    /// Keeps all but the first `count`.
    fn forget(&mut self, count: usize) {
        let kept = &self.all()[count..];
        *self = match kept {
            &[step] => Steps::One(step),
            kept => Steps::More(kept.to_vec()),
        };
    }
}

/// Every key that history still mentions.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By where they begin. The first one begins with the empty key.
    blocks: BTreeMap<Box<[u8]>, Block>,
}

/// Where a compaction goes on.
pub(crate) type Place = Box<[u8]>;

impl Index {
    /// Adds a write; points of one key come in order.
    pub(crate) fn insert(&mut self, key: &[u8], at: Point, gone: bool) {
        let step = Write::new(at, gone);
        let rest = match self.block_mut(key) {
            Some(block) => block.insert(key, step),
            None => {
                let mut block = Block::default();
                block.insert(key, step);
                drop(self.blocks.insert([].into(), block));
                None
            }
        };
        if let Some((begins, rest)) = rest {
            self.blocks.insert(begins, rest);
        }
    }

    /// Takes back the last write of a key, which stands at `at`.
    pub(crate) fn take_back(&mut self, key: &[u8], at: Point) {
        if let Some(block) = self.block_mut(key) {
            block.take_back(key, at);
        }
    }

    /// The write that `key` shows at `revision`; `None`: the key did not exist then.
    pub(crate) fn at(&self, key: &[u8], revision: Revision) -> Option<Point> {
        live_at(self.steps(key)?, revision)
    }

    /// The write that the one at `point` replaced.
    pub(crate) fn before(&self, key: &[u8], point: Point) -> Option<Point> {
        let steps = self.steps(key)?;
        let older = steps.partition_point(|step| step.at() < point);
        steps[..older].last().filter(|step| !step.is_gone()).map(|step| step.at())
    }

    /// The keys of `range` that existed at `revision`, in order.
    pub(crate) fn range<'a>(
        &'a self,
        range: &'a KeyRange,
        revision: Revision,
    ) -> impl Iterator<Item = (&'a [u8], Point)> {
        let entries = self.blocks_of(range).flat_map(|block| block.of(range));
        entries.filter_map(move |(key, steps)| Some((&**key, live_at(steps.all(), revision)?)))
    }

    /// How many there were, without looking at each.
    pub(crate) fn count(&self, range: &KeyRange, revision: Revision) -> usize {
        self.blocks_of(range).map(|block| block.count(range, revision)).sum()
    }

    /// Forgets every write that no revision from `revision` on shows; returns where they stood, in the order of history.
    ///
    /// A deletion at `revision` itself stays, so that a watch from `revision` on still delivers it.
    pub(crate) fn compact(&mut self, revision: Revision) -> Vec<Point> {
        let (mut forgotten, mut next) = (Vec::new(), Some(Place::default()));
        while let Some(place) = next {
            next = self.compact_piece(revision, &place, &mut forgotten);
        }
        forgotten.sort_unstable();
        forgotten
    }

    /// A piece of that, from a place on; adds to `forgotten` in no order. Returns where the next piece begins.
    pub(crate) fn compact_piece(
        &mut self,
        revision: Revision,
        from: &[u8],
        forgotten: &mut Vec<Point>,
    ) -> Option<Place> {
        let places = self.blocks.range::<[u8], _>((Included(from), Unbounded)).map(|(place, _)| place.clone());
        let mut places: Vec<Place> = places.take(PIECE_BLOCKS + 1).collect();
        let next = if places.len() > PIECE_BLOCKS { places.pop() } else { None };
        for place in places {
            if let Some(block) = self.blocks.get_mut(&place) {
                block.compact(revision, forgotten);
                self.join(&place);
            }
        }
        next
    }

    /// Joins a block with the one before it if both have become small.
    fn join(&mut self, place: &[u8]) {
        let len = self.blocks.get(place).map_or(0, Block::len);
        let mut before = self.blocks.range_mut::<[u8], _>((Unbounded, Excluded(place)));
        let Some((_, before)) = before.next_back().filter(|(_, before)| before.takes(len)) else { return };
        let mut small = std::mem::take(before);
        small.extend(self.blocks.remove(place).unwrap_or_default());
        if let Some((_, before)) = self.blocks.range_mut::<[u8], _>((Unbounded, Excluded(place))).next_back() {
            *before = small;
        }
    }

    fn block_mut(&mut self, key: &[u8]) -> Option<&mut Block> {
        self.blocks.range_mut::<[u8], _>((Unbounded, Included(key))).next_back().map(|(_, block)| block)
    }

    fn steps(&self, key: &[u8]) -> Option<&[Write]> {
        self.blocks.range::<[u8], _>((Unbounded, Included(key))).next_back()?.1.steps(key)
    }

    /// The blocks where keys of `range` may be.
    fn blocks_of<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a Block> {
        let from = &range.from[..];
        let first = self.blocks.range::<[u8], _>((Unbounded, Included(from))).next_back();
        let first = first.map_or(Unbounded, |(place, _)| Included(&**place));
        let last = match &range.end {
            End::Before(end) if !range.is_empty() => Excluded(&end[..]),
            End::Before(_) | End::Single => Included(from),
            End::Unbounded => Unbounded,
        };
        self.blocks.range::<[u8], _>((first, last)).map(|(_, block)| block)
    }
}

fn live_at(steps: &[Write], revision: Revision) -> Option<Point> {
    let seen = steps.partition_point(|step| step.revision <= revision);
    steps[..seen].last().filter(|step| !step.is_gone()).map(|step| step.at())
}

fn first_kept(steps: &[Write], revision: Revision) -> usize {
    let seen = steps.partition_point(|step| step.revision <= revision);
    match steps[..seen].last() {
        None => 0,
        Some(last) if last.is_gone() && (last.revision < revision || seeded::is("compaction-takes-deletion")) => seen,
        Some(last) if last.is_gone() && seeded::is("revision-lost-in-compaction") => seen,
        Some(_) => seen - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn index(writes: &[(&'static str, Revision, bool)]) -> Index {
        let mut index = Index::default();
        for &(key, revision, gone) in writes {
            index.insert(key.as_bytes(), Point::start_of(revision), gone);
        }
        index
    }

    #[test]
    fn reads_the_past() {
        let index = index(&[("a", 2, false), ("a", 4, true), ("a", 6, false)]);
        let at = |revision| index.at(b"a", revision).map(|point| point.revision);
        assert_eq!(
            [at(1), at(2), at(3), at(4), at(5), at(6), at(LATEST)],
            [None, Some(2), Some(2), None, None, Some(6), Some(6)]
        );
        assert_eq!(index.before(b"a", Point::start_of(4)), Some(Point::start_of(2)));
        assert_eq!(index.before(b"a", Point::start_of(6)), None);
    }

    #[test]
    fn compaction_keeps_what_its_revision_shows() {
        let mut index = index(&[
            ("a", 2, false),
            ("b", 3, false),
            ("a", 4, false),
            ("b", 5, true),
            ("c", 6, false),
            ("c", 7, true),
        ]);
        let forgotten: Vec<_> = index.compact(7).iter().map(|point| point.revision).collect();
        assert_eq!(forgotten, [2, 3, 5, 6], "the deletion at 7 stays for watches from 7 on");
        assert_eq!(index.range(&KeyRange::everything(), 7).count(), 1);
        assert_eq!(index.compact(8).len(), 1);
    }

    /// What is done to both.
    #[derive(Debug, Clone)]
    enum Step {
        Put(u8),
        Delete(u8),
        TakeBack,
        Compact(Revision),
        Look(u8, u8, Revision),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => any::<u8>().prop_map(Step::Put),
            2 => any::<u8>().prop_map(Step::Delete),
            1 => Just(Step::TakeBack),
            1 => (0_i64..40).prop_map(Step::Compact),
            3 => (any::<u8>(), any::<u8>(), 0_i64..40).prop_map(|(from, end, ago)| Step::Look(from, end, ago)),
        ]
    }

    /// The same without blocks: all writes, of which a compaction takes none.
    #[derive(Default)]
    struct Plain {
        index: Index,
        writes: Vec<(Bytes, Revision, bool)>,
        compacted: Revision,
    }

    impl Plain {
        fn newest(&self) -> Revision {
            1 + self.writes.len() as Revision
        }

        fn write(&mut self, key: u8, gone: bool) {
            let key = Bytes::copy_from_slice(&[key, b'k']);
            if gone && self.index.at(&key, LATEST).is_none() {
                return;
            }
            self.index.insert(&key, Point::start_of(self.newest() + 1), gone);
            self.writes.push((key, self.newest() + 1, gone));
        }

        fn shown(&self, keys: &KeyRange, revision: Revision) -> Vec<(Bytes, Revision)> {
            let mut shown = BTreeMap::new();
            for (key, at, gone) in self.writes.iter().filter(|(key, at, _)| *at <= revision && keys.contains(key)) {
                if *gone {
                    shown.remove(key)
                } else {
                    shown.insert(key.clone(), *at)
                };
            }
            shown.into_iter().collect()
        }

        fn look(&self, keys: &KeyRange, revision: Revision) {
            let found = self.index.range(keys, revision);
            let found: Vec<_> = found.map(|(key, point)| (Bytes::copy_from_slice(key), point.revision)).collect();
            assert_eq!(found, self.shown(keys, revision), "{keys:?} at {revision}");
            assert_eq!(self.index.count(keys, revision), found.len(), "{keys:?} at {revision}");
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Put(key) => self.write(key, false),
                Step::Delete(key) => self.write(key, true),
                Step::TakeBack if self.newest() > self.compacted => {
                    if let Some((key, at, _)) = self.writes.pop() {
                        self.index.take_back(&key, Point::start_of(at));
                    }
                }
                Step::TakeBack => (),
                Step::Compact(ago) => {
                    self.compacted = self.compacted.max(self.newest() - ago);
                    self.index.compact(self.compacted);
                }
                Step::Look(from, end, ago) => {
                    let (from, end) = (Bytes::copy_from_slice(&[from]), Bytes::copy_from_slice(&[end]));
                    let revision = (self.newest() - ago).max(self.compacted);
                    for keys in [KeyRange::from_etcd(from.clone(), end), KeyRange::from_etcd(from, "\0".into())] {
                        self.look(&keys, revision);
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn blocks_show_what_was_written(steps in proptest::collection::vec(step(), 1..300)) {
            let mut plain = Plain::default();
            steps.into_iter().for_each(|step| plain.step(step));
            plain.look(&KeyRange::everything(), plain.newest());
        }
    }

    #[test]
    fn what_compactions_leave_takes_no_room() {
        let mut index = Index::default();
        for number in 0..2000_i64 {
            index.insert(&number.to_be_bytes(), Point::start_of(2 * number + 2), false);
            index.insert(&number.to_be_bytes(), Point::start_of(2 * number + 3), number % 100 > 0);
        }
        assert!(index.blocks.len() >= 250, "{}", index.blocks.len());
        assert_eq!(index.compact(5000).len(), 1980 * 2 + 20);
        assert!(index.blocks.len() < 10, "{} blocks", index.blocks.len());
        assert_eq!(index.count(&KeyRange::everything(), LATEST), 20);
    }
}
