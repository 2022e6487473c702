//! The store as etcd defines it, in its plainest form: what each request answers, and what it leaves behind.

use crate::history::{Act, Answer, Condition, Did, Event, Keys, Refused, Request, Revision, Seen};
use bytes::Bytes;
use skiff_proto::etcd::mvccpb::KeyValue;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// What stands at one revision.
pub(crate) type Keyspace = BTreeMap<Bytes, Arc<KeyValue>>;

/// A revision: what changed, and what stands there since.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moment {
    pub(crate) keys: Keyspace,
    pub(crate) events: Vec<Event>,
}

/// The present, without its past: that is a list of moments by revision, whose last is the present.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) leases: BTreeSet<i64>,
    /// Of everything that was ever written, in order: two states with the same digest have the same past.
    pub(crate) digest: u64,
}

/// What a request does to a state.
pub(crate) struct Effect {
    pub(crate) answer: Answer,
    /// What changes; `None`: it changes nothing at all.
    pub(crate) after: Option<(State, Option<Moment>)>,
}

impl State {
    /// Of a fresh store; and its past.
    pub(crate) fn fresh() -> (State, Vec<Arc<Moment>>) {
        let state = State { revision: 1, compacted: -1, leases: BTreeSet::new(), digest: 0 };
        (state, vec![Arc::default(), Arc::default()])
    }

    /// What `request` answers and changes here.
    pub(crate) fn apply(&self, past: &[Arc<Moment>], request: &Request) -> Effect {
        match request {
            Request::One(act) => self.steps(past, true, std::slice::from_ref(act)),
            Request::Txn { conditions, then, otherwise } => {
                let present = &self.present(past).keys;
                let succeeded = conditions.iter().all(|condition| holds(condition, present));
                self.steps(past, succeeded, if succeeded { then } else { otherwise })
            }
            Request::Grant { id, .. } => self.with(Answer::Fine, |state| {
                state.leases.insert(*id);
            }),
            Request::Revoke { id } | Request::Expire { id } => self.end_lease(past, *id),
            Request::Compact { revision, .. } => match *revision {
                asked if asked <= self.compacted => refuse(Refused::Compacted),
                asked if asked > self.revision => refuse(Refused::Future),
                asked => self.with(Answer::Fine, |state| state.compacted = asked),
            },
        }
    }

    fn present<'a>(&self, past: &'a [Arc<Moment>]) -> &'a Moment {
        &past[usize::try_from(self.revision).unwrap()]
    }

    fn with(&self, answer: Answer, change: impl FnOnce(&mut State)) -> Effect {
        let mut state = self.clone();
        change(&mut state);
        Effect { answer, after: Some((state, None)) }
    }

    fn end_lease(&self, past: &[Arc<Moment>], id: i64) -> Effect {
        if !self.leases.contains(&id) {
            return refuse(Refused::LeaseNotFound);
        }
        let mut writing = Writing::begin(self, past);
        let dying: Vec<_> = writing.keys.values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect();
        for key in dying {
            writing.delete(&Keys::one(key));
        }
        let mut effect = writing.end(self, Answer::Fine);
        let (state, _) = effect.after.get_or_insert_with(|| (self.clone(), None));
        state.leases.remove(&id);
        effect
    }

    fn steps(&self, past: &[Arc<Moment>], succeeded: bool, acts: &[Act]) -> Effect {
        for act in acts {
            match act {
                Act::Put { lease, .. } if *lease != 0 && !self.leases.contains(lease) => {
                    return refuse(Refused::LeaseNotFound);
                }
                Act::Range { revision, .. } if *revision > self.revision => return refuse(Refused::Future),
                Act::Range { revision, .. } if *revision > 0 && *revision < self.compacted => {
                    return refuse(Refused::Compacted);
                }
                _ => (),
            }
        }
        let mut writing = Writing::begin(self, past);
        let did = acts.iter().map(|act| writing.act(past, act)).collect();
        let revision = self.revision + i64::from(!writing.events.is_empty());
        writing.end(self, Answer::Done { succeeded, did, revision })
    }
}

