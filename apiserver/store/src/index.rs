//! The keys in memory: for each, where in history its writes stand. Values stay on disk.
//!
//! The writer adds revisions before they are durable; readers never ask above the durable one, so they cannot see them.

use crate::keys::KeyRange;
use crate::record::Point;
use crate::{Revision, seeded};
use std::collections::BTreeMap;

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
    keys: BTreeMap<Box<[u8]>, Steps>,
}

impl Index {
    /// Adds a write; points of one key come in order.
    pub(crate) fn insert(&mut self, key: &[u8], at: Point, gone: bool) {
        let step = Write::new(at, gone);
        match self.keys.get_mut(key) {
            Some(steps) => {
                debug_assert!(steps.all().last().is_none_or(|last| last.at() < at), "history is written in order");
                steps.push(step);
            }
            None => drop(self.keys.insert(key.into(), Steps::One(step))),
        }
    }

    /// Takes back the last write of a key, which stands at `at`.
    pub(crate) fn take_back(&mut self, key: &[u8], at: Point) {
        let Some(steps) = self.keys.get_mut(key) else { return };
        debug_assert!(steps.all().last().is_some_and(|last| last.at() == at), "what was written last goes first");
        match steps {
            Steps::One(_) => drop(self.keys.remove(key)),
            Steps::More(more) => drop(more.pop()),
        }
    }

    /// The write that `key` shows at `revision`; `None`: the key did not exist then.
    pub(crate) fn at(&self, key: &[u8], revision: Revision) -> Option<Point> {
        live_at(self.keys.get(key)?.all(), revision)
    }

    /// The write that the one at `point` replaced.
    pub(crate) fn before(&self, key: &[u8], point: Point) -> Option<Point> {
        let steps = self.keys.get(key)?.all();
        let older = steps.partition_point(|step| step.at() < point);
        steps[..older].last().filter(|step| !step.is_gone()).map(|step| step.at())
    }

    /// The keys of `range` that existed at `revision`, in order.
    pub(crate) fn range<'a>(
        &'a self,
        range: &'a KeyRange,
        revision: Revision,
    ) -> impl Iterator<Item = (&'a [u8], Point)> {
        self.keys
            .range::<[u8], _>(range.bounds())
            .filter_map(move |(key, steps)| Some((&**key, live_at(steps.all(), revision)?)))
    }

    /// Forgets every write that no revision from `revision` on shows; returns where they stood.
    ///
    /// A deletion at `revision` itself stays, so that a watch from `revision` on still delivers it.
    pub(crate) fn compact(&mut self, revision: Revision) -> Vec<Point> {
        let mut forgotten = Vec::new();
        self.keys.retain(|_, steps| {
            let kept_from = first_kept(steps.all(), revision);
            if kept_from > 0 {
                forgotten.extend(steps.all()[..kept_from].iter().map(|step| step.at()));
                steps.forget(kept_from);
            }
            !steps.all().is_empty()
        });
        // In the order of history: who removes a part of them touches a part of the disk.
        forgotten.sort_unstable();
        forgotten
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
        assert_eq!(index.keys.len(), 2);
        assert_eq!(index.compact(8).len(), 1);
    }
}
