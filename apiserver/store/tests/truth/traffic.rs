//! Clients that ask what etcd's robustness tests ask, of about ten keys.

use crate::history::{Act, Answer, Condition, Keys, Outcome, Request, Revision, Seen};
use crate::wire::shown;
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::collections::{BTreeMap, VecDeque};

/// What everybody writes to.
pub(crate) const KEYS: usize = 10;
/// Seconds that a lease lives: the shortest that the store grants.
const TTL_SECONDS: i64 = 2;

/// Whose requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Everything that etcd's API has.
    Etcd,
    /// What an API server sends: compare-and-swap on the revision of last modification, lists by pages, nothing else.
    Kubernetes,
}

impl Profile {
    /// All of this profile's keys.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Profile::Etcd => "key",
            Profile::Kubernetes => "/registry/pods/",
        }
    }

    /// One of its keys.
    pub(crate) fn key(self, random: &mut StdRng) -> Bytes {
        let number = random.random_range(0..KEYS);
        match self {
            Profile::Etcd => format!("key{number}").into(),
            Profile::Kubernetes => format!("/registry/pods/{}/pod{number}", ["default", "system"][number % 2]).into(),
        }
    }
}

/// A client: it asks one thing after the other.
pub(crate) struct Client {
    number: usize,
    profile: Profile,
    random: StdRng,
    asked: u64,
    /// What it last saw of each key.
    seen: BTreeMap<Bytes, Revision>,
    /// The newest revision it knows of.
    revision: Revision,
    /// A lease it may use.
    lease: Option<i64>,
    /// What it is in the middle of.
    next: VecDeque<Request>,
}

impl Client {
    pub(crate) fn new(number: usize, profile: Profile, random: StdRng) -> Self {
        let (seen, next) = (BTreeMap::new(), VecDeque::new());
        Client { number, profile, random, asked: 0, seen, revision: 1, lease: None, next }
    }

    /// What it asks next.
    pub(crate) fn request(&mut self) -> Request {
        self.asked += 1;
        if let Some(request) = self.next.pop_front() {
            return request;
        }
        match self.profile {
            Profile::Etcd => self.etcd(),
            Profile::Kubernetes => self.kubernetes(),
        }
    }

    /// What it learns from an outcome.
    pub(crate) fn learn(&mut self, request: &Request, outcome: &Outcome) {
        match (request, outcome) {
            (Request::Grant { id, .. }, Outcome::Answered(Answer::Fine)) => self.lease = Some(*id),
            (Request::Revoke { .. }, _) => self.lease = None,
            (_, Outcome::Answered(Answer::Refused(crate::history::Refused::LeaseNotFound))) => self.lease = None,
            (_, Outcome::Answered(answer @ Answer::Done { revision, .. })) => {
                self.revision = self.revision.max(*revision);
                self.seen.extend(shown(answer).map(|kv| (kv.key.clone(), kv.mod_revision)));
                self.remember_write(request, answer);
            }
            _ => (),
        }
    }

    fn remember_write(&mut self, request: &Request, answer: &Answer) {
        let Answer::Done { succeeded: true, revision, .. } = answer else { return };
        let act = match request {
            Request::One(act) => act,
            Request::Txn { then, .. } if then.len() == 1 => &then[0],
            _ => return,
        };
        match act {
            Act::Put { key, .. } => drop(self.seen.insert(key.clone(), *revision)),
            Act::Delete { keys, .. } => self.seen.retain(|key, _| !keys.contains(key)),
            Act::Range { .. } => (),
        }
    }

    fn key(&mut self) -> Bytes {
        self.profile.key(&mut self.random)
    }

    /// No value is written twice.
    fn value(&mut self) -> Bytes {
        let padding = [0, 0, 20, 200][self.random.random_range(0..4)];
        format!("{}.{}{}", self.number, self.asked, "-".repeat(padding)).into()
    }

    fn put(&mut self, lease: i64) -> Act {
        Act::Put { key: self.key(), value: self.value(), lease, want_previous: self.random.random() }
    }

    fn keys(&mut self) -> Keys {
        match self.random.random_range(0..3) {
            0 => Keys::below(self.profile.prefix()),
            1 => Keys { from: self.key(), end: Keys::below(self.profile.prefix()).end },
            _ => Keys::one(self.key()),
        }
    }

    /// A revision that was, or is, or will be, or never mind.
    fn past(&mut self) -> Revision {
        (self.revision - self.random.random_range(-2..40)).max(0)
    }

