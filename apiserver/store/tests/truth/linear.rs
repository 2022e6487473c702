//! Is a history linearizable? Wing and Gong's search with Lowe's memory of what was tried, and etcd's trick: answers bear
//! the store's revision, so nearly every write has just one place.
//!
//! The history is not split by key, although that is the usual way to make the search small: the revision is one counter for
//! all keys, and a history that is right for each key may be wrong for the counter. The revisions do the same service.
//!
//! What has no answer may take effect at any time after it was sent and before its store was opened again, or never. It is tried only where the history has a hole:
//! at a revision that no answer claims, and if it writes what answers show of that revision. What only reads is placed as soon as it can be, because that hinders nothing.

use crate::history::{Act, Answer, Did, Event, NEVER, Operation, Outcome, Persisted, Refused, Request, Revision};
use crate::model::{Effect, Moment, State};
use bytes::Bytes;
use skiff_proto::etcd::mvccpb::KeyValue;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Places tried until the search gives up.
const STEPS_MAX: usize = 3_000_000;

/// What the search found.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// There is an order; it wrote this.
    Legal(Persisted),
    /// There is none.
    Illegal(String),
    /// Too many to try.
    Undecided,
}

/// Looks for an order of `operations` that explains every answer. `observed` are changes that somebody saw, by revision;
/// only what no answer claims is compared with them.
pub(crate) fn check(operations: &[Operation], observed: &HashMap<Revision, Vec<Event>>) -> Verdict {
    if let Some(why) = contradiction(operations) {
        return Verdict::Illegal(why);
    }
    Search::over(operations, observed).run()
}

/// What needs no search: two writes of one revision, or an answer older than what was answered before it was asked for. Most
/// illegal histories have one of these, and the search would try everything before it gives up.
fn contradiction(operations: &[Operation]) -> Option<String> {
    let mut owners: HashMap<Revision, &Operation> = HashMap::new();
    for operation in operations {
        if let Some(other) = claimed(operation).and_then(|revision| owners.insert(revision, operation)) {
            return Some(format!("one revision was written twice:\n  {other:?}\n  {operation:?}"));
        }
    }
    let revision = |operation: &Operation| match &operation.outcome {
        Outcome::Answered(Answer::Done { revision, .. }) => *revision,
        _ => 0,
    };
    let (mut by_call, mut by_end): (Vec<_>, Vec<_>) = (operations.iter().collect(), operations.iter().collect());
    by_call.sort_by_key(|operation| operation.call);
    by_end.sort_by_key(|operation| operation.end);
    let (mut ended, mut newest) = (by_end.into_iter().peekable(), None::<&Operation>);
    for operation in by_call {
        while let Some(before) = ended.next_if(|before| before.end < operation.call) {
            newest = newest.filter(|newest| revision(newest) >= revision(before)).or(Some(before));
        }
        if let Some(newest) = newest.filter(|newest| (1..revision(newest)).contains(&revision(operation))) {
            return Some(format!("the past was answered:\n  {operation:?}\n  after {newest:?}"));
        }
    }
    None
}

struct Search<'a> {
    observed: &'a HashMap<Revision, Vec<Event>>,
    /// What was answered, in order of being sent.
    known: Vec<&'a Operation>,
    placed: Vec<bool>,
    /// Everything in `known` before this is placed.
    front: usize,
    left: usize,
    /// What was not answered and may have changed something; then every lease that may end.
    unknown: Vec<Operation>,
    tried: Vec<bool>,
    /// At which revision answers show what one of these wrote: no value is written twice.
    pinned: Vec<Option<Revision>>,
    /// Which operation's answer says that it wrote this revision.
    owner: HashMap<Revision, usize>,
    /// What answers show of the revisions that nobody claims.
    shown: HashMap<Revision, Vec<&'a KeyValue>>,
    /// Distinguishes sets of placed operations.
    set: u64,
    past: Vec<Arc<Moment>>,
    steps: usize,
    deepest: (usize, String),
}

