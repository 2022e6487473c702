//! Answers from the state that a feed keeps, where it is as new as is asked.
//!
//! ```text
//!  a second list ──► the state is read from the store, page by page ──► changes are applied as they come
//!                                                                        │ nobody has listed for a while
//!  a list ◄── as new as the store says that it is ── the state ──────────┴──► forgotten
//! ```
//!
//! Who asks for the newest state gets it: before each answer the store says whether anything of the resource has happened that the feed
//! has not seen (KEP-2340 asks etcd the same). Where that cannot be said, and wherever a state is not kept, the caller reads the store.

use super::kept::{Kept, Rooms};
use super::present::{Found, Present, Wanted};
use super::{Feed, Feeds, lock, prefix};
use bytes::Bytes;
use skiff_schema::Resource;
use skiff_store::backend::{BackendError, ListRange, Revision, Since};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::timeout;

/// Entries read at once when a state is read; a few megabytes of pods.
const PAGE: usize = 1000;
/// How long a reader waits for changes that the store has and the feed has not seen. They are on their way.
const WAIT_MAX: Duration = Duration::from_millis(200);
/// Looks after which a state for which there was no room is tried again: ten minutes.
pub(super) const REFUSED_LOOKS: u32 = 20;

/// How new a state must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Not older than the question.
    Newest,
    /// Not older than a revision; 0: any.
    Since(Revision),
    /// Not older than what this server has written itself; what others have written is on its way, as to informers.
    Own,
    /// That of a revision.
    Exactly(Revision),
}

impl Feeds {
    /// What is `wanted` of the state at a time; `None`: the store has to be read.
    pub(crate) async fn find(self: &Arc<Self>, at: At, wanted: &Wanted<'_>) -> Option<Found> {
        let feed = self.listed(wanted.resource).await?;
        match at {
            At::Exactly(revision) => self.is_known(wanted.resource, revision).await.then_some(())?,
            _ => self.is_new(&feed, wanted.resource, at).await.then_some(())?,
        }
        let mut present = lock(&feed.present);
        let present = present.as_mut()?;
        match at {
            At::Exactly(revision) => present.find_at(revision, wanted),
            _ => Some(present.find(wanted)),
        }
    }

    /// One object of a state that plugins may decide by; the outer `None`: the store has to be read.
    pub(crate) async fn get(self: &Arc<Self>, resource: &Arc<Resource>, place: &str) -> Option<Option<Arc<Kept>>> {
        let feed = self.listed(resource).await?;
        self.is_new(&feed, resource, At::Own).await.then_some(())?;
        Some(lock(&feed.present).as_mut()?.get(place))
    }

    /// The same without waiting; the outer `None`: something has to be waited for.
    pub(crate) fn get_now(&self, resource: &Arc<Resource>, place: &str) -> Option<Option<Arc<Kept>>> {
        let feed = self.own(resource)?;
        Some(lock(&feed.present).as_mut()?.get(place))
    }

    /// What is `wanted` of a state that plugins may decide by; `None`: something has to be waited for.
    pub(crate) fn find_now(&self, wanted: &Wanted<'_>) -> Option<Found> {
        let feed = self.own(wanted.resource)?;
        Some(lock(&feed.present).as_mut()?.find(wanted))
    }

    /// The feed of a resource, if its state has all that this server itself has written.
    fn own(&self, resource: &Arc<Resource>) -> Option<Arc<Feed>> {
        if resource.conversion_webhook().is_some() {
            return None;
        }
        let feed = lock(&self.open).get(&resource.storage_folder[..]).map(|open| Arc::clone(&open.feed))?;
        self.is_new_now(&feed, &prefix(resource, ""), At::Own)?.then_some(feed)
    }

    /// How many objects of the resource there are, and how many bytes; `None`: nobody has counted them.
    pub(crate) fn size(&self, resource: &Resource) -> Option<(usize, usize)> {
        let feed = lock(&self.open).get(&resource.storage_folder[..]).map(|open| Arc::clone(&open.feed))?;
        let present = lock(&feed.present);
        present.as_ref().map(Present::size)
    }

    /// The feed of a resource whose state is kept. The first list reads the store; the second one lets the state be read for those to come.
    async fn listed(self: &Arc<Self>, resource: &Arc<Resource>) -> Option<Arc<Feed>> {
        if resource.conversion_webhook().is_some() {
            // Its feed has objects as they were converted, and a converter may fail.
            return None;
        }
        let folder = &resource.storage_folder[..];
        if !lock(&self.open).contains_key(folder) {
            if lock(&self.listed_once).insert(folder.to_owned()) {
                return None;
            }
            self.open(resource, None).await.ok()?;
        }
        let feed = lock(&self.open).get(folder).map(|open| Arc::clone(&open.feed))?;
        if lock(&feed.present).is_some() {
            return Some(feed);
        }
        if feed.refused_looks.load(Ordering::Relaxed) == 0 && !feed.is_loading.swap(true, Ordering::AcqRel) {
            tokio::spawn(load(Arc::downgrade(self), Arc::clone(&feed), prefix(resource, "")));
        }
        None
    }