    fn range(&mut self) -> Act {
        let revision = if self.random.random_bool(0.3) { self.past() } else { 0 };
        let limit = [0, 0, 1, 3][self.random.random_range(0..4)];
        Act::Range { keys: self.keys(), revision, limit }
    }

    fn delete(&mut self) -> Act {
        // Mostly one key: otherwise nothing would be left to look at.
        let keys = if self.random.random_bool(0.1) { self.keys() } else { Keys::one(self.key()) };
        Act::Delete { keys, want_previous: self.random.random() }
    }

    fn etcd(&mut self) -> Request {
        match self.random.random_range(0..100) {
            0..25 => Request::One(self.put(0)),
            25..45 => Request::One(self.range()),
            45..57 => Request::One(self.delete()),
            57..72 => self.swap(),
            72..92 => self.mixed(),
            _ => self.leased(),
        }
    }

    /// Compare-and-swap with what it saw last.
    fn swap(&mut self) -> Request {
        let key = self.key();
        let revision = self.seen.get(&key).copied().unwrap_or(0);
        let seen = match self.random.random_range(0..10) {
            0 => Seen::Version(self.random.random_range(0..3)),
            1 => Seen::Value(self.value()),
            _ => Seen::Modified(revision),
        };
        let put = Act::Put { key: key.clone(), value: self.value(), lease: 0, want_previous: false };
        let read = Act::Range { keys: Keys::one(key.clone()), revision: 0, limit: 0 };
        Request::Txn { conditions: vec![Condition { key, seen }], then: vec![put], otherwise: vec![read] }
    }

    /// Several keys at once, and reads between.
    fn mixed(&mut self) -> Request {
        let mut left: Vec<Bytes> = Vec::new();
        let mut then = Vec::new();
        for _ in 0..self.random.random_range(1..5) {
            let key = self.key();
            if left.contains(&key) {
                then.push(self.range());
                continue;
            }
            left.push(key.clone());
            then.push(match self.random.random_range(0..4) {
                0 => Act::Delete { keys: Keys::one(key), want_previous: true },
                _ => Act::Put { key, value: self.value(), lease: 0, want_previous: false },
            });
        }
        let key = self.key();
        let seen = Seen::Modified(self.seen.get(&key).copied().unwrap_or(0));
        let conditions = if self.random.random_bool(0.3) { vec![Condition { key, seen }] } else { Vec::new() };
        Request::Txn { conditions, then, otherwise: vec![self.range()] }
    }

    fn leased(&mut self) -> Request {
        match self.lease {
            None => {
                let id = self.number as i64 * 1_000_000 + self.asked as i64 + 1;
                Request::Grant { id, ttl_seconds: TTL_SECONDS }
            }
            Some(id) if self.random.random_bool(0.2) => Request::Revoke { id },
            Some(id) => Request::One(self.put(id)),
        }
    }

    fn kubernetes(&mut self) -> Request {
        let key = self.key();
        let found = self.seen.get(&key).copied();
        let revision = found.unwrap_or(0);
        let read = || Act::Range { keys: Keys::one(key.clone()), revision: 0, limit: 0 };
        let if_unchanged = |then: Act, otherwise: Vec<Act>| Request::Txn {
            conditions: vec![Condition { key: key.clone(), seen: Seen::Modified(revision) }],
            then: vec![then],
            otherwise,
        };
        match self.random.random_range(0..100) {
            0..10 => self.list(),
            10..30 => Request::One(Act::Range { keys: Keys::one(key), revision: 0, limit: 1 }),
            30..45 if found.is_some() => {
                if_unchanged(Act::Delete { keys: Keys::one(key.clone()), want_previous: false }, vec![read()])
            }
            _ => {
                let value = self.value();
                let put = Act::Put { key: key.clone(), value, lease: 0, want_previous: false };
                // An object is made without a look at what is there already.
                if_unchanged(put, if found.is_some() { vec![read()] } else { Vec::new() })
            }
        }
    }

    /// A list by pages, the later ones at the revision of the first.
    fn list(&mut self) -> Request {
        let all = Keys::below(self.profile.prefix());
        let revision = self.revision;
        let from = self.key();
        let page = Act::Range { keys: Keys { from, end: all.end.clone() }, revision, limit: 3 };
        self.next.push_back(Request::One(page));
        Request::One(Act::Range { keys: all, revision: 0, limit: 3 })
    }
}

/// What a compactor asks who knows of everything up to `newest`.
pub(crate) fn compaction(random: &mut StdRng, newest: Revision) -> Request {
    let behind = *[0, 1, 3, 10, 30].choose(random).expect("five choices");
    Request::Compact { revision: newest - behind, physical: random.random() }
}