/// One operation of either list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Known(usize),
    Unknown(usize),
}

/// A point of the search to come back to.
struct Frame {
    state: State,
    /// Reads placed on arriving here, to be taken back on leaving.
    reads: Vec<usize>,
    choices: Vec<(Place, State, Option<Moment>)>,
    chosen: Option<Place>,
}

impl<'a> Search<'a> {
    fn over(operations: &'a [Operation], observed: &'a HashMap<Revision, Vec<Event>>) -> Self {
        let answered = |operation: &&Operation| matches!(operation.outcome, Outcome::Answered(_));
        let mut known: Vec<_> = operations.iter().filter(answered).collect();
        known.sort_by_key(|operation| operation.call);
        // A grant without an answer is a lease that nobody uses.
        let matters = |operation: &&Operation| {
            !answered(operation)
                && !operation.request.only_reads()
                && !matches!(operation.request, Request::Grant { .. })
        };
        let mut unknown: Vec<_> = operations.iter().filter(matters).cloned().collect();
        unknown.extend(known.iter().filter_map(|operation| expiry(operation)));
        let owner = known.iter().enumerate().filter_map(|(index, operation)| Some((claimed(operation)?, index)));
        let owner: HashMap<_, _> = owner.collect();
        let (mut shown, mut when): (HashMap<_, Vec<_>>, _) = (HashMap::new(), HashMap::new());
        for kv in known.iter().flat_map(|operation| seen(operation)) {
            when.insert(&kv.value, kv.mod_revision);
            if !owner.contains_key(&kv.mod_revision) {
                shown.entry(kv.mod_revision).or_default().push(kv);
            }
        }
        Search {
            observed,
            owner,
            shown,
            placed: vec![false; known.len()],
            tried: vec![false; unknown.len()],
            pinned: unknown
                .iter()
                .map(|operation| values(operation).find_map(|value| when.get(value).copied()))
                .collect(),
            left: known.len(),
            known,
            unknown,
            front: 0,
            set: 0,
            past: Vec::new(),
            steps: 0,
            deepest: (usize::MAX, String::new()),
        }
    }

