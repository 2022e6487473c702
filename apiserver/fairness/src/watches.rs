//! Who is told of a write: watches, counted by what they are about.

use crate::asked::Named;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Counts of watches by group, resource, namespace and name. Keys are hashes that nobody can foresee: to look one up copies nothing.
#[derive(Debug)]
pub struct Watches {
    hasher: RandomState,
    counts: Mutex<HashMap<u64, u32>>,
}

/// One watch, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched(u64);

impl Watches {
    /// None yet.
    #[must_use]
    pub fn new(hasher: RandomState) -> Self {
        Self { hasher, counts: Mutex::default() }
    }

    /// Counts one more.
    pub fn begin(&self, named: &Named<'_>) -> Watched {
        let key = self.key(named, named.namespace, named.name);
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
        Watched(key)
    }

    /// Counts one less.
    pub fn end(&self, watched: Watched) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&watched.0) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&watched.0);
            }
        }
    }

    /// How many are told of a write of what is named: those of all namespaces, of its own, and of the object alone.
    #[must_use]
    pub fn told(&self, named: &Named<'_>) -> u32 {
        let all = (!named.namespace.is_empty()).then_some(("", ""));
        let one = (!named.name.is_empty()).then_some((named.namespace, named.name));
        let keys =
            [all, Some((named.namespace, "")), one].map(|place| place.map(|(of, name)| self.key(named, of, name)));
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        keys.into_iter().flatten().filter_map(|key| counts.get(&key)).sum()
    }

    fn key(&self, named: &Named<'_>, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((named.group, named.resource, namespace, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_of_all_of_a_namespace_and_of_one_are_told() {
        let watches = Watches::new(RandomState::new());
        let at = |namespace, name| Named { resource: "pods", version: "v1", namespace, name, ..Named::default() };
        let begun: Vec<Watched> = [("", ""), ("a", ""), ("a", ""), ("b", ""), ("a", "p")]
            .map(|(of, name)| watches.begin(&at(of, name)))
            .into();
        let told = |namespace, name| watches.told(&at(namespace, name));
        assert_eq!([told("a", "p"), told("a", "q"), told("a", ""), told("b", "p"), told("", "")], [4, 3, 3, 2, 1]);
        begun.into_iter().for_each(|watched| watches.end(watched));
        assert!(watches.counts.lock().expect("sound").is_empty());
    }
}
