//! What changes in a table whose frame stays, and the changes that lead from one state of it to another. No I/O.
//!
//! ```text
//!  frame      base chains, their rules, sets that are always there     made once, with the table
//!  contents   chains, sets, elements                                   changed by their differences
//! ```
//!
//! Whoever does not know what a table holds replaces it: that is one transaction as well, so packets meet the old rules or the new
//! ones. Whoever knows sends as many changes as there are differences, which is what keeps ten thousand services cheap.

use super::Expression;
use super::transaction::{Chain, Change, Data, Element, Rule, Set};
use std::collections::{BTreeMap, BTreeSet};

/// What a table always holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Sets and maps.
    pub sets: Vec<Set>,
    /// Base chains and others.
    pub chains: Vec<Chain>,
    /// Rules of these chains.
    pub rules: Vec<Rule>,
}

/// What a table holds beside its frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Rules of chains without a hook, by the chain's name.
    pub chains: BTreeMap<String, Vec<Vec<Expression>>>,
    /// Sets by name; a name always means the same type.
    pub sets: BTreeMap<String, Set>,
    /// Elements of these sets and of the frame's, by set and key. What rules add to a set by themselves (`SetKind::Remembered`) is
    /// not among them.
    pub elements: BTreeMap<(String, Vec<u8>), Data>,
}

impl Contents {
    /// Changes that replace whatever table is there by `frame` with this in it.
    #[must_use]
    pub fn replace(&self, frame: Frame) -> Vec<Change> {
        // Removing a table that may not be there: ensure it first.
        let mut changes = vec![Change::EnsureTable, Change::RemoveTable, Change::EnsureTable];
        changes.extend(frame.sets.into_iter().map(Change::AddSet));
        changes.extend(frame.chains.into_iter().map(Change::AddChain));
        changes.extend(frame.rules.into_iter().map(Change::AddRule));
        changes.extend(self.changes_since(&Self::default()));
        changes
    }

    /// Changes that make this of `old`, if the table is as `old` says; else the kernel refuses one of them
    /// ([`NftError::is_surprise`](super::NftError::is_surprise)), and the table is to be replaced. There are as many as there are
    /// differences. The order is the kernel's: a thing exists before something refers to it, and nothing refers to it when it goes.
    #[must_use]
    pub fn changes_since(&self, old: &Self) -> Vec<Change> {
        let new_sets = self.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name));
        let mut changes: Vec<_> = new_sets.map(|(_, set)| Change::AddSet(set.clone())).collect();
        let new_chains = self.chains.keys().filter(|name| !old.chains.contains_key(*name));
        changes.extend(new_chains.map(|name| Change::AddChain(Chain { name: name.clone(), base: None })));
        for (name, rules) in &self.chains {
            changes.extend(chain_changes(name, old.chains.get(name), rules));
        }
        let gone_sets: BTreeSet<&String> = old.sets.keys().filter(|name| !self.sets.contains_key(*name)).collect();
        // The elements of a set that goes go with it.
        changes.extend(old.difference(self, |set| !gone_sets.contains(set), Change::RemoveElements));
        changes.extend(self.difference(old, |_| true, Change::AddElements));
        let gone: Vec<_> = old.chains.keys().filter(|name| !self.chains.contains_key(*name)).collect();
        changes.extend(gone.iter().map(|name| Change::FlushChain((*name).clone())));
        changes.extend(gone.iter().map(|name| Change::RemoveChain((*name).clone())));
        changes.extend(gone_sets.into_iter().map(|name| Change::RemoveSet(name.clone())));
        changes
    }

    /// The elements that this has and `other` has not, or has with another target; one change for each set that `is_meant`.
    fn difference(
        &self,
        other: &Self,
        is_meant: impl Fn(&String) -> bool,
        change: fn(String, Vec<Element>) -> Change,
    ) -> Vec<Change> {
        let mut by_set: BTreeMap<&String, Vec<Element>> = BTreeMap::new();
        for (place, data) in self.elements.iter().filter(|((set, _), _)| is_meant(set)) {
            if other.elements.get(place) != Some(data) {
                let (set, key) = place;
                by_set.entry(set).or_default().push(Element { key: key.clone(), data: data.clone() });
            }
        }
        by_set.into_iter().map(|(set, elements)| change(set.clone(), elements)).collect()
    }
}

/// Changes of the rules of one chain, which exists. Rules have no names of their own, so a chain in which one differs is
/// emptied and filled again.
fn chain_changes(name: &str, before: Option<&Vec<Vec<Expression>>>, rules: &[Vec<Expression>]) -> Vec<Change> {
    let mut changes = match before {
        Some(before) if before == rules => return Vec::new(),
        Some(_) => vec![Change::FlushChain(name.to_owned())],
        None => Vec::new(),
    };
    let rule = |expressions: &Vec<Expression>| Rule { chain: name.to_owned(), expressions: expressions.clone() };
    changes.extend(rules.iter().map(|expressions| Change::AddRule(rule(expressions))));
    changes
}