    fn run(&mut self) -> Verdict {
        let (state, past) = State::fresh();
        self.past = past;
        let mut memory = HashSet::new();
        let mut frames = vec![self.arrive(state)];
        while let Some(frame) = frames.last_mut() {
            if self.left == 0 {
                let revision = usize::try_from(frame.state.revision).unwrap();
                return Verdict::Legal(self.past[..=revision].iter().map(|moment| moment.events.clone()).collect());
            }
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Verdict::Undecided;
            }
            let before = frame.chosen.take();
            let next = frame.choices.pop();
            let revision = usize::try_from(frame.state.revision).unwrap();
            before.into_iter().for_each(|place| self.take_back(place));
            let Some((place, state, moment)) = next else {
                let left = frames.pop().expect("the last frame is there");
                left.reads.into_iter().for_each(|index| self.take_back(Place::Known(index)));
                continue;
            };
            frame.chosen = Some(place);
            self.place(place);
            self.past.truncate(revision + 1);
            self.past.extend(moment.map(Arc::new));
            if memory.insert((self.set, fingerprint(&state))) {
                let frame = self.arrive(state);
                frames.push(frame);
            }
        }
        Verdict::Illegal(std::mem::take(&mut self.deepest.1))
    }

    /// Places what only reads and finds what may be written next.
    fn arrive(&mut self, state: State) -> Frame {
        let mut reads = Vec::new();
        loop {
            let (mut writes, mut read) = (Vec::new(), None);
            for index in self.candidates() {
                let effect = state.apply(&self.past, &self.known[index].request);
                if !self.agrees(index, &effect) {
                    continue;
                }
                match effect.after {
                    None => read = Some(index),
                    Some((after, moment)) => writes.push((Place::Known(index), after, moment)),
                }
                if read.is_some() {
                    break;
                }
            }
            match read {
                Some(index) => {
                    self.place(Place::Known(index));
                    reads.push(index);
                }
                None => {
                    let choices = self.choices(&state, writes);
                    self.note(&state, &choices);
                    return Frame { state, reads, choices, chosen: None };
                }
            }
        }
    }

    /// What was sent before the first of the rest was answered.
    fn candidates(&self) -> Vec<usize> {
        let (mut found, mut first_end) = (Vec::new(), NEVER);
        for index in self.front..self.known.len() {
            if self.placed[index] {
                continue;
            }
            if self.known[index].call > first_end {
                break;
            }
            first_end = first_end.min(self.known[index].end);
            found.push(index);
        }
        found
    }

    fn agrees(&self, index: usize, effect: &Effect) -> bool {
        let Outcome::Answered(answer) = &self.known[index].outcome else { return false };
        *answer == effect.answer
    }

    /// What may be written next; the likeliest last, because it is taken first.
    fn choices(
        &self,
        state: &State,
        writes: Vec<(Place, State, Option<Moment>)>,
    ) -> Vec<(Place, State, Option<Moment>)> {
        let owner = self.owner.get(&(state.revision + 1));
        let may_write = |place: &Place| match (owner, place) {
            (Some(owner), Place::Known(index)) => owner == index,
            (Some(_), Place::Unknown(_)) => false,
            (None, Place::Unknown(index)) => self.pinned[*index].is_none_or(|pinned| pinned == state.revision + 1),
            (None, Place::Known(_)) => true,
        };
        let mut choices = self.unanswered(state);
        choices.extend(writes);
        choices.retain(|(place, _, moment)| match moment {
            None => true,
            Some(moment) => may_write(place) && self.was_observed(state.revision + 1, moment, owner.is_none()),
        });
        choices
    }

    /// Whether somebody knows better what an unclaimed revision wrote.
    fn was_observed(&self, revision: Revision, moment: &Moment, unclaimed: bool) -> bool {
        let wrote = |kv: &&KeyValue| moment.events.iter().any(|event| event.kv == **kv);
        !unclaimed
            || self.observed.get(&revision).is_none_or(|events| *events == moment.events)
                && self.shown.get(&revision).is_none_or(|shown| shown.iter().all(wrote))
    }

    fn unanswered(&self, state: &State) -> Vec<(Place, State, Option<Moment>)> {
        let candidates = self.candidates();
        let Some(first_end) = candidates.iter().map(|&index| self.known[index].end).min() else { return Vec::new() };
        let refused = |why| {
            let by = |&index: &usize| self.known[index].outcome == Outcome::Answered(Answer::Refused(why));
            candidates.iter().any(by)
        };
        let latest = self.latest_call(first_end);
        let (no_lease, compacted) = (refused(Refused::LeaseNotFound), refused(Refused::Compacted));
        let mut found = Vec::new();
        for (index, operation) in self.unknown.iter().enumerate() {
            if self.tried[index] || operation.call > first_end {
                continue;
            }
            let Some((after, moment)) = state.apply(&self.past, &operation.request).after else { continue };
            if moment.is_some() && operation.until < latest {
                continue;
            }
            // What changes no key matters only to an answer that says so, and is placed when that comes.
            let matters = match operation.request {
                Request::Compact { .. } => compacted,
                _ => moment.is_some() || no_lease,
            };
            if matters {
                found.push((Place::Unknown(index), after, moment));
            }
        }
        found
    }

    /// When the last of what is placed and has a revision was sent. Other answers fit before a write as well as after it, and
    /// where they were placed says nothing.
    fn latest_call(&self, first_end: u64) -> u64 {
        let last = self.known.partition_point(|operation| operation.call <= first_end);
        let has_revision = |index: &usize| {
            self.placed[*index] && matches!(self.known[*index].outcome, Outcome::Answered(Answer::Done { .. }))
        };
        (0..last).rev().find(has_revision).map_or(0, |index| self.known[index].call)
    }

    fn place(&mut self, place: Place) {
        self.set ^= zobrist(place);
        match place {
            Place::Unknown(index) => self.tried[index] = true,
            Place::Known(index) => {
                self.placed[index] = true;
                self.left -= 1;
                while self.front < self.placed.len() && self.placed[self.front] {
                    self.front += 1;
                }
            }
        }
    }

    fn take_back(&mut self, place: Place) {
        self.set ^= zobrist(place);
        match place {
            Place::Unknown(index) => self.tried[index] = false,
            Place::Known(index) => {
                self.placed[index] = false;
                self.left += 1;
                self.front = self.front.min(index);
            }
        }
    }

    /// Remembers how far the search came: the explanation of a failure.
    fn note(&mut self, state: &State, choices: &[(Place, State, Option<Moment>)]) {
        if self.left >= self.deepest.0 || !choices.is_empty() {
            return;
        }
        let mut text = format!("at revision {} (compacted {}), nothing fits:", state.revision, state.compacted);
        for index in self.candidates() {
            let operation = self.known[index];
            let wanted = state.apply(&self.past, &operation.request).answer;
            text += &format!(
                "\n  client {} asked {:?}\n    answered {:?}\n    here it would be {wanted:?}",
                operation.client, operation.request, operation.outcome
            );
        }
        if let Some(events) = self.observed.get(&(state.revision + 1)) {
            text += &format!("\n  a watch saw at revision {}: {events:?}", state.revision + 1);
        }
        self.deepest = (self.left, text);
    }
}

