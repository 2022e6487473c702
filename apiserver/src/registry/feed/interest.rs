//! What one watcher wants to see, and where an index finds it.

use super::update::Update;
use crate::registry::selector::Selection;
use crate::registry::shared::Shared;
use crate::registry::watch::EventKind;
use crate::registry::{key, prefix};
use crate::status::Status;
use bytes::Bytes;
use skiff_schema::Resource;
use std::sync::Arc;

/// Objects of a namespace (empty: all) that a selection selects.
#[derive(Debug, Clone)]
pub(crate) struct Interest {
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: String,
    pub(crate) selection: Selection,
}

/// What all objects that may interest a watcher have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Anchor {
    /// Nothing.
    All,
    /// The namespace.
    Namespace(String),
    /// The name, whatever the namespace.
    Name(String),
    /// `namespace/name`, or the name where there are no namespaces.
    Place(String),
    /// The value of a field: that is how nodes find their pods.
    Field { path: String, value: String },
}

impl Interest {
    pub(crate) fn anchor(&self) -> Anchor {
        let namespace = match self.namespace.as_str() {
            "" => self.selection.equals("metadata.namespace").filter(|_| self.resource.namespaced).unwrap_or_default(),
            namespace => namespace,
        };
        if let Some(name) = self.selection.single_name() {
            return match namespace {
                "" if self.resource.namespaced => Anchor::Name(name.to_owned()),
                "" => Anchor::Place(name.to_owned()),
                namespace => Anchor::Place(format!("{namespace}/{name}")),
            };
        }
        match (self.selection.equal_field(), namespace) {
            (Some((path, value)), _) => Anchor::Field { path: path.to_owned(), value: value.to_owned() },
            (None, "") => Anchor::All,
            (None, namespace) => Anchor::Namespace(namespace.to_owned()),
        }
    }

    /// The keys that a watch of the store for this alone must follow. The key of one name may begin the key of another: what does not
    /// belong here is passed over by [`Interest::sees`].
    pub(crate) fn keys(&self) -> Bytes {
        let is_addressed = !self.resource.namespaced || !self.namespace.is_empty();
        match self.selection.single_name() {
            Some(name) if is_addressed && !name.contains('/') => key(&self.resource, &self.namespace, name),
            _ => prefix(&self.resource, &self.namespace),
        }
    }

    /// What an update is to this watcher; `None`: nothing.
    pub(crate) fn sees(&self, update: &Update) -> Result<Option<(EventKind, Arc<Shared>)>, Status> {
        let place = update.place();
        let (namespace, name) = place.split_once('/').unwrap_or(("", place));
        let is_elsewhere = !self.namespace.is_empty() && namespace != self.namespace;
        if is_elsewhere || self.selection.single_name().is_some_and(|wanted| wanted != name) {
            return Ok(None);
        }
        let view = update.view(&self.resource);
        let now = self.selected(update.now(&view))?;
        // Who sees everything need not look at what was before to know that it was there.
        if self.selection.is_everything()
            && let (true, Some(now)) = (update.existed().0, &now)
        {
            return Ok(Some((EventKind::Modified, Arc::clone(now))));
        }
        Ok(match (now, self.selected(update.before(&view))?) {
            (Some(now), Some(_)) => Some((EventKind::Modified, now)),
            (Some(now), None) => Some((EventKind::Added, now)),
            (None, Some(before)) => Some((EventKind::Deleted, before)),
            (None, None) => None,
        })
    }

    fn selected(&self, object: Option<Arc<Shared>>) -> Result<Option<Arc<Shared>>, Status> {
        let Some(object) = object else { return Ok(None) };
        let is_selected =
            self.selection.is_everything() || self.selection.selects_value(&self.resource, object.value()?);
        Ok(is_selected.then_some(object))
    }
}
