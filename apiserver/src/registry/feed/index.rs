//! Who is interested in an update: found by what it is, so that an update visits only those whom it may concern.

use super::interest::{Anchor, Interest};
use super::mailbox::Mailbox;
use super::update::Update;
use skiff_schema::Resource;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Names a watcher within one feed.
pub(super) type Id = u64;

type Group = BTreeMap<Id, Arc<Mailbox>>;

/// Watchers by the value of one field.
#[derive(Debug)]
struct ByField {
    resource: Arc<Resource>,
    path: String,
    values: HashMap<String, Group>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    groups: HashMap<Anchor, Group>,
    fields: Vec<ByField>,
    count: usize,
}

impl Index {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn add(&mut self, id: Id, interest: &Interest, mailbox: &Arc<Mailbox>) {
        self.count += 1;
        self.group(interest).insert(id, Arc::clone(mailbox));
    }

    fn group(&mut self, interest: &Interest) -> &mut Group {
        let (path, value) = match interest.anchor() {
            Anchor::Field { path, value } => (path, value),
            anchor => return self.groups.entry(anchor).or_default(),
        };
        let found = self.fields.iter().position(|field| field.is(&interest.resource, &path));
        let at = found.unwrap_or_else(|| {
            let resource = Arc::clone(&interest.resource);
            self.fields.push(ByField { resource, path, values: HashMap::new() });
            self.fields.len() - 1
        });
        self.fields[at].values.entry(value).or_default()
    }

    pub(super) fn remove(&mut self, id: Id, interest: &Interest) {
        if self.group(interest).remove(&id).is_some() {
            self.count -= 1;
        }
        self.groups.retain(|_, group| !group.is_empty());
        for field in &mut self.fields {
            field.values.retain(|_, group| !group.is_empty());
        }
        self.fields.retain(|field| !field.values.is_empty());
    }

    /// In which versions fields are looked at.
    pub(super) fn resources(&self) -> Vec<Arc<Resource>> {
        self.fields.iter().map(|field| Arc::clone(&field.resource)).collect()
    }

    /// Everybody.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        let fields = self.fields.iter().flat_map(|field| field.values.values());
        self.groups.values().chain(fields).flat_map(BTreeMap::values)
    }

    /// Those who may be concerned, each once.
    pub(super) fn concerned(&self, update: &Update) -> impl Iterator<Item = &Arc<Mailbox>> {
        let place = update.place();
        let (namespace, name) = place.split_once('/').unwrap_or(("", place));
        let anchors = [
            Anchor::All,
            Anchor::Namespace(namespace.to_owned()),
            Anchor::Name(name.to_owned()),
            Anchor::Place(place.to_owned()),
        ];
        let groups = anchors.into_iter().filter_map(|anchor| self.groups.get(&anchor));
        let fields = self.fields.iter().flat_map(|field| field.concerned(update));
        groups.chain(fields).flat_map(BTreeMap::values)
    }
}

impl ByField {
    fn is(&self, resource: &Arc<Resource>, path: &str) -> bool {
        Arc::ptr_eq(&self.resource, resource) && self.path == path
    }

    /// The groups of the present and the former value.
    fn concerned(&self, update: &Update) -> Vec<&Group> {
        let view = update.view(&self.resource);
        let states = [update.now(&view), update.before(&view)];
        let mut values = Vec::with_capacity(2);
        for state in states.into_iter().flatten() {
            match state.value() {
                Ok(value) => values.push(self.resource.field_value(value, &self.path)),
                // Whoever watches is told that it cannot be read.
                Err(_) => return self.values.values().collect(),
            }
        }
        values.dedup();
        values.iter().filter_map(|value| self.values.get(value)).collect()
    }
}
