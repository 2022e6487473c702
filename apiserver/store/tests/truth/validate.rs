//! etcd's nine promises about watches, each checked on everything that a watch was sent.
//!
//! What should have been sent is known from the history of all operations, as an order of them that explains every answer
//! wrote it (see [`crate::linear`]), not from another watch.

use crate::history::{Event, Operation, Persisted, Request, Revision};
use crate::watching::{Asked, Reply, Watched, What};
use skiff_proto::etcd::mvccpb::KeyValue;
use std::collections::HashSet;

/// A promise that was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) promise: &'static str,
    pub(crate) how: String,
}

/// Checks one watch; `None`: nothing is wrong with it.
type Validator = fn(&Watched, &Truth<'_>) -> Option<String>;

/// In the order in which they are told.
const VALIDATORS: [(&str, Validator); 10] = [
    ("Ordered", ordered),
    ("Unique", unique),
    ("Atomic", atomic),
    ("Filter", filter),
    ("PrevKV", previous),
    ("IsCreate", is_create),
    ("Bookmarkable", bookmarkable),
    ("Resumable", resumable),
    ("Reliable", reliable),
    // Not etcd's: a watch ends only for a reason.
    ("Lasting", lasting),
];

/// What the validators compare with.
pub(crate) struct Truth<'a> {
    persisted: &'a Persisted,
    /// Compactions asked for: when, and to which revision.
    compactions: Vec<(u64, Revision)>,
}

impl<'a> Truth<'a> {
    pub(crate) fn new(persisted: &'a Persisted, operations: &[Operation]) -> Self {
        let compaction = |operation: &Operation| match operation.request {
            Request::Compact { revision, .. } => Some((operation.call, revision)),
            _ => None,
        };
        Truth { persisted, compactions: operations.iter().filter_map(compaction).collect() }
    }

    /// What may have been compacted by then.
    fn compacted_at(&self, at: u64) -> Revision {
        self.compactions.iter().filter(|(call, _)| *call <= at).map(|(_, revision)| *revision).max().unwrap_or(-1)
    }

    /// What happened to a key at a revision.
    fn event(&self, sent: &KeyValue) -> Option<&'a Event> {
        let revision = usize::try_from(sent.mod_revision).ok()?;
        self.persisted.get(revision)?.iter().rfind(|event| event.kv.key == sent.key)
    }
}

/// Every promise that one of `watches` breaks.
pub(crate) fn validate(watches: &[Watched], truth: &Truth<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for watch in watches {
        for (promise, validator) in VALIDATORS {
            let how = validator(watch, truth);
            broken.extend(how.map(|how| Broken { promise, how: format!("{how}\n    by {:?}", watch.asked) }));
        }
    }
    broken
}

fn events(watch: &Watched) -> impl Iterator<Item = (&Reply, &Event)> {
    watch.replies.iter().flat_map(|reply| {
        let events = match &reply.what {
            What::Events(events) => &events[..],
            _ => &[],
        };
        events.iter().map(move |event| (reply, event))
    })
}

/// Events come in the order of their revisions.
fn ordered(watch: &Watched, _: &Truth<'_>) -> Option<String> {
    let mut newest = 0;
    for (_, event) in events(watch) {
        if event.kv.mod_revision < newest {
            return Some(format!("{event:?} after revision {newest}"));
        }
        newest = event.kv.mod_revision;
    }
    None
}

/// No event comes twice.
fn unique(watch: &Watched, truth: &Truth<'_>) -> Option<String> {
    let mut seen = HashSet::new();
    for (_, event) in events(watch) {
        let revision = usize::try_from(event.kv.mod_revision).unwrap_or(0);
        // A transaction may delete a key and put it again at one revision.
        let times = truth.persisted.get(revision).map_or(1, |events| {
            events
                .iter()
                .filter(|other| other.kv.key == event.kv.key && other.deletion == event.deletion)
                .count()
                .max(1)
        });
        let new = (0..times).any(|time| seen.insert((event.kv.key.clone(), revision, event.deletion, time)));
        if !new {
            return Some(format!("twice: {event:?}"));
        }
    }
    None
}

/// The events of a revision come in one message.
fn atomic(watch: &Watched, _: &Truth<'_>) -> Option<String> {
    let mut newest = 0;
    for reply in &watch.replies {
        let What::Events(events) = &reply.what else { continue };
        let first = events.first().map_or(0, |event| event.kv.mod_revision);
        if first == newest {
            return Some(format!("revision {first} in two messages"));
        }
        newest = events.last().map_or(newest, |event| event.kv.mod_revision);
    }
    None
}

fn wants(asked: &Asked, event: &Event) -> bool {
    asked.keys.contains(&event.kv.key) && !(if event.deletion { asked.no_deletions } else { asked.no_puts })
}

/// Only what was asked for comes.
fn filter(watch: &Watched, _: &Truth<'_>) -> Option<String> {
    let (_, stray) = events(watch).find(|(_, event)| !wants(&watch.asked, event))?;
    Some(format!("not asked for: {stray:?}"))
}

