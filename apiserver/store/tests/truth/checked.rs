//! The checker, checked: it takes every history that a correct store could make, and refuses what a wrong one could.

// Some mutations shorten the history, so all take it whole.
#![allow(clippy::ptr_arg)]

use crate::history::{Act, Answer, Did, NEVER, Operation, Outcome, Request};
use crate::linear::{Verdict, check};
use crate::model::{Moment, State};
use crate::traffic::{Client, Profile};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use std::sync::Arc;

/// A history of clients on the model itself: each call takes effect at some time between question and answer, or its answer
/// gets lost. Nothing here but the model decides what is right.
pub(crate) fn legal(seed: u64, clients: usize, count: usize) -> Vec<Operation> {
    let mut random = StdRng::seed_from_u64(seed);
    // Every third loses no answer.
    let loss = if seed.is_multiple_of(3) { 0.0 } else { 0.04 };
    let profile = if seed.is_multiple_of(2) { Profile::Etcd } else { Profile::Kubernetes };
    let mut askers: Vec<_> =
        (0..clients).map(|number| Client::new(number, profile, StdRng::seed_from_u64(random.random()))).collect();
    let (mut state, mut past) = State::fresh();
    // Of each client: what it asked and when, and what the store did.
    let mut under_way: Vec<Option<(u64, Request, Option<Answer>)>> = vec![None; clients];
    let (mut done, mut lost, mut time) = (Vec::new(), Vec::new(), 0);
    while done.len() < count {
        time += 1;
        let client = random.random_range(0..clients);
        match under_way[client].take() {
            None => under_way[client] = Some((time, ask(&mut askers[client], &state, &mut random), None)),
            Some((call, request, None)) => {
                if random.random_bool(loss) {
                    lost.push(request.clone());
                    done.push(unanswered(client, call, request));
                } else {
                    let answer = take(&mut state, &mut past, &request);
                    under_way[client] = Some((call, request, Some(answer)));
                }
            }
            Some((call, request, Some(answer))) => {
                if random.random_bool(loss) {
                    done.push(unanswered(client, call, request));
                    continue;
                }
                let outcome = Outcome::Answered(answer);
                askers[client].learn(&request, &outcome);
                done.push(Operation { client, call, end: time, until: NEVER, request, outcome });
            }
        }
        if random.random_bool(0.02) {
            lost.shuffle(&mut random);
            lost.pop().into_iter().for_each(|request| drop(take(&mut state, &mut past, &request)));
        }
    }
    for (client, asked) in under_way.into_iter().enumerate() {
        // Whoever was not served yet has not asked.
        let Some((call, request, Some(answer))) = asked else { continue };
        let outcome = Outcome::Answered(answer);
        done.push(Operation { client, call, end: time + 1, until: NEVER, request, outcome });
    }
    done
}

fn ask(client: &mut Client, state: &State, random: &mut StdRng) -> Request {
    if random.random_bool(0.01) { crate::traffic::compaction(random, state.revision) } else { client.request() }
}

fn unanswered(client: usize, call: u64, request: Request) -> Operation {
    Operation { client, call, end: NEVER, until: NEVER, request, outcome: Outcome::Unknown("lost".to_owned()) }
}

fn take(state: &mut State, past: &mut Vec<Arc<Moment>>, request: &Request) -> Answer {
    let effect = state.apply(past, request);
    if let Some((after, moment)) = effect.after {
        *state = after;
        past.extend(moment.map(Arc::new));
    }
    effect.answer
}

fn is_legal(history: &[Operation]) -> bool {
    matches!(check(history, &HashMap::new()), Verdict::Legal(_))
}

/// Ways to make a history wrong. Each returns whether it found something to change.
type Mutation = fn(&mut Vec<Operation>, &mut StdRng) -> bool;

const MUTATIONS: [(&str, Mutation); 6] = [
    ("a write that was answered is lost", lose_write),
    ("a read shows another value", other_value),
    ("a read is stale", stale_read),
    ("a revision is skipped", skip_revision),
    ("two writes claim one revision", same_revision),
    ("a condition that did not hold did", flip_condition),
];

fn answered<'a>(
    history: &'a mut [Operation],
    random: &mut StdRng,
    fits: impl Fn(&Operation) -> bool,
) -> Option<&'a mut Operation> {
    let mut found: Vec<_> = history.iter_mut().filter(|operation| operation.end != NEVER && fits(operation)).collect();
    if found.is_empty() {
        return None;
    }
    let index = random.random_range(0..found.len());
    Some(found.swap_remove(index))
}

fn is_put(operation: &Operation) -> bool {
    matches!(operation.request, Request::One(Act::Put { lease: 0, .. }))
        && matches!(operation.outcome, Outcome::Answered(Answer::Done { .. }))
}

