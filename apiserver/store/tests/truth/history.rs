//! What was asked, when, and what came of it.

use bytes::Bytes;
use skiff_proto::etcd::mvccpb::KeyValue;
use std::sync::OnceLock;
use std::time::Instant;

/// The store's counter of writes.
pub(crate) type Revision = i64;

/// Nanoseconds since this process first asked.
pub(crate) fn now() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(BEGUN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
}

/// Later than any time.
pub(crate) const NEVER: u64 = u64::MAX;

/// Keys in etcd's convention: an empty end is one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Keys {
    pub(crate) from: Bytes,
    pub(crate) end: Bytes,
}

impl Keys {
    pub(crate) fn one(key: impl Into<Bytes>) -> Self {
        Keys { from: key.into(), end: Bytes::new() }
    }

    /// Every key that starts with `prefix`, whose last byte is not the greatest.
    pub(crate) fn below(prefix: &'static str) -> Self {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        Keys { from: prefix.into(), end: end.into() }
    }

    pub(crate) fn contains(&self, key: &Bytes) -> bool {
        if self.end.is_empty() { *key == self.from } else { self.from <= *key && *key < self.end }
    }
}

/// What a condition looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Modified(Revision),
    Version(i64),
    Value(Bytes),
}

/// Holds if the key shows just this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) key: Bytes,
    pub(crate) seen: Seen,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Range { keys: Keys, revision: Revision, limit: usize },
    Put { key: Bytes, value: Bytes, lease: i64, want_previous: bool },
    Delete { keys: Keys, want_previous: bool },
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// A step by itself, by the method of its own.
    One(Act),
    Txn {
        conditions: Vec<Condition>,
        then: Vec<Act>,
        otherwise: Vec<Act>,
    },
    Grant {
        id: i64,
        ttl_seconds: i64,
    },
    Revoke {
        id: i64,
    },
    Compact {
        revision: Revision,
        physical: bool,
    },
    /// Nobody asks for it: the end of a lease's time.
    Expire {
        id: i64,
    },
}

impl Request {
    /// Whether it can only read, whatever happens.
    pub(crate) fn only_reads(&self) -> bool {
        let reads = |act: &Act| matches!(act, Act::Range { .. });
        match self {
            Request::One(act) => reads(act),
            Request::Txn { then, otherwise, .. } => then.iter().chain(otherwise).all(reads),
            _ => false,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Did {
    Range { found: Vec<KeyValue>, count: i64, more: bool },
    Put { previous: Option<KeyValue> },
    Delete { deleted: i64, previous: Vec<KeyValue> },
}

/// Why it was not done. It certainly was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Compacted,
    Future,
    LeaseNotFound,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Done {
        succeeded: bool,
        did: Vec<Did>,
        revision: Revision,
    },
    /// To what has nothing to say.
    Fine,
    Refused(Refused),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Answered(Answer),
    /// It may have happened, or happen later, or never.
    Unknown(String),
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    /// When it was sent.
    pub(crate) call: u64,
    /// When it was answered; [`NEVER`] if it was not.
    pub(crate) end: u64,
    /// Without an answer it has happened by then, or never: the store that it was sent to is gone, and nobody sends it again.
    pub(crate) until: u64,
    pub(crate) request: Request,
    pub(crate) outcome: Outcome,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// What stands there; of a deletion only key and revision.
    pub(crate) kv: KeyValue,
    pub(crate) deletion: bool,
    pub(crate) previous: Option<KeyValue>,
}

/// The changes of every revision; index 0 and 1 are empty.
pub(crate) type Persisted = Vec<Vec<Event>>;
