//! No decision on a cache that is older than one's own last write.
//!
//! Who has made a pod and looks at a cache that has not heard of it makes another. So a loop notes what it wrote, and decides
//! about an object again only when its caches show it: they have come to the revision of the write, or have listed anew since,
//! or no longer have what was deleted. What never shows (a write that somebody undid at once, a cache that is cut off for
//! long) is waited for no longer than [`PATIENCE`], as client-go's controllers do.
//!
//! Revisions compare as numbers (KEP-5504), within one resource. Pure: the caller passes the time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a loop waits for its own write to show (client-go's `ExpectationsTimeout`).
pub const PATIENCE: Duration = Duration::from_secs(300);

/// How far a cache reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The latest revision of an event, a bookmark or a list.
    pub revision: u64,
    /// How many lists were begun.
    pub lists_begun: u64,
    /// The last one that came, counted like those that were begun; 0: none has come yet.
    pub list_done: u64,
}

impl Position {
    /// An event or a bookmark of `revision` came. What is no number is no position.
    pub fn reach(&mut self, revision: &str) {
        self.revision = self.revision.max(revision.parse().unwrap_or(0));
    }

    /// Another list is asked for; returns its number.
    pub fn list_begins(&mut self) -> u64 {
        self.lists_begun += 1;
        self.lists_begun
    }

    /// The list `number` came, as of `revision`.
    pub fn list_came(&mut self, revision: &str, number: u64) {
        self.reach(revision);
        self.list_done = number;
    }

    /// Whether any list has come.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.list_done > 0
    }
}

/// A cache, as far as expectations look at it.
pub trait Seen: Send + Sync {
    /// How far it reaches.
    fn position(&self) -> Position;

    /// Whether the object with this uid is not there, or is being deleted.
    fn is_leaving(&self, namespace: &str, name: &str, uid: &str) -> bool;
}

struct Expected {
    shown_by: Arc<dyn Seen>,
    what: What,
    until: Instant,
}

enum What {
    /// The cache reaches `revision`, or has listed anew after `lists_begun`.
    Revision {
        revision: u64,
        lists_begun: u64,
    },
    Leaving {
        namespace: String,
        name: String,
        uid: String,
    },
}

impl Expected {
    fn is_met(&self, now: Instant) -> bool {
        if now >= self.until {
            return true;
        }
        match &self.what {
            What::Revision { revision, lists_begun } => {
                let position = self.shown_by.position();
                position.revision >= *revision || position.list_done > *lists_begun
            }
            What::Leaving { namespace, name, uid } => self.shown_by.is_leaving(namespace, name, uid),
        }
    }
}

/// What a loop wrote and has not seen yet, by the key of the object that it reconciles.
pub struct Expectations<K> {
    by_key: HashMap<K, Vec<Expected>>,
}

impl<K> Default for Expectations<K> {
    fn default() -> Self {
        Self { by_key: HashMap::new() }
    }
}

impl<K: Hash + Eq> Expectations<K> {
    /// Something was created or changed, and the server's answer had this revision. An answer without a number is no
    /// expectation: nothing could ever meet it.
    pub fn wrote(&mut self, key: K, shown_by: Arc<dyn Seen>, revision: Option<&str>, now: Instant) {
        let Some(revision) = revision.and_then(|text| text.parse().ok()) else { return };
        let lists_begun = shown_by.position().lists_begun;
        self.expect(key, shown_by, What::Revision { revision, lists_begun }, now);
    }

    /// Something was deleted, or told to go.
    pub fn deleted(
        &mut self,
        key: K,
        shown_by: Arc<dyn Seen>,
        (namespace, name, uid): (&str, &str, &str),
        now: Instant,
    ) {
        let what = What::Leaving { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned() };
        self.expect(key, shown_by, what, now);
    }

    fn expect(&mut self, key: K, shown_by: Arc<dyn Seen>, what: What, now: Instant) {
        let expected = Expected { shown_by, what, until: now + PATIENCE };
        if !expected.is_met(now) {
            self.by_key.entry(key).or_default().push(expected);
        }
    }

