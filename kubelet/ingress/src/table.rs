//! All rules of a port, so that the one for a request is found by its host: names by hash, wildcards from the longest to the shortest.

use crate::route::{Asked, Host, Rule};
use std::collections::HashMap;

/// The rules of a port; it is never changed, another one takes its place.
#[derive(Debug)]
pub struct Table<A> {
    by_name: HashMap<String, Vec<Rule<A>>>,
    /// By what follows `*.`.
    by_suffix: HashMap<String, Vec<Rule<A>>>,
    for_any: Vec<Rule<A>>,
}

impl<A> Table<A> {
    /// Sorts rules into their places.
    #[must_use]
    pub fn new(mut rules: Vec<Rule<A>>) -> Self {
        rules.sort_by(Rule::precedence);
        let mut table = Self { by_name: HashMap::new(), by_suffix: HashMap::new(), for_any: Vec::new() };
        for rule in rules {
            match &rule.host {
                Host::Any => table.for_any.push(rule),
                Host::Exact(name) => table.by_name.entry(name.clone()).or_default().push(rule),
                Host::OneBelow(rest) | Host::AllBelow(rest) => {
                    table.by_suffix.entry(rest.clone()).or_default().push(rule);
                }
            }
        }
        table
    }

    /// The rule that is for a request before all others that are.
    #[must_use]
    pub fn find(&self, asked: &Asked<'_>) -> Option<&Rule<A>> {
        let mut named = self.by_name.get(asked.host).into_iter().flatten();
        let named = named.find(|rule| rule.is_for_rest(asked));
        let rest = || self.for_any.iter().find(|rule| rule.is_for_rest(asked));
        named.or_else(|| self.below(asked)).or_else(rest)
    }

    /// The same among rules for wildcards above the host, the longest first.
    fn below(&self, asked: &Asked<'_>) -> Option<&Rule<A>> {
        // Without wildcards nothing is cut to pieces.
        let mut rest = if self.by_suffix.is_empty() { None } else { asked.host.split_once('.') };
        while let Some((_, suffix)) = rest {
            let mut rules = self.by_suffix.get(suffix).into_iter().flatten();
            if let Some(found) = rules.find(|rule| rule.is_for(asked)) {
                return Some(found);
            }
            rest = suffix.split_once('.');
        }
        None
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let lists = self.by_name.values().chain(self.by_suffix.values());
        lists.map(Vec::len).sum::<usize>() + self.for_any.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
