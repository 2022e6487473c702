//! Names of objects that have to be looked at, and when.
//!
//! A name stands in the queue once, however many events named it, and is never looked at twice at the same time: what is
//! named while it is being looked at is looked at once more afterwards. [`Agenda`] decides, without a clock; [`Queue`] waits.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The name of an object of a kind that is known otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Empty for a kind without namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The name of an object.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The name in an object's metadata.
    #[must_use]
    pub fn of(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Self {
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// What is due when. `T` is a time.
#[derive(Debug)]
struct Agenda<T> {
    due: BTreeSet<(T, Key)>,
    /// The time by which each name stands in `due`.
    at: HashMap<Key, T>,
    /// Those that are being looked at.
    taken: HashSet<Key>,
    /// How often in a row each name failed.
    failed: HashMap<Key, u32>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Next<T> {
    Take(Key),
    WaitUntil(T),
    Nothing,
}

impl<T: Ord + Copy> Agenda<T> {
    fn new() -> Self {
        Self { due: BTreeSet::new(), at: HashMap::new(), taken: HashSet::new(), failed: HashMap::new() }
    }

    /// Looks at `key` at `when`, or earlier if that was asked for already.
    fn add(&mut self, key: Key, when: T) {
        match self.at.get(&key).copied() {
            Some(before) if before <= when => return,
            Some(before) => drop(self.due.remove(&(before, key.clone()))),
            None => {}
        }
        self.at.insert(key.clone(), when);
        self.due.insert((when, key));
    }

    /// The first that is due and that nobody looks at.
    fn next(&mut self, now: T) -> Next<T> {
        let Some((when, key)) = self.due.iter().find(|(_, key)| !self.taken.contains(key)).cloned() else {
            return Next::Nothing;
        };
        if when > now {
            return Next::WaitUntil(when);
        }
        self.due.remove(&(when, key.clone()));
        self.at.remove(&key);
        self.taken.insert(key.clone());
        Next::Take(key)
    }

    /// It was looked at; answers how often in a row it failed.
    fn done(&mut self, key: &Key, failed: bool) -> u32 {
        self.taken.remove(key);
        if !failed {
            self.failed.remove(key);
            return 0;
        }
        let times = self.failed.entry(key.clone()).or_default();
        *times = times.saturating_add(1);
        *times
    }
}

/// A queue of names; clones are the same.
#[derive(Clone)]
pub struct Queue {
    agenda: Arc<Mutex<Agenda<Instant>>>,
    changed: Arc<Notify>,
    debounce: Duration,
}

impl Queue {
    /// An empty queue. A burst of events within `debounce` becomes one look.
    #[must_use]
    pub fn new(debounce: Duration) -> Self {
        Self { agenda: Arc::new(Mutex::new(Agenda::new())), changed: Arc::default(), debounce }
    }

    /// Something happened to `key`.
    pub fn add(&self, key: Key) {
        self.add_after(key, self.debounce);
    }

    /// Looks at `key` in `wait`, if nothing happens to it before.
    pub fn add_after(&self, key: Key, wait: Duration) {
        self.lock().add(key, Instant::now() + wait);
        self.changed.notify_one();
    }

    /// Waits until a name is due and takes it; it must be given back by [`Queue::done`]. For one taker.
    pub async fn next(&self) -> Key {
        loop {
            let next = self.lock().next(Instant::now());
            match next {
                Next::Take(key) => return key,
                Next::Nothing => self.changed.notified().await,
                Next::WaitUntil(when) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(when) => {}
                    }
                }
            }
        }
    }

    /// `key` was looked at; answers how often in a row that failed.
    pub fn done(&self, key: &Key, failed: bool) -> u32 {
        let times = self.lock().done(key, failed);
        self.changed.notify_one();
        times
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Agenda<Instant>> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy)]
    enum Act {
        Add(u8, u64),
        Take,
        Done(u8),
        Pass(u64),
    }

    fn key(number: u8) -> Key {
        Key::new("", &number.to_string())
    }

    proptest! {
        /// No name is looked at twice at once or before its time, and whatever was named is looked at after that.
        #[test]
        fn every_name_gets_its_look(acts in proptest::collection::vec(prop_oneof![
            (0..3_u8, 0..5_u64).prop_map(|(of, wait)| Act::Add(of, wait)),
            Just(Act::Take),
            (0..3_u8).prop_map(Act::Done),
            (0..4_u64).prop_map(Act::Pass),
        ], 0..60)) {
            let (mut agenda, mut now) = (Agenda::new(), 0);
            let mut owed: HashMap<Key, u64> = HashMap::new();
            let mut taken = HashSet::new();
            for act in acts {
                match act {
                    Act::Add(of, wait) => {
                        agenda.add(key(of), now + wait);
                        let first = owed.entry(key(of)).or_insert(now + wait);
                        *first = (*first).min(now + wait);
                    }
                    Act::Take => match agenda.next(now) {
                        Next::Take(key) => {
                            prop_assert!(owed.remove(&key).is_some_and(|when| when <= now));
                            prop_assert!(taken.insert(key));
                        }
                        Next::WaitUntil(when) => prop_assert!(when > now),
                        Next::Nothing => prop_assert!(owed.keys().all(|key| taken.contains(key))),
                    },
                    Act::Done(of) if taken.remove(&key(of)) => drop(agenda.done(&key(of), false)),
                    Act::Done(_) => {}
                    Act::Pass(time) => now += time,
                }
            }
            for key in taken {
                agenda.done(&key, false);
            }
            while let Next::Take(key) = agenda.next(u64::MAX) {
                prop_assert!(owed.remove(&key).is_some());
                agenda.done(&key, false);
            }
            prop_assert!(owed.is_empty());
        }
    }

    #[test]
    fn failures_in_a_row_are_counted() {
        let mut agenda = Agenda::<u8>::new();
        assert_eq!([true, true, false, true].map(|failed| agenda.done(&key(1), failed)), [1, 2, 0, 1]);
    }
}
