//! What happens to objects: the present state if asked for, then every change, seen through the selection.
//!
//! ```text
//!            was selected   was not
//!  is now      MODIFIED      ADDED
//!  is not      DELETED         -
//! ```

use super::object::Object;
use super::read::{ListOptions, VersionMatch};
use super::selector::Selection;
use super::{Registry, key, prefix};
use crate::status::Status;
use futures::StreamExt;
use futures::stream::BoxStream;
use skiff_schema::Resource;
use skiff_store::backend::{BackendError, Change, Entry, Revision, WatchBatch};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often a client that asked for bookmarks is told how far it is (kube-apiserver: about a minute).
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// What to watch.
#[derive(Debug, Clone, Default)]
pub(crate) struct WatchOptions {
    pub(crate) selection: Selection,
    /// Changes after this revision.
    pub(crate) after: Revision,
    /// Begin with the present state instead.
    pub(crate) initial: bool,
    /// Say when the present state is complete (`sendInitialEvents=true`).
    pub(crate) mark_initial_end: bool,
    /// `allowWatchBookmarks`.
    pub(crate) bookmarks: bool,
}

/// The word for what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One line of a watch.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Something happened to an object.
    Object(EventKind, Object),
    /// Nothing before this revision is missing; `initial_end` closes the present state.
    Bookmark { revision: Revision, initial_end: bool },
    /// The watch cannot go on. It ends here.
    Error(Status),
}

/// A running watch.
pub(crate) struct Watcher {
    resource: Arc<Resource>,
    selection: Selection,
    initial: VecDeque<Event>,
    changes: BoxStream<'static, Result<WatchBatch, BackendError>>,
    bookmarks: Option<Interval>,
    // The newest revision known to be complete, and the one last told to the client.
    reached: Revision,
    told: Revision,
    failed: bool,
}

impl Registry {
    /// Watches the objects of `namespace` (empty: all namespaces).
    pub(crate) async fn watch(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        options: WatchOptions,
    ) -> Result<Watcher, Status> {
        let (initial, after) = self.initial(resource, namespace, &options).await?;
        let selection = options.selection;
        let addressed = !resource.namespaced || !namespace.is_empty();
        // A watch on one name still needs the prefix form: the name may be a prefix of another. The selection sees to that.
        let prefix = match selection.single_name() {
            Some(name) if addressed && !name.contains('/') => key(resource, namespace, name),
            _ => prefix(resource, namespace),
        };
        let bookmarks = options.bookmarks.then(|| {
            let mut ticks = interval_at(Instant::now() + BOOKMARK_INTERVAL, BOOKMARK_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let changes = self.backend.watch(prefix, after);
        Ok(Watcher {
            resource: Arc::clone(resource),
            selection,
            initial,
            changes,
            bookmarks,
            reached: after,
            told: after,
            failed: false,
        })
    }

    async fn initial(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        options: &WatchOptions,
    ) -> Result<(VecDeque<Event>, Revision), Status> {
        if !options.initial {
            return Ok((VecDeque::new(), options.after));
        }
        let list = ListOptions {
            selection: options.selection.clone(),
            revision: options.after,
            version_match: VersionMatch::NotOlderThan,
            ..ListOptions::default()
        };
        let list = self.list(resource, namespace, &list).await?;
        let mut events: VecDeque<Event> =
            list.items.into_iter().map(|object| Event::Object(EventKind::Added, object)).collect();
        if options.mark_initial_end {
            events.push_back(Event::Bookmark { revision: list.revision, initial_end: true });
        }
        Ok((events, list.revision))
    }
}

impl Watcher {
    /// The next events, at least one; `None`: the watch has ended.
    pub(crate) async fn next(&mut self) -> Option<Vec<Event>> {
        if !self.initial.is_empty() {
            return Some(self.initial.drain(..).collect());
        }
        while !self.failed {
            tokio::select! {
                biased;
                batch = self.changes.next() => {
                    let events = self.batch(batch?);
                    if !events.is_empty() {
                        return Some(events);
                    }
                }
                () = tick(self.bookmarks.as_mut()) => {
                    if self.reached > self.told {
                        self.told = self.reached;
                        return Some(vec![Event::Bookmark { revision: self.reached, initial_end: false }]);
                    }
                }
            }
        }
        None
    }

    fn batch(&mut self, batch: Result<WatchBatch, BackendError>) -> Vec<Event> {
        match batch {
            Ok(WatchBatch::Progress(revision)) => {
                self.reached = self.reached.max(revision);
                Vec::new()
            }
            Ok(WatchBatch::Changes(changes)) => {
                let events: Result<Vec<Option<Event>>, Status> =
                    changes.into_iter().map(|change| self.event(change)).collect();
                events.map_or_else(|status| self.fail(status), |events| events.into_iter().flatten().collect())
            }
            Err(BackendError::Compacted { oldest }) => {
                self.fail(Status::expired(format!("too old resource version: {} ({oldest})", self.reached)))
            }
            Err(error) => self.fail(error.into()),
        }
    }

    fn fail(&mut self, status: Status) -> Vec<Event> {
        self.failed = true;
        vec![Event::Error(status)]
    }

    fn event(&mut self, change: Change) -> Result<Option<Event>, Status> {
        let (now, before, revision) = match change {
            Change::Put { entry, previous } => {
                let revision = entry.mod_revision;
                (Some(entry), previous, revision)
            }
            Change::Delete { previous, revision } => (None, Some(previous), revision),
        };
        self.reached = self.reached.max(revision);
        let now = self.selected(now)?;
        // What leaves is shown as it last was, at the revision at which it left.
        let before = self.selected(before)?.map(|object| Object { revision, ..object });
        let event = match (now, before) {
            (Some(now), Some(_)) => Event::Object(EventKind::Modified, now),
            (Some(now), None) => Event::Object(EventKind::Added, now),
            (None, Some(before)) => Event::Object(EventKind::Deleted, before),
            (None, None) => return Ok(None),
        };
        self.told = self.reached;
        Ok(Some(event))
    }

    fn selected(&self, entry: Option<Entry>) -> Result<Option<Object>, Status> {
        let Some(entry) = entry else { return Ok(None) };
        let object = Object::of(&self.resource, entry);
        Ok(self.selection.selects(&object)?.then_some(object))
    }
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
