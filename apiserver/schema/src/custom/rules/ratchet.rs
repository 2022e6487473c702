//! What was wrong before and has not changed may stay: values and those that they replace, walked together.

use super::super::lists::key_of;
use super::super::structural::{Elements, Structural};
use serde_json::Value;
use std::collections::HashMap;

/// A value, the value that it replaces, and their schema.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) new: &'a Value,
    pub(super) old: &'a Value,
    pub(super) schema: &'a Structural,
}

impl<'a> Pair<'a> {
    fn key(self, name: &str) -> Option<Self> {
        let schema = self.schema.field(name)?;
        Some(Self { new: self.new.get(name)?, old: self.old.get(name)?, schema })
    }

    /// The element `new`, which replaces `old`.
    fn element(self, new: &'a Value, old: &'a Value) -> Option<Self> {
        Some(Self { new, old, schema: self.schema.items.as_deref()? })
    }

    /// Whether nothing has changed; elements of a list that is a map may have changed their places.
    fn is_same(self) -> bool {
        match (self.new, self.old) {
            (Value::Array(new), Value::Array(old)) if matches!(self.schema.list, Elements::Map(_)) => {
                let replaced = Replaced::of(self.schema, Some(self.old));
                let same = |new| replaced.by(new).and_then(|old| self.element(new, old)).is_some_and(Self::is_same);
                new.len() == old.len() && new.iter().all(same)
            }
            (Value::Object(new), Value::Object(old)) => {
                new.len() == old.len() && new.keys().all(|name| self.key(name).is_some_and(Self::is_same))
            }
            (new, old) => new == old,
        }
    }
}

/// Elements of a list that is a map, by the fields that tell them apart. Of other lists nobody knows what replaces what.
pub(super) struct Replaced<'a> {
    keys: &'a [Box<str>],
    elements: HashMap<String, &'a Value>,
}

impl<'a> Replaced<'a> {
    pub(super) fn of(schema: &'a Structural, old: Option<&'a Value>) -> Self {
        let Elements::Map(keys) = &schema.list else { return Self { keys: &[], elements: HashMap::new() } };
        let old = old.and_then(Value::as_array).into_iter().flatten();
        Self { keys, elements: old.map(|old| (key_of(old, keys).to_string(), old)).collect() }
    }

    /// The element that `new` replaces.
    pub(super) fn by(&self, new: &Value) -> Option<&'a Value> {
        if self.elements.is_empty() { None } else { self.elements.get(&key_of(new, self.keys).to_string()).copied() }
    }
}

/// What is known about the value at hand and the one that it replaces.
#[derive(Clone, Copy, Default)]
pub(super) struct Ratchet<'a> {
    /// The value itself; `None`: it is not known what it replaces.
    current: Option<Pair<'a>>,
    /// The nearest value around it of which it is known.
    around: Option<Pair<'a>>,
}

impl<'a> Ratchet<'a> {
    /// Of a whole object; without an old one everything is new.
    pub(super) fn of(pair: Option<Pair<'a>>) -> Self {
        Self { current: pair, around: None }
    }

    pub(super) fn key(self, name: &str) -> Self {
        let Some(current) = self.current else { return self };
        // Both objects are converted to the same type before they are looked at, so that these two never seem to change.
        if self.around.is_none() && matches!(name, "apiVersion" | "kind") {
            return Self::default();
        }
        Self { current: current.key(name), around: self.current }
    }

    pub(super) fn element(self, new: &'a Value, old: Option<&'a Value>) -> Self {
        let Some(current) = self.current else { return self };
        Self { current: old.and_then(|old| current.element(new, old)), around: self.current }
    }

    /// Whether what is wrong here was wrong before.
    pub(super) fn forgives(self) -> bool {
        self.current.or(self.around).is_some_and(Pair::is_same)
    }
}
