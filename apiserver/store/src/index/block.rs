//! Some keys of the index, one after the other, and how many of them exist.

use super::{Place, Steps, Write, first_kept, live_at};
use crate::keys::{End, KeyRange};
use crate::record::Point;
use crate::{Revision, seeded};

/// Keys of a block, at most: what an insertion moves at most, 10 KiB. Small in tests, so that they split and join blocks often.
const KEYS_MAX: usize = if cfg!(test) { 8 } else { 256 };

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// In the order of their keys.
    entries: Vec<Entry>,
    /// How many of them exist, as the writer sees it.
    live: usize,
    /// The last revision that made or deleted one of them: from then on `live` holds.
    changed: Revision,
}

/// A key and its writes.
pub(super) type Entry = (Box<[u8]>, Steps);

fn exists(steps: &[Write]) -> bool {
    steps.last().is_some_and(|last| !last.is_gone())
}

impl Block {
    /// How many keys history mentions here.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether so many more are few enough to be kept here.
    pub(super) fn takes(&self, more: usize) -> bool {
        self.entries.len() + more <= KEYS_MAX / 2
    }

    /// Adds a write. A block that becomes too large gives away what comes last, and says where that begins.
    pub(super) fn insert(&mut self, key: &[u8], step: Write) -> Option<(Place, Block)> {
        let place = match self.place(key) {
            Ok(place) => {
                let steps = &mut self.entries[place].1;
                debug_assert!(steps.all().last().is_none_or(|last| last.at() < step.at()), "history is in order");
                let existed = exists(steps.all());
                steps.push(step);
                self.note(existed, !step.is_gone(), step.revision);
                return None;
            }
            Err(place) => place,
        };
        self.note(false, !step.is_gone(), step.revision);
        self.entries.insert(place, (key.into(), Steps::One(step)));
        if self.entries.len() <= KEYS_MAX {
            return None;
        }
        // Keys that come in their order fill a block and begin the next one.
        let first = if place + 1 == self.entries.len() { place } else { self.entries.len() / 2 };
        let rest = self.entries.split_off(first);
        let live = rest.iter().filter(|(_, steps)| exists(steps.all())).count();
        self.live -= live;
        Some((rest[0].0.clone(), Block { entries: rest, live, changed: self.changed }))
    }

    /// Takes back the last write of a key.
    pub(super) fn take_back(&mut self, key: &[u8], at: Point) {
        let Ok(place) = self.place(key) else { return };
        let steps = &mut self.entries[place].1;
        debug_assert!(steps.all().last().is_some_and(|last| last.at() == at), "what was written last goes first");
        let existed = exists(steps.all());
        let exists = match steps {
            Steps::One(_) => false,
            Steps::More(more) => {
                more.pop();
                exists(more)
            }
        };
        if matches!(steps, Steps::One(_)) || steps.all().is_empty() {
            self.entries.remove(place);
        }
        self.note(existed, exists, at.revision);
    }

    /// The writes of a key.
    pub(super) fn steps(&self, key: &[u8]) -> Option<&[Write]> {
        self.place(key).ok().map(|place| self.entries[place].1.all())
    }

    /// The entries of some keys.
    pub(super) fn of(&self, keys: &KeyRange) -> &[Entry] {
        let first = self.entries.partition_point(|(key, _)| **key < keys.from[..]);
        let end = match &keys.end {
            End::Single => self.entries.partition_point(|(key, _)| **key <= keys.from[..]),
            End::Before(end) => self.entries.partition_point(|(key, _)| **key < end[..]),
            End::Unbounded => self.entries.len(),
        };
        self.entries.get(first..end).unwrap_or_default()
    }

    /// How many of some keys existed at a revision.
    pub(super) fn count(&self, keys: &KeyRange, revision: Revision) -> usize {
        let entries = self.of(keys);
        let is_known = revision >= self.changed || seeded::is("count-of-another-revision");
        if is_known && entries.len() == self.entries.len() {
            return self.live;
        }
        entries.iter().filter(|(_, steps)| live_at(steps.all(), revision).is_some()).count()
    }

    /// Forgets what no revision from `revision` on shows.
    pub(super) fn compact(&mut self, revision: Revision, forgotten: &mut Vec<Point>) {
        self.entries.retain_mut(|(_, steps)| {
            let kept_from = first_kept(steps.all(), revision);
            if kept_from > 0 {
                forgotten.extend(steps.all()[..kept_from].iter().map(|step| step.at()));
                steps.forget(kept_from);
            }
            !steps.all().is_empty()
        });
        if self.entries.len() < self.entries.capacity() / 2 {
            self.entries.shrink_to_fit();
        }
    }

    /// Adds the keys of the block after it.
    pub(super) fn extend(&mut self, next: Block) {
        self.entries.extend(next.entries);
        self.live += next.live;
        self.changed = self.changed.max(next.changed);
    }

    fn place(&self, key: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| (**other).cmp(key))
    }

    fn note(&mut self, existed: bool, exists: bool, revision: Revision) {
        if existed != exists {
            self.live = self.live + usize::from(exists) - usize::from(existed);
            self.changed = self.changed.max(revision);
        }
    }
}
