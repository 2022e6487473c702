//! What happens to objects: the present state if asked for, then every change, seen through the selection.
//!
//! ```text
//!            was selected   was not
//!  is now      MODIFIED      ADDED
//!  is not      DELETED         -
//! ```

use super::feed::{Cursor, Feeds, Interest, Taken, Update};
use super::read::{ListOptions, VersionMatch};
use super::selector::Selection;
use super::shared::Shared;
use super::{Registry, prefix};
use crate::status::Status;
use futures::StreamExt;
use futures::stream::BoxStream;
use skiff_schema::Resource;
use skiff_store::backend::{BackendError, Revision, WatchBatch};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often a client that asked for bookmarks is told how far it is (kube-apiserver: about a minute).
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// Objects of the present state that are written at once: a client that takes them slowly does not have all of them wait in memory.
const INITIAL_AT_ONCE: usize = 128;

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
    Object(EventKind, Arc<Shared>),
    /// Nothing before this revision is missing; `initial_end` closes the present state.
    Bookmark { revision: Revision, initial_end: bool },
    /// The watch cannot go on. It ends here.
    Error(Status),
}

/// A running watch.
pub(crate) struct Watcher {
    feeds: Arc<Feeds>,
    interest: Interest,
    initial: VecDeque<Event>,
    source: Source,
    bookmarks: Option<Interval>,
    // The newest revision known to be complete, and the one last told to the client.
    reached: Revision,
    told: Revision,
    failed: bool,
}

/// Where a watcher has its updates from.
enum Source {
    /// The feed that it shares with all others.
    Feed(Cursor),
    /// The store's history, until it meets the feed.
    Alone(BoxStream<'static, Result<WatchBatch, BackendError>>),
}

/// What a source says.
enum News {
    Updates(Vec<Arc<Update>>),
    Progress(Revision),
    Behind(Revision),
    Failed(BackendError),
}

impl Source {
    fn of(feeds: &Feeds, interest: &Interest, after: Revision) -> Self {
        match feeds.join(interest, after) {
            Some(cursor) => Self::Feed(cursor),
            None => Self::Alone(feeds.alone(interest, after)),
        }
    }

    /// `None`: the store has nothing more to say. May be dropped at any time.
    async fn next(&mut self, folder_length: usize) -> Option<News> {
        Some(match self {
            Self::Feed(cursor) => match cursor.take().await {
                Taken::Updates(updates) => News::Updates(updates),
                Taken::Behind(revision) => News::Behind(revision),
                Taken::Ended(error) => News::Failed(error),
            },
            Self::Alone(changes) => match changes.next().await? {
                Ok(WatchBatch::Changes(changes)) => {
                    let update = |change| Arc::new(Update::of(change, folder_length));
                    News::Updates(changes.into_iter().map(update).collect())
                }
                Ok(WatchBatch::Progress(revision)) => News::Progress(revision),
                Err(error) => News::Failed(error),
            },
        })
    }
}

impl Registry {
    /// Watches the objects of `namespace` (empty: all namespaces).
    pub(crate) async fn watch(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        options: WatchOptions,
    ) -> Result<Watcher, Status> {
        // Before the list: so the feed has all that comes after it.
        self.feeds.open(resource, (!options.initial).then_some(options.after)).await?;
        let (initial, after) = self.initial(resource, namespace, &options).await?;
        let bookmarks = options.bookmarks.then(|| {
            let mut ticks = interval_at(Instant::now() + BOOKMARK_INTERVAL, BOOKMARK_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let (resource, namespace) = (Arc::clone(resource), namespace.to_owned());
        let interest = Interest { resource, namespace, selection: options.selection };
        let source = Source::of(&self.feeds, &interest, after);
        let feeds = Arc::clone(&self.feeds);
        Ok(Watcher { feeds, interest, initial, source, bookmarks, reached: after, told: after, failed: false })
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
        let added = |object| Event::Object(EventKind::Added, Arc::new(Shared::new(object)));
        let mut events: VecDeque<Event> = list.items.into_iter().map(added).collect();
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
            return Some(self.initial.drain(..self.initial.len().min(INITIAL_AT_ONCE)).collect());
        }
        let folder_length = prefix(&self.interest.resource, "").len();
        while !self.failed {
            tokio::select! {
                biased;
                news = self.source.next(folder_length) => {
                    let events = self.read(news?);
                    if !events.is_empty() {
                        return Some(events);
                    }
                }
                () = tick(self.bookmarks.as_mut()) => {
                    if let Some(bookmark) = self.bookmark() {
                        return Some(vec![bookmark]);
                    }
                }
            }
        }
        None
    }

    /// How far the client is, if it does not know.
    pub(super) fn bookmark(&mut self) -> Option<Event> {
        if let Source::Feed(cursor) = &self.source {
            self.reached = self.reached.max(cursor.seen_up_to().unwrap_or_default());
        }
        let is_news = self.reached > self.told;
        self.told = self.reached;
        is_news.then_some(Event::Bookmark { revision: self.reached, initial_end: false })
    }

    fn read(&mut self, news: News) -> Vec<Event> {
        match news {
            News::Updates(updates) => {
                let events: Result<Vec<Option<Event>>, Status> =
                    updates.iter().map(|update| self.event(update)).collect();
                self.meet_the_feed();
                events.map_or_else(|status| self.fail(status), |events| events.into_iter().flatten().collect())
            }
            News::Progress(revision) => {
                self.reached = self.reached.max(revision);
                self.meet_the_feed();
                Vec::new()
            }
            News::Behind(revision) => {
                self.reached = self.reached.max(revision);
                self.source = Source::of(&self.feeds, &self.interest, self.reached);
                Vec::new()
            }
            News::Failed(BackendError::Compacted { oldest }) => {
                self.fail(Status::expired(format!("too old resource version: {} ({oldest})", self.reached)))
            }
            News::Failed(error) => self.fail(error.into()),
        }
    }

    fn meet_the_feed(&mut self) {
        if let Source::Alone(_) = self.source
            && let Some(cursor) = self.feeds.join(&self.interest, self.reached)
        {
            self.source = Source::Feed(cursor);
        }
    }

    fn fail(&mut self, status: Status) -> Vec<Event> {
        self.failed = true;
        vec![Event::Error(status)]
    }

    fn event(&mut self, update: &Update) -> Result<Option<Event>, Status> {
        self.reached = self.reached.max(update.revision);
        let Some((kind, object)) = self.interest.sees(update)? else { return Ok(None) };
        self.told = self.reached;
        Ok(Some(Event::Object(kind, object)))
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
