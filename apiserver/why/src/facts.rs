//! What is known: answers to requests, by their paths; and which answers were missed.

use crate::paths;
use jiff::Timestamp;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What became of one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// The answer: an object or a list; of logs, a text.
    Is(Value),
    /// There is no such thing (404).
    Absent,
    /// It could not be had, and why.
    Unknown(String),
}

/// All answers so far.
#[derive(Debug)]
pub struct Facts {
    /// The time.
    pub now: Timestamp,
    told: BTreeMap<String, Told>,
    // Written while an explanation reads.
    asks: RefCell<BTreeSet<String>>,
    unknown: RefCell<BTreeSet<String>>,
}

/// What a look at one path finds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Look<'a> {
    Is(&'a Value),
    Absent,
    /// Not to be had, or not asked for yet.
    Unknown,
}

impl<'a> Look<'a> {
    /// What is there, if anything is known to be.
    pub(crate) fn is(self) -> Option<&'a Value> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Unknown => None,
        }
    }
}

impl Facts {
    /// Nothing is known yet at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now, told: BTreeMap::new(), asks: RefCell::default(), unknown: RefCell::default() }
    }

    /// Takes in what became of the request for `path`.
    pub fn tell(&mut self, path: impl Into<String>, told: Told) {
        self.told.insert(path.into(), told);
    }

    /// What is at `path`. What was not asked for yet is noted, and so is what cannot be known.
    pub(crate) fn get(&self, path: &str) -> Look<'_> {
        if let Some(Told::Unknown(why)) = self.told.get(path) {
            self.unknown.borrow_mut().insert(format!("{path}: {why}"));
        }
        self.peek(path)
    }

    /// The same of what only some clusters have: that it cannot be known is not told.
    pub(crate) fn peek(&self, path: &str) -> Look<'_> {
        match self.told.get(path) {
            Some(Told::Is(value)) => Look::Is(value),
            Some(Told::Absent) => Look::Absent,
            Some(Told::Unknown(_)) => Look::Unknown,
            None => {
                self.asks.borrow_mut().insert(path.to_owned());
                Look::Unknown
            }
        }
    }

    /// What the kubelet of `node` knows, if it is one of ours.
    pub(crate) fn known(&self, node: &str) -> Option<&Value> {
        self.peek(&paths::kubelet(node, paths::KNOWN)).is()
    }

    /// Why `path` could not be had, if it was tried.
    pub(crate) fn refusal(&self, path: &str) -> Option<&str> {
        match self.told.get(path) {
            Some(Told::Unknown(why)) => Some(why),
            _ => None,
        }
    }

    /// The items of the list at `path`; `None`: not known.
    pub(crate) fn list(&self, path: &str) -> Option<&[Value]> {
        match self.get(path) {
            Look::Is(list) => Some(list["items"].as_array().map(Vec::as_slice).unwrap_or_default()),
            Look::Absent => Some(&[]),
            Look::Unknown => None,
        }
    }

    /// What was missed since the last call.
    pub(crate) fn take_asks(&self) -> Vec<String> {
        std::mem::take(&mut *self.asks.borrow_mut()).into_iter().collect()
    }

    /// What cannot be known of that which was looked at, a line each.
    pub(crate) fn unknown(&self) -> Vec<String> {
        self.unknown.borrow().iter().cloned().collect()
    }
}
