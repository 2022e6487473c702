//! What this server's own tasks know of each object of a resource without namespaces: listed once, then kept up to date by a watch.
//!
//! A task keeps of an object only what it decides by: a definition of a custom resource may be a megabyte of schema.

use super::object::name_of;
use super::{Event, EventKind, ListOptions, Registry, WatchOptions, Watcher};
use crate::status::Status;
use serde_json::Value;
use skiff_schema::Resource;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
pub(crate) struct Known<T> {
    /// By name.
    pub(crate) all: BTreeMap<String, T>,
    read: Read<T>,
    watcher: Watcher,
}

/// Takes what is kept from an object; of one that is known already, also from what is kept of it.
type Read<T> = fn(&Value, Option<&T>) -> T;

/// The name of an object that came, changed or went, and what was known of it.
pub(crate) type Changed<T> = (String, Option<T>);

impl<T> Known<T> {
    /// Knows all objects of `resource`, of each what `read` takes, and what happens to them from now on.
    pub(crate) async fn follow(registry: &Registry, resource: &Arc<Resource>, read: Read<T>) -> Result<Self, Status> {
        let list = registry.list(resource, "", &ListOptions::default()).await?;
        let after = WatchOptions { after: list.revision, ..WatchOptions::default() };
        let watcher = registry.watch(resource, "", after).await?;
        let mut all = BTreeMap::new();
        for object in &list.items {
            let value = object.value()?;
            all.insert(name_of(&value).to_owned(), read(&value, None));
        }
        Ok(Self { all, read, watcher })
    }

    /// Waits until something has changed; `None`: the watch has ended. May be dropped at any time.
    pub(crate) async fn changed(&mut self) -> Result<Option<Vec<Changed<T>>>, Status> {
        loop {
            let Some(events) = self.watcher.next().await else { return Ok(None) };
            let mut changed = Vec::new();
            for event in events {
                match event {
                    Event::Object(kind, object) => changed.push(self.take(kind, object.value()?)),
                    Event::Bookmark { .. } => {}
                    Event::Error(status) => return Err(status),
                }
            }
            if !changed.is_empty() {
                return Ok(Some(changed));
            }
        }
    }

    fn take(&mut self, kind: EventKind, value: &Value) -> Changed<T> {
        let name = name_of(value).to_owned();
        let before = match kind {
            EventKind::Deleted => self.all.remove(&name),
            EventKind::Added | EventKind::Modified => {
                let read = (self.read)(value, self.all.get(&name));
                self.all.insert(name.clone(), read)
            }
        };
        (name, before)
    }
}
