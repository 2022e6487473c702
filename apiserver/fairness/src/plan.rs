//! Which schema and level a request belongs to: what requests read, and what is replaced as a whole when an object changes.

use crate::asked::Asked;
use crate::flow::Flow;
use crate::level::Level;
use crate::schema::{By, Schema};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// The schema that takes whatever no other takes.
pub(crate) const CATCH_ALL: &str = "catch-all";

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct User<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its groups.
    pub groups: &'a [String],
}

/// One schema, and where its requests go.
#[derive(Debug)]
pub struct Entry<W> {
    /// What it takes.
    pub schema: Schema,
    /// What is counted.
    pub flow: Arc<Flow>,
    /// Where its requests go.
    pub level: Arc<Level<W>>,
    /// The identity of the level's object; empty as long as it is not stored.
    pub level_uid: String,
    /// Whether the level keeps no request waiting.
    pub is_exempt: bool,
}

impl<W> Entry<W> {
    /// What tells the flow of a request from others of the schema.
    #[must_use]
    pub fn distinguisher<'a>(&self, user: &User<'a>, asked: &Asked<'a>) -> &'a str {
        match self.schema.by {
            Some(By::User) => user.name,
            Some(By::Namespace) => asked.named.map(|named| named.namespace).unwrap_or_default(),
            None => "",
        }
    }
}

/// Schemas in the order in which they are asked.
#[derive(Debug)]
pub struct Plan<W> {
    entries: Vec<Entry<W>>,
    hasher: RandomState,
}

impl<W> Plan<W> {
    /// Entries in any order; hashes are such that nobody can foresee who shares queues with whom.
    pub(crate) fn new(mut entries: Vec<Entry<W>>, hasher: RandomState) -> Self {
        entries.sort_by(|one, other| {
            let key = |entry: &Entry<W>| (entry.schema.precedence, entry.schema.name.clone());
            key(one).cmp(&key(other))
        });
        Self { entries, hasher }
    }

    /// Where a request belongs: to the first schema that takes it, or to the one for all others.
    /// There is one at all times; `None` is an empty plan.
    #[must_use]
    pub fn find(&self, user: &User<'_>, asked: &Asked<'_>) -> Option<&Entry<W>> {
        let first = self.entries.iter().find(|entry| entry.schema.takes(user, asked));
        first.or_else(|| self.entries.iter().find(|entry| entry.schema.name == CATCH_ALL))
    }

    /// The hash of a flow.
    #[must_use]
    pub fn hash(&self, entry: &Entry<W>, distinguisher: &str) -> u64 {
        self.hasher.hash_one((&*entry.schema.name, distinguisher))
    }
}