fn refuse(why: Refused) -> Effect {
    Effect { answer: Answer::Refused(why), after: None }
}

fn holds(condition: &Condition, present: &Keyspace) -> bool {
    let found = present.get(&condition.key);
    match &condition.seen {
        Seen::Modified(revision) => found.map_or(0, |kv| kv.mod_revision) == *revision,
        Seen::Version(version) => found.map_or(0, |kv| kv.version) == *version,
        Seen::Value(value) => found.is_some_and(|kv| kv.value == *value),
    }
}

/// A transaction being done.
struct Writing {
    revision: Revision,
    keys: Keyspace,
    events: Vec<Event>,
}

impl Writing {
    fn begin(state: &State, past: &[Arc<Moment>]) -> Self {
        Writing { revision: state.revision + 1, keys: state.present(past).keys.clone(), events: Vec::new() }
    }

    fn act(&mut self, past: &[Arc<Moment>], act: &Act) -> Did {
        match act {
            Act::Range { keys, revision, limit } => {
                let shown = if *revision > 0 { &past[usize::try_from(*revision).unwrap()].keys } else { &self.keys };
                range(shown, keys, *limit)
            }
            Act::Put { key, value, lease, want_previous } => {
                let previous = self.put(key, value, *lease);
                Did::Put { previous: previous.filter(|_| *want_previous) }
            }
            Act::Delete { keys, want_previous } => {
                let previous = self.delete(keys);
                let deleted = i64::try_from(previous.len()).unwrap();
                Did::Delete { deleted, previous: if *want_previous { previous } else { Vec::new() } }
            }
        }
    }

    fn put(&mut self, key: &Bytes, value: &Bytes, lease: i64) -> Option<KeyValue> {
        let previous = self.keys.get(key).map(|kv| KeyValue::clone(kv));
        let kv = KeyValue {
            key: key.clone(),
            create_revision: previous.as_ref().map_or(self.revision, |kv| kv.create_revision),
            mod_revision: self.revision,
            version: previous.as_ref().map_or(0, |kv| kv.version) + 1,
            value: value.clone(),
            lease,
        };
        self.keys.insert(key.clone(), Arc::new(kv.clone()));
        self.events.push(Event { kv, deletion: false, previous: previous.clone() });
        previous
    }

    fn delete(&mut self, keys: &Keys) -> Vec<KeyValue> {
        let dying: Vec<_> = self.keys.keys().filter(|key| keys.contains(key)).cloned().collect();
        let previous: Vec<_> = dying.iter().filter_map(|key| self.keys.remove(key)).map(|kv| (*kv).clone()).collect();
        for kv in &previous {
            let gone = KeyValue { key: kv.key.clone(), mod_revision: self.revision, ..KeyValue::default() };
            self.events.push(Event { kv: gone, deletion: true, previous: Some(kv.clone()) });
        }
        previous
    }

    fn end(self, state: &State, answer: Answer) -> Effect {
        if self.events.is_empty() {
            return Effect { answer, after: None };
        }
        let digest = digest(state.digest, &self.events);
        let after = State { revision: self.revision, digest, ..state.clone() };
        Effect { answer, after: Some((after, Some(Moment { keys: self.keys, events: self.events }))) }
    }
}

fn range(shown: &Keyspace, keys: &Keys, limit: usize) -> Did {
    let mut found: Vec<_> = shown.values().filter(|kv| keys.contains(&kv.key)).map(|kv| (**kv).clone()).collect();
    let count = i64::try_from(found.len()).unwrap();
    let more = limit > 0 && found.len() > limit;
    if more {
        found.truncate(limit);
    }
    Did::Range { found, count, more }
}

fn digest(before: u64, events: &[Event]) -> u64 {
    let mut hasher = DefaultHasher::new();
    before.hash(&mut hasher);
    for Event { kv, deletion, .. } in events {
        (&kv.key, &kv.value, kv.mod_revision, kv.lease, deletion).hash(&mut hasher);
    }
    hasher.finish()
}
