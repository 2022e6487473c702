//! The keys in memory: for each, where in history its writes stand. Values stay on disk.
//!
//! The writer adds revisions before they are durable; readers never ask above the durable one, so they cannot see them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::Revision;
use crate::keys::KeyRange;
use crate::record::Point;

/// Reads what the writer sees, durable or not.
pub(crate) const LATEST: Revision = Revision::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    at: Point,
    gone: bool,
}

/// Every key that history still mentions.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: BTreeMap<Bytes, Vec<Step>>,
}

impl Index {
    /// Adds a write; points of one key come in order.
    pub(crate) fn insert(&mut self, key: Bytes, at: Point, gone: bool) {
        let steps = self.keys.entry(key).or_default();
        debug_assert!(steps.last().is_none_or(|last| last.at < at), "history is written in order");
        if steps.len() == steps.capacity() {
            // Most keys are written a few times between compactions: doubling would waste half of a large index.
            steps.reserve_exact(1 + steps.len() / 4);
        }
        steps.push(Step { at, gone });
    }

    /// The write that `key` shows at `revision`; `None`: the key did not exist then.
    pub(crate) fn at(&self, key: &[u8], revision: Revision) -> Option<Point> {
        live_at(self.keys.get(key)?, revision)
    }

    /// The write that the one at `point` replaced.
    pub(crate) fn before(&self, key: &[u8], point: Point) -> Option<Point> {
        let steps = self.keys.get(key)?;
        let older = steps.partition_point(|step| step.at < point);
        steps[..older].last().filter(|step| !step.gone).map(|step| step.at)
    }

    /// The keys of `range` that existed at `revision`, in order.
    pub(crate) fn range<'a>(
        &'a self,
        range: &'a KeyRange,
        revision: Revision,
    ) -> impl Iterator<Item = (&'a Bytes, Point)> {
        self.keys
            .range::<[u8], _>(range.bounds())
            .filter_map(move |(key, steps)| Some((key, live_at(steps, revision)?)))
    }

    /// Forgets every write that no revision from `revision` on shows; returns where they stood.
    ///
    /// A deletion at `revision` itself stays, so that a watch from `revision` on still delivers it.
    pub(crate) fn compact(&mut self, revision: Revision) -> Vec<Point> {
        let mut forgotten = Vec::new();
        self.keys.retain(|_, steps| {
            let kept_from = first_kept(steps, revision);
            forgotten.extend(steps.drain(..kept_from).map(|step| step.at));
            if kept_from > 0 {
                steps.shrink_to_fit();
            }
            !steps.is_empty()
        });
        forgotten
    }

    /// How many keys history mentions.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

fn live_at(steps: &[Step], revision: Revision) -> Option<Point> {
    let seen = steps.partition_point(|step| step.at.revision <= revision);
    steps[..seen].last().filter(|step| !step.gone).map(|step| step.at)
}

fn first_kept(steps: &[Step], revision: Revision) -> usize {
    let seen = steps.partition_point(|step| step.at.revision <= revision);
    match steps[..seen].last() {
        None => 0,
        Some(last) if last.gone && last.at.revision < revision => seen,
        Some(_) => seen - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(writes: &[(&'static str, Revision, bool)]) -> Index {
        let mut index = Index::default();
        for &(key, revision, gone) in writes {
            index.insert(key.into(), Point::start_of(revision), gone);
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
        assert_eq!(index.len(), 2);
        assert_eq!(index.compact(8).len(), 1);
    }
}