    /// Whether the caches show all that was written about `key`. What they show is forgotten.
    pub fn are_met(&mut self, key: &K, now: Instant) -> bool {
        let Some(expected) = self.by_key.get_mut(key) else { return true };
        expected.retain(|one| !one.is_met(now));
        if !expected.is_empty() {
            return false;
        }
        self.by_key.remove(key);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    /// A server's objects of one resource, and a cache that follows it event by event.
    #[derive(Default)]
    struct World {
        revision: u64,
        objects: BTreeSet<u64>,
        /// Revision, number of the object, whether it came.
        log: Vec<(u64, u64, bool)>,
        position: Position,
        cached: BTreeSet<u64>,
        /// A list that is under way: its number.
        listing: Option<u64>,
    }

    struct Cache(Mutex<World>);

    impl Seen for Cache {
        fn position(&self) -> Position {
            self.0.lock().unwrap().position
        }

        fn is_leaving(&self, _namespace: &str, name: &str, _uid: &str) -> bool {
            !self.0.lock().unwrap().cached.contains(&name.parse().unwrap())
        }
    }

    impl Cache {
        fn create(&self) -> u64 {
            let mut world = self.0.lock().unwrap();
            world.revision += 1;
            let number = world.revision;
            world.objects.insert(number);
            world.log.push((number, number, true));
            number
        }

        fn delete(&self) -> Option<u64> {
            let mut world = self.0.lock().unwrap();
            let number = world.objects.pop_first()?;
            world.revision += 1;
            let revision = world.revision;
            world.log.push((revision, number, false));
            Some(number)
        }

        /// The next event reaches the cache.
        fn event(&self) {
            let mut world = self.0.lock().unwrap();
            let seen = world.position.revision;
            let Some((revision, number, came)) = world.log.iter().find(|entry| entry.0 > seen).copied() else { return };
            if came {
                world.cached.insert(number)
            } else {
                world.cached.remove(&number)
            };
            world.position.reach(&revision.to_string());
        }

        /// A list begins, or the one that was begun comes.
        fn list(&self) {
            let mut world = self.0.lock().unwrap();
            match world.listing.take() {
                None => world.listing = Some(world.position.list_begins()),
                Some(number) => {
                    let revision = world.revision.to_string();
                    world.cached = world.objects.clone();
                    world.position.list_came(&revision, number);
                }
            }
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Act {
        Reconcile,
        Event,
        List,
    }

    proptest! {
        /// A loop that keeps `wanted` objects, and looks only when its expectations are met, never makes one too many nor
        /// deletes one too many, however late the cache is; and it gets there.
        #[test]
        fn a_loop_never_overshoots(
            wanted in 0_usize..6,
            start in 0_usize..6,
            acts in proptest::collection::vec(prop_oneof![Just(Act::Reconcile), Just(Act::Event), Just(Act::List)], 0..60),
        ) {
            let cache = Arc::new(Cache(Mutex::default()));
            for _ in 0..start {
                cache.create();
                cache.event();
            }
            let (low, high) = (wanted.min(start), wanted.max(start));
            let mut expectations = Expectations::default();
            let now = Instant::now();
            let settle = [[Act::Event; 8].as_slice(), &[Act::Reconcile], &[Act::Event; 8], &[Act::Reconcile]].concat();
            for act in acts.into_iter().chain(settle) {
                match act {
                    Act::Event => cache.event(),
                    Act::List => cache.list(),
                    Act::Reconcile if expectations.are_met(&(), now) => {
                        let have = cache.0.lock().unwrap().cached.len();
                        for _ in have..wanted {
                            let revision = cache.create().to_string();
                            expectations.wrote((), cache.clone(), Some(&revision), now);
                        }
                        for _ in wanted..have {
                            let gone = cache.delete().expect("there is one").to_string();
                            expectations.deleted((), cache.clone(), ("", &gone, ""), now);
                        }
                    }
                    Act::Reconcile => {}
                }
                let there = cache.0.lock().unwrap().objects.len();
                prop_assert!((low..=high).contains(&there), "{there} of {wanted}");
            }
            prop_assert_eq!(cache.0.lock().unwrap().objects.len(), wanted);
        }
    }

    #[test]
    fn patience_ends() {
        let cache = Arc::new(Cache(Mutex::default()));
        let mut expectations = Expectations::default();
        let now = Instant::now();
        expectations.wrote("a", cache.clone(), Some("7"), now);
        expectations.wrote("b", cache, Some("no number"), now);
        assert!(!expectations.are_met(&"a", now));
        assert!(expectations.are_met(&"b", now));
        assert!(!expectations.are_met(&"a", now + PATIENCE / 2));
        assert!(expectations.are_met(&"a", now + PATIENCE));
    }
}
