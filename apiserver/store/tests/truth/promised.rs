//! The validators, checked: each takes what a correct watch delivers, and refuses what breaks its promise.

use crate::checked::legal;
use crate::history::{Event, Keys, NEVER, Operation, Persisted};
use crate::linear::{Verdict, check};
use crate::validate::{Truth, validate};
use crate::watching::{Asked, Reply, Watched, What};
use std::collections::HashMap;

/// A history and what happened in it. It has all that the mutations below need.
fn happened() -> (Vec<Operation>, Persisted) {
    // A seed whose keys have the prefix "key", and no lost answers.
    let history: Vec<_> = legal(6, 6, 400).into_iter().filter(|operation| operation.end != NEVER).collect();
    match check(&history, &HashMap::new()) {
        Verdict::Legal(persisted) => (history, persisted),
        other => panic!("{other:?}"),
    }
}

fn reply(revision: i64, what: What) -> Reply {
    // Before any compaction: none excuses a missing previous value.
    Reply { at: 0, revision, what }
}

/// What a correct store sends: a message for each revision, and word of progress now and then.
fn correct(persisted: &Persisted) -> Watched {
    let asked = Asked {
        keys: Keys::below("key"),
        start: 2,
        previous: true,
        no_puts: false,
        no_deletions: false,
        progress: true,
    };
    let mut replies = vec![reply(1, What::Created)];
    for (revision, events) in persisted.iter().enumerate().filter(|(_, events)| !events.is_empty()) {
        let revision = i64::try_from(revision).unwrap();
        replies.push(reply(revision, What::Events(events.clone())));
        if revision % 10 == 0 {
            replies.push(reply(revision, What::Progress));
        }
    }
    Watched { asked, floor: 1, replies, collects: false, stuck: None }
}

fn events(reply: &mut Reply) -> Option<&mut Vec<Event>> {
    match &mut reply.what {
        What::Events(events) => Some(events),
        _ => None,
    }
}

/// The message, not the first, whose events fit.
fn find(watch: &Watched, fits: impl Fn(&[Event]) -> bool) -> usize {
    let fits = |reply: &Reply| matches!(&reply.what, What::Events(events) if fits(events));
    let after = watch.replies.len() / 2;
    after + watch.replies[after..].iter().position(fits).unwrap()
}

/// Breaks one promise.
type Break = fn(&mut Watched);

const BREAKS: [(&str, Break); 13] = [
    ("Ordered", |watch| {
        let index = find(watch, |_| true);
        let moved = watch.replies.remove(index);
        watch.replies.push(moved);
    }),
    ("Unique", |watch| {
        let index = find(watch, |events| events.len() == 1);
        let events = events(&mut watch.replies[index]).unwrap();
        events.push(events[0].clone());
    }),
    ("Atomic", |watch| {
        let index = find(watch, |events| events.len() > 1);
        let rest = events(&mut watch.replies[index]).unwrap().split_off(1);
        let revision = watch.replies[index].revision;
        watch.replies.insert(index + 1, reply(revision, What::Events(rest)));
    }),
    ("Filter", |watch| watch.asked.no_deletions = true),
    ("Filter", |watch| watch.asked.no_puts = true),
    ("Filter", |watch| watch.asked.keys = Keys::one("key1")),
    ("PrevKV", |watch| {
        let index = find(watch, |events| events[0].previous.is_some());
        let event = &mut events(&mut watch.replies[index]).unwrap()[0];
        event.previous.as_mut().unwrap().value = "another".into();
    }),
    ("PrevKV", |watch| {
        let index = find(watch, |events| events[0].previous.is_some());
        events(&mut watch.replies[index]).unwrap()[0].previous = None;
    }),
    ("IsCreate", |watch| {
        let index = find(watch, |events| events[0].previous.is_some() && !events[0].deletion);
        let event = &mut events(&mut watch.replies[index]).unwrap()[0];
        event.kv.create_revision = event.kv.mod_revision;
    }),
    ("Bookmarkable", |watch| {
        let index = find(watch, |_| true);
        let revision = watch.replies[index].revision;
        watch.replies.insert(index, reply(revision, What::Progress));
    }),
    ("Resumable", |watch| drop(watch.replies.remove(1))),
    ("Reliable", |watch| {
        let index = find(watch, |_| true);
        watch.replies.remove(index);
    }),
    ("Lasting", |watch| watch.replies.push(reply(0, What::Compacted(3)))),
];

#[test]
fn every_broken_promise_is_noticed() {
    let (history, persisted) = happened();
    let truth = Truth::new(&persisted, &history);
    let right = correct(&persisted);
    assert_eq!(validate(std::slice::from_ref(&right), &truth), []);
    for (promise, broken) in BREAKS {
        let mut watch = right.clone();
        broken(&mut watch);
        let found = validate(&[watch], &truth);
        assert!(found.iter().any(|found| found.promise == promise), "{promise}: {found:?}");
    }
}