/// What an event says it replaced is what stood there; only a compaction excuses silence.
fn previous(watch: &Watched, truth: &Truth<'_>) -> Option<String> {
    for (reply, event) in events(watch) {
        let expected = truth.event(&event.kv).and_then(|truth| truth.previous.as_ref());
        let right = match &event.previous {
            None if !watch.asked.previous || expected.is_none() => true,
            None => event.kv.mod_revision <= truth.compacted_at(reply.at),
            Some(_) if !watch.asked.previous => false,
            previous => previous.as_ref() == expected,
        };
        if !right {
            return Some(format!("{event:?} replaced {expected:?}"));
        }
    }
    None
}

/// A put says rightly whether it made the key.
fn is_create(watch: &Watched, truth: &Truth<'_>) -> Option<String> {
    for (_, event) in events(watch).filter(|(_, event)| !event.deletion) {
        let Some(expected) = truth.event(&event.kv).filter(|expected| !expected.deletion) else { continue };
        let says = event.kv.create_revision == event.kv.mod_revision;
        if says != expected.previous.is_none() || event.kv.create_revision != expected.kv.create_revision {
            return Some(format!("{event:?} replaced {:?}", expected.previous));
        }
    }
    None
}

/// After word of progress nothing older comes, and progress does not go back.
fn bookmarkable(watch: &Watched, _: &Truth<'_>) -> Option<String> {
    let mut progress = 0;
    for reply in &watch.replies {
        match &reply.what {
            What::Progress if reply.revision < progress => {
                return Some(format!("progress {} after progress {progress}", reply.revision));
            }
            What::Progress => progress = reply.revision,
            What::Events(events) => {
                let old = events.iter().find(|event| event.kv.mod_revision <= progress);
                if let Some(old) = old {
                    return Some(format!("{old:?} after progress {progress}"));
                }
            }
            _ => (),
        }
    }
    None
}

/// A watch begins where it was asked to.
fn resumable(watch: &Watched, truth: &Truth<'_>) -> Option<String> {
    let (_, first) = events(watch).next()?;
    let start = if watch.asked.start > 0 { watch.asked.start } else { watch.floor + 1 };
    if first.kv.mod_revision < start {
        return Some(format!("began before revision {start}: {first:?}"));
    }
    let missing = missed(watch, truth).next().filter(|missing| missing.kv.mod_revision < first.kv.mod_revision)?;
    Some(format!("began with {first:?}, not with {missing:?}"))
}

/// What should have come up to the last revision that did, and did not.
fn missed<'a>(watch: &'a Watched, truth: &Truth<'a>) -> impl Iterator<Item = &'a Event> {
    let sent: HashSet<_> = events(watch).map(|(_, event)| (&event.kv.key, event.kv.mod_revision)).collect();
    expected(watch, truth).filter(move |event| !sent.contains(&(&event.kv.key, event.kv.mod_revision)))
}

/// What a watch must have been sent by its end.
fn expected<'a>(watch: &'a Watched, truth: &Truth<'a>) -> impl Iterator<Item = &'a Event> {
    let created = watch.replies.iter().find(|reply| reply.what == What::Created);
    let now = created.map_or(Revision::MAX, |reply| reply.revision + 1);
    // "From now on" begins between the question and its answer.
    let start = match (watch.asked.start, events(watch).next()) {
        (0, Some((_, first))) => now.min(first.kv.mod_revision),
        (0, None) => now,
        (start, _) => start,
    };
    let upto = watch.upto().max(watch.stuck.unwrap_or(0));
    let index = |revision: Revision| usize::try_from(revision.max(0)).unwrap_or(usize::MAX).min(truth.persisted.len());
    let (from, to) = (index(start), index(upto.saturating_add(1)));
    let persisted: &'a [Vec<Event>] = truth.persisted.get(from..to).unwrap_or_default();
    persisted.iter().flatten().filter(|event| wants(&watch.asked, event))
}

/// Everything that happened comes, just as it happened.
fn reliable(watch: &Watched, truth: &Truth<'_>) -> Option<String> {
    let mut sent = events(watch).map(|(_, event)| event);
    for expected in expected(watch, truth) {
        match sent.next() {
            None => return Some(format!("missing: {expected:?}")),
            Some(event) if event.kv != expected.kv || event.deletion != expected.deletion => {
                return Some(format!("{event:?}\n    in place of {expected:?}"));
            }
            Some(_) => (),
        }
    }
    match (sent.next(), watch.stuck) {
        (Some(event), _) => Some(format!("never happened: {event:?}")),
        (None, Some(last)) => Some(format!("was never told of revision {last}, only of {}", watch.upto())),
        (None, None) => None,
    }
}

/// A watch is cancelled only because history that it has still to see is gone.
fn lasting(watch: &Watched, truth: &Truth<'_>) -> Option<String> {
    let reply = watch.replies.iter().find(|reply| matches!(reply.what, What::Compacted(_) | What::Canceled(_)))?;
    match &reply.what {
        What::Compacted(to) if *to > watch.upto() + 1 && *to <= truth.compacted_at(reply.at) => None,
        other => Some(format!("{other:?}, although it was sent everything up to {}", watch.upto())),
    }
}
