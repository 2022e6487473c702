//! Names of objects that have to be looked at, and when.
//!
//! A name stands in the queue once, however many events named it, and is never looked at twice at the same time: what is
//! named while it is being looked at is looked at once more afterwards. [`Agenda`] decides, without a clock; [`Queue`] waits.

use crate::figures::{Look, Now, OfQueue};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::Ordering;
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
    /// Those that are being looked at, and since when.
    taken: HashMap<Key, T>,
    /// How often in a row each name failed.
    failed: HashMap<Key, u32>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Next<T> {
    /// This one, which was due then.
    Take(Key, T),
    WaitUntil(T),
    Nothing,
}

impl<T: Ord + Copy> Agenda<T> {
    fn new() -> Self {
        Self { due: BTreeSet::new(), at: HashMap::new(), taken: HashMap::new(), failed: HashMap::new() }
    }

    /// Looks at `key` at `when`, or earlier if that was asked for already. Answers whether it did not stand here yet.
    fn add(&mut self, key: Key, when: T) -> bool {
        let before = self.at.get(&key).copied();
        match before {
            Some(before) if before <= when => return false,
            Some(before) => drop(self.due.remove(&(before, key.clone()))),
            None => {}
        }
        self.at.insert(key.clone(), when);
        self.due.insert((when, key));
        before.is_none()
    }

    /// The first that is due and that nobody looks at.
    fn next(&mut self, now: T) -> Next<T> {
        let Some((when, key)) = self.due.iter().find(|(_, key)| !self.taken.contains_key(key)).cloned() else {
            return Next::Nothing;
        };
        if when > now {
            return Next::WaitUntil(when);
        }
        self.due.remove(&(when, key.clone()));
        self.at.remove(&key);
        self.taken.insert(key.clone(), now);
        Next::Take(key, when)
    }

    /// It was looked at; answers how often in a row it failed, and since when it had been taken.
    fn done(&mut self, key: &Key, failed: bool) -> (u32, Option<T>) {
        let since = self.taken.remove(key);
        if !failed {
            self.failed.remove(key);
            return (0, since);
        }
        let times = self.failed.entry(key.clone()).or_default();
        *times = times.saturating_add(1);
        (*times, since)
    }
}

/// A queue of names; clones are the same.
#[derive(Clone)]
pub struct Queue {
    agenda: Arc<Mutex<Agenda<Instant>>>,
    changed: Arc<Notify>,
    debounce: Duration,
    figures: Arc<OfQueue>,
    /// Shows in figures what is so now, for as long as there is this queue.
    _look: Arc<Look>,
}

impl Queue {
    /// An empty queue, which figures call `name`. A burst of events within `debounce` becomes one look.
    #[must_use]
    pub fn named(debounce: Duration, name: &'static str) -> Self {
        let agenda = Arc::new(Mutex::new(Agenda::new()));
        let own = Arc::clone(&agenda);
        let look: Arc<Look> = Arc::new(move || now(&own.lock().unwrap_or_else(PoisonError::into_inner)));
        Self { agenda, changed: Arc::default(), debounce, figures: OfQueue::named(name, &look), _look: look }
    }

    /// Something happened to `key`.
    pub fn add(&self, key: Key) {
        self.add_after(key, self.debounce);
    }

    /// Looks at `key` in `wait`, if nothing happens to it before.
    pub fn add_after(&self, key: Key, wait: Duration) {
        if self.lock().add(key, Instant::now() + wait) {
            self.figures.adds.fetch_add(1, Ordering::Relaxed);
        }
        self.changed.notify_one();
    }

    /// Waits until a name is due and takes it; it must be given back by [`Queue::done`]. For one taker.
    pub async fn next(&self) -> Key {
        loop {
            let now = Instant::now();
            let next = self.lock().next(now);
            match next {
                Next::Take(key, due) => {
                    self.figures.waited.note(now.saturating_duration_since(due));
                    return key;
                }
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
        let (times, since) = self.lock().done(key, failed);
        if let Some(since) = since {
            self.figures.worked.note(since.elapsed());
        }
        if failed {
            self.figures.retries.fetch_add(1, Ordering::Relaxed);
        }
        self.changed.notify_one();
        times
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Agenda<Instant>> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many are due, and for how long each that is taken has been looked at.
fn now(agenda: &Agenda<Instant>) -> Now {
    let now = Instant::now();
    let due = agenda.due.iter().take_while(|(when, _)| *when <= now).count();
    (due, agenda.taken.values().map(|since| now.saturating_duration_since(*since)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

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
                        prop_assert_eq!(agenda.add(key(of), now + wait), !owed.contains_key(&key(of)));
                        let first = owed.entry(key(of)).or_insert(now + wait);
                        *first = (*first).min(now + wait);
                    }
                    Act::Take => match agenda.next(now) {
                        Next::Take(key, due) => {
                            prop_assert!(owed.remove(&key).is_some_and(|when| when <= now && when == due));
                            prop_assert!(taken.insert(key));
                        }
                        Next::WaitUntil(when) => prop_assert!(when > now),
                        Next::Nothing => prop_assert!(owed.keys().all(|key| taken.contains(key))),
                    },
                    Act::Done(of) if taken.remove(&key(of)) => {
                        prop_assert!(agenda.done(&key(of), false).1.is_some_and(|since| since <= now));
                    }
                    Act::Done(_) => {}
                    Act::Pass(time) => now += time,
                }
            }
            for key in taken {
                agenda.done(&key, false);
            }
            while let Next::Take(key, _) = agenda.next(u64::MAX) {
                prop_assert!(owed.remove(&key).is_some());
                agenda.done(&key, false);
            }
            prop_assert!(owed.is_empty());
        }
    }

    #[tokio::test]
    async fn what_is_done_is_counted() {
        let queue = Queue::named(Duration::ZERO, "counted");
        queue.add(key(1));
        queue.add(key(1));
        queue.add(key(2));
        queue.add_after(key(3), Duration::from_secs(3600));
        let taken = queue.next().await;
        let shown = |line: &str| {
            let text = crate::figures();
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        };
        shown("workqueue_adds_total{name=\"counted\"} 3");
        shown("workqueue_depth{name=\"counted\"} 1");
        shown("workqueue_queue_duration_seconds_count{name=\"counted\"} 1");
        queue.done(&taken, true);
        shown("workqueue_retries_total{name=\"counted\"} 1");
        shown("workqueue_work_duration_seconds_count{name=\"counted\"} 1");
        shown("workqueue_longest_running_processor_seconds{name=\"counted\"} 0");
        drop(queue);
        shown("workqueue_depth{name=\"counted\"} 0");
        shown("workqueue_adds_total{name=\"counted\"} 3");
    }

    #[test]
    fn failures_in_a_row_are_counted() {
        let mut agenda = Agenda::<u8>::new();
        assert_eq!([true, true, false, true].map(|failed| agenda.done(&key(1), failed).0), [1, 2, 0, 1]);
    }
}