fn shows_something(operation: &Operation) -> bool {
    let shows = |did: &Did| matches!(did, Did::Range { found, .. } if !found.is_empty());
    matches!(&operation.request, Request::One(_))
        && matches!(&operation.outcome, Outcome::Answered(Answer::Done { did, .. }) if did.iter().any(shows))
}

fn lose_write(history: &mut Vec<Operation>, random: &mut StdRng) -> bool {
    // One whose place nobody without an answer can take: then there must be none of those.
    history.retain(|operation| operation.end != NEVER || operation.request.only_reads());
    if !is_legal(history) {
        return false;
    }
    let last = history.iter().map(revision).max().unwrap_or(0);
    let Some(lost) = answered(history, random, |operation| is_put(operation) && revision(operation) < last) else {
        return false;
    };
    lost.request = Request::One(Act::Range { keys: crate::history::Keys::one("nothing"), revision: 0, limit: 0 });
    let Outcome::Answered(Answer::Done { did, .. }) = &mut lost.outcome else { return false };
    *did = vec![Did::Range { found: Vec::new(), count: 0, more: false }];
    true
}

fn revision(operation: &Operation) -> i64 {
    match &operation.outcome {
        Outcome::Answered(Answer::Done { revision, .. }) => *revision,
        _ => 0,
    }
}

fn other_value(history: &mut Vec<Operation>, random: &mut StdRng) -> bool {
    let Some(read) = answered(history, random, shows_something) else { return false };
    let Outcome::Answered(Answer::Done { did, .. }) = &mut read.outcome else { return false };
    let Some(Did::Range { found, .. }) = did.first_mut() else { return false };
    found[0].value = "nobody wrote this".into();
    true
}

fn stale_read(history: &mut Vec<Operation>, random: &mut StdRng) -> bool {
    let first = |operation: &Operation| matches!(operation.request, Request::One(Act::Range { revision: 0, .. }));
    let Some(read) = answered(history, random, |read| first(read) && revision(read) > 5).cloned() else { return false };
    let last = history.iter().filter(|operation| operation.end != NEVER);
    let (newest, end) = last.fold((0, 0), |(newest, end), other| (revision(other).max(newest), end.max(other.end)));
    if newest <= revision(&read) {
        return false;
    }
    history.push(Operation { call: end + 1, end: end + 2, ..read });
    true
}

fn skip_revision(history: &mut Vec<Operation>, random: &mut StdRng) -> bool {
    let Some(write) = answered(history, random, is_put) else { return false };
    let Outcome::Answered(Answer::Done { revision, .. }) = &mut write.outcome else { return false };
    *revision += 100_000;
    true
}

fn same_revision(history: &mut Vec<Operation>, random: &mut StdRng) -> bool {
    let Some(one) = answered(history, random, is_put).cloned() else { return false };
    let other = answered(history, random, |other| is_put(other) && revision(other) != revision(&one));
    let Some(other) = other else { return false };
    let Outcome::Answered(Answer::Done { revision: claimed, .. }) = &mut other.outcome else { return false };
    *claimed = revision(&one);
    true
}

fn flip_condition(history: &mut Vec<Operation>, random: &mut StdRng) -> bool {
    let conditional = |operation: &Operation| {
        matches!(&operation.request, Request::Txn { conditions, .. } if !conditions.is_empty())
            && matches!(operation.outcome, Outcome::Answered(Answer::Done { .. }))
    };
    let Some(txn) = answered(history, random, conditional) else { return false };
    let Outcome::Answered(Answer::Done { succeeded, .. }) = &mut txn.outcome else { return false };
    *succeeded = !*succeeded;
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_correct_store_does_is_legal(seed: u64, clients in 1_usize..10, count in 1_usize..300) {
        let history = legal(seed, clients, count);
        if let Verdict::Illegal(why) = check(&history, &HashMap::new()) {
            prop_assert!(false, "{why}");
        }
    }

    #[test]
    fn what_no_correct_store_does_is_not(seed: u64, which in 0..MUTATIONS.len(), count in 50_usize..300) {
        let mut history = legal(seed, 6, count);
        let (what, mutate) = MUTATIONS[which];
        if mutate(&mut history, &mut StdRng::seed_from_u64(seed)) {
            prop_assert!(!is_legal(&history), "{what}, and nobody noticed");
        }
    }
}

/// So that the property above is not empty.
#[test]
fn every_mutation_finds_something_to_change() {
    for (what, mutate) in MUTATIONS {
        let found = (0..20).filter(|&seed| mutate(&mut legal(seed * 6, 6, 200), &mut StdRng::seed_from_u64(seed)));
        assert!(found.count() >= 5, "{what}");
    }
}
