//! Finds the objects of a state by the value of one label or field, without looking at the others. A table is made when it is first asked
//! for and kept up to date from then on.

use super::kept::Kept;
use crate::status::Status;
use skiff_schema::Resource;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Tables of one state. Each holds a pointer for every object; nodes, controllers and people ask for a few fields and labels only.
const TABLES_MAX: usize = 8;

/// By what objects are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By<'a> {
    /// The label of this key.
    Label(&'a str),
    /// The selectable field at this path.
    Field(&'a str),
}

#[derive(Debug)]
struct Table {
    resource: Arc<Resource>,
    is_label: bool,
    name: String,
    values: HashMap<String, BTreeMap<Arc<str>, Arc<Kept>>>,
    /// Objects whose value cannot be read: who lists must be told.
    unreadable: usize,
}

impl Table {
    fn is(&self, resource: &Arc<Resource>, by: By<'_>) -> bool {
        Arc::ptr_eq(&self.resource, resource) && self.by() == by
    }

    fn by(&self) -> By<'_> {
        if self.is_label { By::Label(&self.name) } else { By::Field(&self.name) }
    }

    /// The value of an object; `None`: it lacks the label.
    fn value(&self, object: &Kept) -> Result<Option<String>, Status> {
        let face = object.face(&self.resource);
        match self.by() {
            By::Label(key) => Ok(face.label(key)?.map(str::to_owned)),
            By::Field(path) => Ok(Some(face.field(path)?.to_owned())),
        }
    }

    fn add(&mut self, object: &Arc<Kept>) {
        match self.value(object) {
            Ok(Some(value)) => {
                self.values.entry(value).or_default().insert(Arc::clone(&object.place), Arc::clone(object));
            }
            Ok(None) => {}
            Err(_) => self.unreadable += 1,
        }
    }

    fn remove(&mut self, object: &Kept) {
        match self.value(object) {
            Ok(Some(value)) => {
                if let Some(objects) = self.values.get_mut(&value) {
                    objects.remove(&object.place);
                    if objects.is_empty() {
                        self.values.remove(&value);
                    }
                }
            }
            Ok(None) => {}
            Err(_) => self.unreadable -= 1,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Finder {
    /// The one that was asked for last stands last.
    tables: Vec<Table>,
}

impl Finder {
    pub(super) fn replace(&mut self, old: Option<&Arc<Kept>>, new: Option<&Arc<Kept>>) {
        for table in &mut self.tables {
            old.iter().for_each(|old| table.remove(old));
            new.iter().for_each(|new| table.add(new));
        }
    }

    /// The objects whose value it is, from `from` on and before `end`, in order; `all` are those of the state. `None`: some cannot be
    /// read, so all have to be looked at.
    pub(super) fn find<'a>(
        &mut self,
        resource: &Arc<Resource>,
        (by, value): (By<'_>, &str),
        (from, end): (&str, Option<&str>),
        all: impl Iterator<Item = &'a Arc<Kept>>,
    ) -> Option<Vec<Arc<Kept>>> {
        let table = match self.tables.iter().position(|table| table.is(resource, by)) {
            Some(at) => self.tables.remove(at),
            None => made(resource, by, all),
        };
        if self.tables.len() >= TABLES_MAX {
            self.tables.remove(0);
        }
        self.tables.push(table);
        let table = self.tables.last().filter(|table| table.unreadable == 0)?;
        let begin = (Bound::Included(from), Bound::Unbounded);
        let objects = table.values.get(value).into_iter().flat_map(|objects| objects.range::<str, _>(begin));
        let inside = objects.take_while(|(place, _)| end.is_none_or(|end| &***place < end));
        Some(inside.map(|(_, object)| Arc::clone(object)).collect())
    }
}

fn made<'a>(resource: &Arc<Resource>, by: By<'_>, all: impl Iterator<Item = &'a Arc<Kept>>) -> Table {
    let (is_label, name) = match by {
        By::Label(key) => (true, key),
        By::Field(path) => (false, path),
    };
    let resource = Arc::clone(resource);
    let mut table = Table { resource, is_label, name: name.to_owned(), values: HashMap::new(), unreadable: 0 };
    all.for_each(|object| table.add(object));
    table
}