/// Every value that an operation may write.
fn values(operation: &Operation) -> impl Iterator<Item = &Bytes> {
    let acts = match &operation.request {
        Request::One(act) => [std::slice::from_ref(act), &[]],
        Request::Txn { then, otherwise, .. } => [&then[..], &otherwise[..]],
        _ => [&[][..], &[]],
    };
    acts.into_iter().flatten().filter_map(|act| match act {
        Act::Put { value, .. } => Some(value),
        _ => None,
    })
}

/// Every key that an answer shows.
fn seen(operation: &Operation) -> impl Iterator<Item = &KeyValue> {
    let did = match &operation.outcome {
        Outcome::Answered(Answer::Done { did, .. }) => &did[..],
        _ => &[],
    };
    did.iter().flat_map(|did| match did {
        Did::Range { found, .. } => &found[..],
        Did::Put { previous } => previous.as_slice(),
        Did::Delete { previous, .. } => &previous[..],
    })
}

/// The revision that an operation says it wrote.
fn claimed(operation: &Operation) -> Option<Revision> {
    let Outcome::Answered(Answer::Done { succeeded, did, revision }) = &operation.outcome else { return None };
    let wrote = |(act, did): (&Act, &Did)| match did {
        Did::Put { .. } => matches!(act, Act::Put { .. }),
        Did::Delete { deleted, .. } => *deleted > 0,
        Did::Range { .. } => false,
    };
    let acts = match &operation.request {
        Request::One(act) => std::slice::from_ref(act),
        Request::Txn { then, otherwise, .. } => {
            if *succeeded {
                then
            } else {
                otherwise
            }
        }
        _ => return None,
    };
    acts.iter().zip(did).any(wrote).then_some(*revision)
}

/// A lease ends by itself when its time is over, or later.
fn expiry(operation: &Operation) -> Option<Operation> {
    let Request::Grant { id, ttl_seconds } = operation.request else { return None };
    let life = u64::try_from(ttl_seconds).unwrap_or(0) * 1_000_000_000;
    Some(Operation {
        call: operation.call + life,
        end: NEVER,
        until: NEVER,
        request: Request::Expire { id },
        outcome: Outcome::Unknown("nobody asked".to_owned()),
        ..operation.clone()
    })
}

fn zobrist(place: Place) -> u64 {
    let number = match place {
        Place::Known(index) => index as u64 * 2,
        Place::Unknown(index) => index as u64 * 2 + 1,
    };
    // splitmix64: neighbours must not look alike, for their sum is the name of a set.
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    (state.revision, state.compacted, &state.leases, state.digest).hash(&mut hasher);
    hasher.finish()
}
