//! The present state of a resource, and states of the past that somebody is paging through.

use super::finder::{By, Finder};
use super::kept::{Kept, Rooms};
use super::sorted::Sorted;
use super::update::Update;
use skiff_schema::Resource;
use skiff_store::backend::Revision;
use std::collections::VecDeque;
use std::sync::Arc;

/// States of the past, which cost what has been changed since; who pages through an older one reads it from the store.
const PAST_MAX: usize = 16;
/// After so many looks without a reader a state of the past, or the present one, is forgotten.
pub(super) const UNREAD_LOOKS_MAX: u32 = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Present {
    objects: Sorted<Kept>,
    /// All of them, as they are stored.
    bytes: usize,
    /// The state at every revision from `changed` to `revision`.
    revision: Revision,
    changed: Revision,
    finder: Finder,
    /// Whether somebody who may page has read this very state.
    is_paged: bool,
    past: VecDeque<Past>,
    unread_looks: u32,
}

/// A state that was the present one from one revision until before another.
#[derive(Debug)]
struct Past {
    objects: Sorted<Kept>,
    from: Revision,
    until: Revision,
    unread_looks: u32,
}

/// What is to be found in a state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) resource: &'a Arc<Resource>,
    /// The first place.
    pub(crate) from: &'a str,
    /// Behind the last place; `None`: to the end.
    pub(crate) end: Option<&'a str>,
    /// The value that a label or field must have, among other things.
    pub(crate) value: Option<(By<'a>, &'a str)>,
    /// Whether the rest may be asked for later.
    pub(crate) pages: bool,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    objects: Sorted<Kept>,
    by_value: Option<Vec<Arc<Kept>>>,
    pub(crate) revision: Revision,
}

impl Found {
    /// Objects that may be wanted, in order: a caller looks at all that is wanted of them.
    pub(crate) fn objects<'a>(&'a self, wanted: &'a Wanted<'_>) -> Box<dyn Iterator<Item = &'a Arc<Kept>> + 'a> {
        let inside = |object: &&Arc<Kept>| wanted.end.is_none_or(|end| &*object.place < end);
        match &self.by_value {
            Some(found) => Box::new(found.iter()),
            None => Box::new(self.objects.from(wanted.from).take_while(inside)),
        }
    }

    /// How many objects stand behind `place`, selected or not.
    pub(crate) fn behind(&self, place: &str, wanted: &Wanted<'_>) -> usize {
        self.objects.count(place, wanted.end) - 1
    }
}

impl Present {
    /// Of objects that stand in order, as they were at `revision`.
    pub(super) fn new(objects: Vec<Arc<Kept>>, revision: Revision) -> Self {
        Self {
            bytes: objects.iter().map(|object| object.stored_bytes()).sum(),
            objects: Sorted::of(objects),
            revision,
            changed: revision,
            finder: Finder::default(),
            is_paged: false,
            past: VecDeque::new(),
            unread_looks: 0,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// How many objects there are, and how many bytes they are.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.objects.count("", None), self.bytes)
    }

    /// Nothing up to this revision is missing.
    pub(super) fn reach(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Applies whole revisions, in order; what it has seen already is passed over.
    pub(super) fn apply<'a>(&mut self, updates: impl Iterator<Item = &'a Arc<Update>>, rooms: &Arc<Rooms>) {
        let seen = self.revision;
        for update in updates.filter(|update| update.revision > seen) {
            if std::mem::take(&mut self.is_paged) {
                self.keep_past(update.revision);
            }
            let old = match update.entry() {
                Some(entry) => {
                    let new = Arc::new(Kept::new(update.place(), entry, rooms));
                    self.bytes += new.stored_bytes();
                    let old = self.objects.put(Arc::clone(&new));
                    self.finder.replace(old.as_ref(), Some(&new));
                    old
                }
                None => {
                    let old = self.objects.remove(update.place());
                    self.finder.replace(old.as_ref(), None);
                    old
                }
            };
            self.bytes -= old.as_ref().map_or(0, |old| old.stored_bytes());
            drop(old);
            (self.revision, self.changed) = (update.revision, update.revision);
        }
    }

    fn keep_past(&mut self, until: Revision) {
        if self.past.len() >= PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back(Past { objects: self.objects.clone(), from: self.changed, until, unread_looks: 0 });
    }

    /// Forgets the past.
    pub(super) fn forget_past(&mut self) {
        self.past.clear();
    }

    /// What is wanted of the present state.
    pub(super) fn find(&mut self, wanted: &Wanted<'_>) -> Found {
        (self.unread_looks, self.is_paged) = (0, self.is_paged || wanted.pages);
        let range = (wanted.from, wanted.end);
        let objects = &self.objects;
        let by_value = wanted.value.and_then(|value| self.finder.find(wanted.resource, value, range, objects.all()));
        Found { objects: objects.clone(), by_value, revision: self.revision }
    }

    /// What is wanted of the state at a revision; `None`: it is not kept.
    pub(super) fn find_at(&mut self, revision: Revision, wanted: &Wanted<'_>) -> Option<Found> {
        if (self.changed..=self.revision).contains(&revision) {
            return Some(Found { revision, ..self.find(wanted) });
        }
        let past = self.past.iter_mut().find(|past| (past.from..past.until).contains(&revision))?;
        (past.unread_looks, self.unread_looks) = (0, 0);
        Some(Found { objects: past.objects.clone(), by_value: None, revision })
    }

    /// One object of the present state.
    pub(super) fn get(&mut self, place: &str) -> Option<Arc<Kept>> {
        self.unread_looks = 0;
        self.objects.get(place).cloned()
    }

    /// Forgets states of the past that nobody reads; whether somebody reads this one now and then.
    pub(super) fn look(&mut self) -> bool {
        self.unread_looks += 1;
        self.past.iter_mut().for_each(|past| past.unread_looks += 1);
        self.past.retain(|past| past.unread_looks < UNREAD_LOOKS_MAX);
        self.unread_looks <= UNREAD_LOOKS_MAX
    }

    /// All objects, to be looked at without holding anything up.
    pub(super) fn objects(&self) -> Vec<Arc<Kept>> {
        self.objects.all().cloned().collect()
    }
}
