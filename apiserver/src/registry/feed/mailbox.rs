//! What waits for one watcher.

use super::update::Update;
use skiff_store::backend::{BackendError, Revision};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Bytes that may wait for one watcher. They are shared with everybody else who has not seen them yet; who is further behind reads the
/// store's history instead, at its own pace.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// What a watcher finds.
#[derive(Debug)]
pub(crate) enum Taken {
    /// These happened, in order.
    Updates(Vec<Arc<Update>>),
    /// Too much happened: everything after this revision has to be read elsewhere.
    Behind(Revision),
    /// The feed has ended.
    Ended(BackendError),
}

#[derive(Debug, Default)]
struct Waiting {
    updates: VecDeque<Arc<Update>>,
    bytes: usize,
    /// The revision of the last that was taken.
    taken: Revision,
    behind: Option<Revision>,
    ended: Option<BackendError>,
}

impl Waiting {
    /// Drops what waits, by whole revisions: the rest of one that was taken in part stays, because history would tell it again as a whole.
    fn fall_behind(&mut self) {
        let stay = self.updates.partition_point(|update| update.revision <= self.taken);
        if let Some(first) = self.updates.get(stay) {
            self.behind = Some(first.revision - 1);
            self.updates.truncate(stay);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// Nothing up to this revision is put in.
    after: Revision,
    waiting: Mutex<Waiting>,
    more: Notify,
}

impl Mailbox {
    pub(super) fn new(after: Revision) -> Self {
        Self { after, waiting: Mutex::default(), more: Notify::new() }
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.more.notify_one();
    }

    pub(super) fn put(&self, update: &Arc<Update>) {
        if update.revision <= self.after {
            return;
        }
        self.change(|waiting| {
            if waiting.behind.is_some() {
                return;
            }
            waiting.updates.push_back(Arc::clone(update));
            waiting.bytes += update.size_bytes();
            if waiting.bytes > WAITING_BYTES_MAX {
                waiting.fall_behind();
            }
        });
    }

    pub(super) fn end(&self, error: &BackendError) {
        self.change(|waiting| waiting.ended = Some(error.clone()));
    }

    pub(super) fn is_empty(&self) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.updates.is_empty() && waiting.behind.is_none() && waiting.ended.is_none()
    }

    fn try_take(&self) -> Option<Taken> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = waiting.updates.back() {
            waiting.taken = last.revision;
            waiting.bytes = 0;
            return Some(Taken::Updates(waiting.updates.drain(..).collect()));
        }
        if let Some(revision) = waiting.behind {
            return Some(Taken::Behind(revision));
        }
        waiting.ended.clone().map(Taken::Ended)
    }

    /// Takes everything that waits; waits for something if there is nothing. May be dropped at any time.
    pub(super) async fn take(&self) -> Taken {
        loop {
            let more = self.more.notified();
            if let Some(taken) = self.try_take() {
                return taken;
            }
            more.await;
        }
    }
}