    /// Says what this server itself has written.
    pub(crate) fn wrote(&self, resource: &Resource, revision: Revision) {
        if let Some(open) = lock(&self.open).get(&resource.storage_folder[..]) {
            open.feed.own.fetch_max(revision, Ordering::AcqRel);
        }
    }

    /// Reads the state now instead of for the next one who lists.
    #[cfg(test)]
    pub(super) async fn load_now(self: &Arc<Self>, resource: &Arc<Resource>) {
        self.open(resource, None).await.expect("the store answers");
        let feed = Arc::clone(&lock(&self.open)[&resource.storage_folder[..]].feed);
        load(Arc::downgrade(self), feed, prefix(resource, "")).await;
    }

    /// Whether the state is as new as it must be; `None`: something may be on its way.
    fn is_new_now(&self, feed: &Feed, folder: &Bytes, at: At) -> Option<bool> {
        let revision = lock(&feed.present).as_ref().map(Present::revision);
        let Some(revision) = revision else { return Some(false) };
        match (at, self.backend.since(folder, revision)) {
            (At::Since(wanted), _) if revision >= wanted => Some(true),
            (At::Own, Since::Unknown) => Some(revision >= feed.own.load(Ordering::Acquire)),
            (_, Since::Nothing(newest)) => {
                Some(feed.reach(newest) && !matches!(at, At::Since(wanted) if newest < wanted))
            }
            _ => None,
        }
    }

    /// Whether the state is as new as it must be; waits a moment for what is on its way.
    async fn is_new(&self, feed: &Feed, resource: &Resource, at: At) -> bool {
        let folder = prefix(resource, "");
        if let Some(is_new) = self.is_new_now(feed, &folder, at) {
            return is_new;
        }
        let seen = || lock(&feed.present).as_ref().map(Present::revision);
        let Ok(newest) = self.backend.get(folder.clone()).await.map(|got| got.revision) else { return false };
        let caught_up = async {
            loop {
                let moved = feed.moved.notified();
                let Some(revision) = seen() else { return false };
                match self.backend.since(&folder, revision) {
                    _ if revision >= newest => return true,
                    Since::Nothing(newest) => return feed.reach(newest),
                    Since::Something => moved.await,
                    Since::Unknown => return false,
                }
            }
        };
        timeout(WAIT_MAX, caught_up).await.unwrap_or(false)
    }

    /// Whether the store still has the state of a revision: who pages through what is compacted must be told, whatever is kept here.
    async fn is_known(&self, resource: &Resource, revision: Revision) -> bool {
        // No object has such a key.
        let nothing = Bytes::from([&prefix(resource, "")[..], b"\0"].concat());
        let range = ListRange { prefix: nothing, from: None, limit: 1, revision };
        self.backend.list(range).await.is_ok()
    }
}

/// Reads the state of a feed from the store.
async fn load(feeds: Weak<Feeds>, feed: Arc<Feed>, folder: Bytes) {
    let outcome = async {
        let feeds = feeds.upgrade()?;
        let read = read(&feeds, &folder).await;
        let (objects, revision) = read.map_err(|error| tracing::debug!(%error, "read a state")).ok()?;
        match objects {
            Some(objects) => feed.install(objects, revision),
            None => feed.refused_looks.store(REFUSED_LOOKS, Ordering::Relaxed),
        }
        Some(())
    };
    let _read_from_the_store_then = outcome.await;
    feed.is_loading.store(false, Ordering::Release);
}

/// The objects below `folder`, `None` if there is no room for them, and their revision.
async fn read(feeds: &Feeds, folder: &Bytes) -> Result<(Option<Vec<Arc<Kept>>>, Revision), BackendError> {
    let mut range = ListRange { prefix: folder.clone(), from: None, limit: PAGE, revision: 0 };
    let mut objects = Vec::new();
    loop {
        let listed = feeds.backend.list(range.clone()).await?;
        range.revision = listed.revision;
        let read = listed.entries.len();
        range.from = listed.entries.last().map(|entry| [&entry.key[..], b"\0"].concat().into());
        let rooms: &Arc<Rooms> = &feeds.rooms;
        objects.extend(listed.entries.iter().map(|entry| {
            let place = String::from_utf8_lossy(entry.key.get(folder.len()..).unwrap_or_default());
            Arc::new(Kept::new(&place, entry, rooms))
        }));
        if feeds.rooms.states.is_over() {
            return Ok((None, listed.revision));
        }
        if usize::try_from(listed.count).unwrap_or(usize::MAX) <= read {
            return Ok((Some(objects), listed.revision));
        }
    }
}
