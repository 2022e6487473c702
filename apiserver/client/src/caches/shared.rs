//! What everybody shares who holds one cache: the objects, how far they reach, and who is told of changes.

use super::store::{Object, Shown, Store, Turn};
use crate::expect::{Position, Seen};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Is told of every turn, in order, in the follower's task: it must not block.
pub(super) type Handler = Box<dyn Fn(&Turn) + Send + Sync>;

/// One cache.
pub(super) struct Shared {
    store: RwLock<Store>,
    /// Held while a change is made and told, so that a new handler misses none and sees none twice.
    handlers: Mutex<Handlers>,
    position: watch::Sender<Position>,
    follower: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Handlers {
    next: u64,
    all: Vec<(u64, Handler)>,
}

impl Handlers {
    fn tell(&self, turns: &[Turn]) {
        for turn in turns {
            for (_, handler) in &self.all {
                handler(turn);
            }
        }
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            store: RwLock::default(),
            handlers: Mutex::default(),
            position: watch::Sender::new(Position::default()),
            follower: Mutex::default(),
        }
    }

    /// The task that keeps it up to date; it ends with the last holder.
    pub(super) fn kept_by(&self, follower: AbortHandle) {
        *self.follower.lock().unwrap_or_else(PoisonError::into_inner) = Some(follower);
    }

    /// Asks the objects something.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&Store) -> T) -> T {
        question(&self.store.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How far the objects reach, and when that changes.
    pub(super) fn positions(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    /// Tells `handler` of every object there is, and then of every change.
    pub(super) fn subscribe(&self, handler: Handler) -> u64 {
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        for now in self.ask(Store::all) {
            handler(&Turn { before: None, now: Some(now) });
        }
        handlers.next += 1;
        let number = handlers.next;
        handlers.all.push((number, handler));
        number
    }

    pub(super) fn unsubscribe(&self, number: u64) {
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = handlers.all.iter().position(|(of, _)| *of == number).map(|at| handlers.all.swap_remove(at));
        drop(handlers);
        // Not under the lock: a handler may hold the last handle of another cache, or of this one.
        drop(gone);
    }

    fn change(&self, change: impl FnOnce(&mut Store) -> Vec<Turn>, position: impl FnOnce(&mut Position)) {
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = change(&mut self.store.write().unwrap_or_else(PoisonError::into_inner));
        self.position.send_modify(position);
        handlers.tell(&turns);
    }

    pub(super) fn put(&self, object: Shown, revision: &str) {
        self.change(|store| store.put(object), |position| position.reach(revision));
    }

    pub(super) fn remove(&self, last: &dyn Object, revision: &str) {
        self.change(|store| store.remove(last), |position| position.reach(revision));
    }

    /// A bookmark: nothing changed up to `revision`.
    pub(super) fn reach(&self, revision: &str) {
        self.position.send_modify(|position| position.reach(revision));
    }

    /// A list is asked for; returns its number.
    pub(super) fn list_begins(&self) -> u64 {
        let mut number = 0;
        self.position.send_modify(|position| number = position.list_begins());
        number
    }

    /// The list with this number came, and had these objects.
    pub(super) fn replace(&self, all: Vec<Shown>, revision: &str, number: u64) {
        self.change(|store| store.replace(all), |position| position.list_came(revision, number));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let follower = self.follower.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(follower) = follower {
            follower.abort();
        }
    }
}

impl Seen for Shared {
    fn position(&self) -> Position {
        *self.position.borrow()
    }

    fn is_leaving(&self, namespace: &str, name: &str, uid: &str) -> bool {
        let object = self.ask(|store| store.get(namespace, name));
        object.is_none_or(|object| {
            object.meta().uid.as_deref() != Some(uid) || object.meta().deletion_timestamp.is_some()
        })
    }
}

/// A place among the handlers; given up when dropped.
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.unsubscribe(self.number);
    }
}
