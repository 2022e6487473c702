//! One change of one object, as everybody who watches its resource sees it.

use crate::registry::object::Object;
use crate::registry::shared::Shared;
use skiff_schema::Resource;
use skiff_store::backend::{Change, Entry, Revision};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What an update costs beside its keys and values, about.
pub(super) const OVERHEAD_BYTES: usize = 256;

/// See the module.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) revision: Revision,
    /// `namespace/name`, or `name` where there are no namespaces.
    place: String,
    now: Option<Entry>,
    before: Option<Entry>,
    /// One for each version in which somebody watches.
    views: Mutex<Vec<Arc<View>>>,
}

impl Update {
    /// `folder_length`: how much of the key names the resource.
    pub(crate) fn of(change: Change, folder_length: usize) -> Self {
        let (now, before, revision) = match change {
            Change::Put { entry, previous } => {
                let revision = entry.mod_revision;
                (Some(entry), previous, revision)
            }
            Change::Delete { previous, revision } => (None, Some(previous), revision),
        };
        let key = now.as_ref().or(before.as_ref()).map_or(&[][..], |entry| &entry.key);
        let place = String::from_utf8_lossy(key.get(folder_length..).unwrap_or_default()).into_owned();
        Self { revision, place, now, before, views: Mutex::default() }
    }

    /// The same as if nobody had looked at it: what was parsed and written of it is forgotten.
    pub(super) fn unseen(&self) -> Self {
        let (now, before) = (self.now.clone(), self.before.clone());
        Self { revision: self.revision, place: self.place.clone(), now, before, views: Mutex::default() }
    }

    pub(super) fn is_seen(&self) -> bool {
        !self.views.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The new state as it is stored; `None`: it is gone.
    pub(super) fn entry(&self) -> Option<&Entry> {
        self.now.as_ref()
    }

    /// Whether the object was there before, and whether it is now.
    pub(crate) fn existed(&self) -> (bool, bool) {
        (self.before.is_some(), self.now.is_some())
    }

    pub(super) fn size_bytes(&self) -> usize {
        let size = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.key.len() + entry.value.len());
        OVERHEAD_BYTES + size(&self.now) + size(&self.before)
    }

    /// The object in a version of its resource.
    pub(crate) fn view(&self, resource: &Arc<Resource>) -> Arc<View> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = views.iter().find(|view| Arc::ptr_eq(&view.resource, resource)) {
            return Arc::clone(view);
        }
        let view = Arc::new(View { resource: Arc::clone(resource), now: OnceLock::new(), before: OnceLock::new() });
        views.push(Arc::clone(&view));
        view
    }

    /// The new state; `None`: it is gone.
    pub(crate) fn now(&self, view: &View) -> Option<Arc<Shared>> {
        view.now.get_or_init(|| view.shared(self.now.as_ref()?, None)).clone()
    }

    /// The former state at the revision at which it ended, as it is shown to who sees it leave; `None`: the object is new.
    pub(crate) fn before(&self, view: &View) -> Option<Arc<Shared>> {
        view.before.get_or_init(|| view.shared(self.before.as_ref()?, Some(self.revision))).clone()
    }
}

/// An update in one version.
#[derive(Debug)]
pub(crate) struct View {
    resource: Arc<Resource>,
    now: OnceLock<Option<Arc<Shared>>>,
    before: OnceLock<Option<Arc<Shared>>>,
}

impl View {
    fn shared(&self, entry: &Entry, revision: Option<Revision>) -> Option<Arc<Shared>> {
        let object = Object::of(&self.resource, entry.clone());
        let revision = revision.unwrap_or(object.revision);
        Some(Arc::new(Shared::new(Object { revision, ..object })))
    }
}
