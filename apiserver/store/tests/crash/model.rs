//! What a store should be after each command: a plain model that keeps everything.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use skiff_store::record::{Point, Record};
use std::collections::BTreeMap;

pub(crate) const KEYS: usize = 24;
const LEASES: i64 = 4;
/// Long enough that none ends by itself.
pub(crate) const TTL_SECONDS: i64 = 100_000;

/// One write of a transaction.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Put { key: Bytes, value: Bytes, lease: i64 },
    Delete { key: Bytes },
}

/// Something asked of a store.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// All of it, at one revision.
    Write(Vec<Step>),
    Grant(i64),
    Revoke(i64),
    /// Forget history before a revision; whether to wait until it is gone.
    Compact(i64, bool),
}

/// A state, without the history that leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct After {
    pub revision: i64,
    /// 1: never, or to nothing.
    pub compacted: i64,
    pub leases: BTreeMap<i64, ()>,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub after: After,
    /// The records of each revision, from revision 2 on.
    history: Vec<Vec<Record>>,
    /// The keys at each revision, from revision 1 on.
    states: Vec<BTreeMap<Bytes, Record>>,
}

pub(crate) fn key(number: usize) -> Bytes {
    format!("/registry/things/{number:02}").into()
}

impl Model {
    /// Of a new store.
    pub(crate) fn new() -> Self {
        let after = After { revision: 1, compacted: 1, leases: BTreeMap::new() };
        Model { after, history: Vec::new(), states: vec![BTreeMap::new()] }
    }

    /// The keys at a revision.
    pub(crate) fn at(&self, revision: i64) -> &BTreeMap<Bytes, Record> {
        &self.states[revision as usize - 1]
    }

    /// What a revision wrote, from 2 on.
    pub(crate) fn written_at(&self, revision: i64) -> &[Record] {
        &self.history[revision as usize - 2]
    }

    /// Forgets what came after a state.
    pub(crate) fn back_to(&mut self, after: After) {
        self.history.truncate(after.revision as usize - 1);
        self.states.truncate(after.revision as usize);
        self.after = after;
    }

    /// Does a command.
    pub(crate) fn apply(&mut self, command: &Command) {
        match command {
            Command::Write(steps) => self.write(steps),
            Command::Grant(id) => drop(self.after.leases.insert(*id, ())),
            Command::Revoke(id) => {
                self.after.leases.remove(id);
                let dying = |record: &&Record| record.lease == *id;
                let keys: Vec<_> = self.at(self.after.revision).values().filter(dying).map(|r| r.key.clone()).collect();
                self.write(&keys.into_iter().map(|key| Step::Delete { key }).collect::<Vec<_>>());
            }
            Command::Compact(revision, _) => self.after.compacted = *revision,
        }
    }

    fn write(&mut self, steps: &[Step]) {
        let revision = self.after.revision + 1;
        let mut state = self.at(self.after.revision).clone();
        let mut records = Vec::new();
        for step in steps {
            let at = Point { revision, sub: records.len() as u32 };
            let record = match step {
                Step::Delete { key } if !state.contains_key(key) => continue,
                Step::Delete { key } => Record::tombstone(at, key.clone()),
                Step::Put { key, value, lease } => {
                    let old = state.get(key);
                    let created = old.map_or(revision, |old| old.created);
                    let version = old.map_or(0, |old| old.version) + 1;
                    Record { at, key: key.clone(), value: value.clone(), created, version, lease: *lease }
                }
            };
            match record.is_tombstone() {
                true => state.remove(&record.key),
                false => state.insert(record.key.clone(), record.clone()),
            };
            records.push(record);
        }
        if !records.is_empty() {
            self.after.revision = revision;
            self.history.push(records);
            self.states.push(state);
        }
    }

    /// A command that can be done now.
    pub(crate) fn draw(&self, chance: &mut StdRng) -> Command {
        let (oldest, newest) = (self.after.compacted, self.after.revision);
        let leases: Vec<i64> = self.after.leases.keys().copied().collect();
        match chance.random_range(0..40) {
            0..=2 if newest > oldest + 4 => {
                Command::Compact(chance.random_range(oldest + 1..=newest), chance.random_bool(0.3))
            }
            3..=5 => match (1..=LEASES).find(|id| !self.after.leases.contains_key(id)) {
                Some(id) => Command::Grant(id),
                None => Command::Revoke(leases[0]),
            },
            6 if !leases.is_empty() => Command::Revoke(leases[chance.random_range(0..leases.len())]),
            7..=9 => Command::Write(self.draw_steps(chance, &leases, 8)),
            _ => Command::Write(self.draw_steps(chance, &leases, 1)),
        }
    }

    /// A put of a small value, which always makes a revision.
    pub(crate) fn draw_put(&self, chance: &mut StdRng) -> Command {
        let value = value(chance, 40);
        Command::Write(vec![Step::Put { key: key(chance.random_range(0..KEYS)), value, lease: 0 }])
    }

    fn draw_steps(&self, chance: &mut StdRng, leases: &[i64], most: usize) -> Vec<Step> {
        let first = chance.random_range(0..KEYS);
        let count = chance.random_range(1..=most);
        let mut steps = Vec::new();
        // Neighbours: a transaction writes no key twice.
        for key in (first..first + count).map(|number| key(number % KEYS)) {
            if chance.random_bool(0.2) {
                steps.push(Step::Delete { key });
                continue;
            }
            let lease = match chance.random_bool(0.2) && !leases.is_empty() {
                true => leases[chance.random_range(0..leases.len())],
                false => 0,
            };
            let most = [30, 600, 9000][[0, 0, 0, 0, 1, 1, 1, 2][chance.random_range(0..8)]];
            steps.push(Step::Put { key, value: value(chance, most), lease });
        }
        steps
    }
}

fn value(chance: &mut StdRng, most: usize) -> Bytes {
    let mut value = vec![0; chance.random_range(0..=most)];
    chance.fill(&mut value[..]);
    value.into()
}
