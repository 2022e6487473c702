//! Decides what the table has to hold for a list of service ports, and the changes from one table to another. No I/O.

use crate::rules::{self, PodRange};
use crate::service::Port;
use skiff_sys::nft::{Chain, Change, Data, Element, Expression, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// What depends on services: the rest of the table is always the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Rules of the chains of service ports and of endpoints that remember their clients.
    chains: BTreeMap<String, Vec<Vec<Expression>>>,
    /// Sets of remembered clients, one for each endpoint.
    affinities: BTreeSet<String>,
    /// Elements of the sets that every node has, by set and key.
    elements: BTreeMap<(&'static str, Vec<u8>), Target>,
}

/// What an element leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Nothing,
    Chain(String),
}

impl Table {
    /// What the table has to hold. When two services claim one address and port, the first by name has it.
    pub(crate) fn of(ports: &[Port]) -> Self {
        let mut table = Self::default();
        for port in ports {
            table.add(port);
        }
        table
    }

    fn add(&mut self, port: &Port) {
        for at in &port.cluster {
            self.element(rules::CLUSTER_ADDRESSES, at.ip().octets().to_vec(), Target::Nothing);
        }
        if port.endpoints.is_empty() {
            self.reject(port);
        } else {
            self.lead(port);
        }
    }

    fn reject(&mut self, port: &Port) {
        for at in &port.external {
            self.element(rules::REJECTED, rules::address_key(port.protocol, *at), Target::Nothing);
        }
        if let Some(number) = port.node_port {
            self.element(rules::REJECTED_NODE_PORTS, rules::port_key(port.protocol, number), Target::Nothing);
        }
    }

    fn lead(&mut self, port: &Port) {
        let chain = format!("service/{}", port.name);
        let rules = match port.affinity_seconds {
            Some(seconds) => self.remember(port, seconds),
            None => vec![rules::to_any(&port.endpoints)],
        };
        self.chains.insert(chain.clone(), rules);
        for at in port.cluster.iter().chain(&port.external) {
            self.element(rules::SERVICES, rules::address_key(port.protocol, *at), Target::Chain(chain.clone()));
        }
        if let Some(number) = port.node_port {
            self.element(rules::NODE_PORTS, rules::port_key(port.protocol, number), Target::Chain(chain));
        }
        for endpoint in &port.endpoints {
            self.element(rules::HAIRPINS, rules::hairpin_key(*endpoint.ip()), Target::Nothing);
        }
    }

    /// Adds a chain and a set for each endpoint; answers the rules that lead to them.
    fn remember(&mut self, port: &Port, seconds: u32) -> Vec<Vec<Expression>> {
        let mut endpoints = Vec::new();
        for at in &port.endpoints {
            let tail = format!("{}/{}/{}", port.name, at.ip(), at.port());
            let (clients, chain) = (format!("clients/{tail}"), format!("endpoint/{tail}"));
            self.chains.insert(chain.clone(), rules::to_remembering(*at, &clients, seconds));
            self.affinities.insert(clients.clone());
            endpoints.push((clients, chain));
        }
        rules::to_known(&endpoints)
    }

    fn element(&mut self, set: &'static str, key: Vec<u8>, target: Target) {
        self.elements.entry((set, key)).or_insert(target);
    }

    /// Changes that replace whatever table is there by this one.
    pub(crate) fn replace(&self, pods: PodRange) -> Vec<Change> {
        // Removing a table that may not be there: ensure it first.
        let mut changes = vec![Change::EnsureTable, Change::RemoveTable, Change::EnsureTable];
        changes.extend(rules::sets().into_iter().map(Change::AddSet));
        changes.extend(rules::chains().into_iter().map(Change::AddChain));
        changes.extend(rules::rules(pods).into_iter().map(Change::AddRule));
        changes.extend(self.changes_since(&Self::default()));
        changes
    }

    /// Changes that make this table of `old`: as many as there are differences. The order is the kernel's: a thing exists
    /// before something refers to it, and nothing refers to it when it goes.
    pub(crate) fn changes_since(&self, old: &Self) -> Vec<Change> {
        let new_sets = self.affinities.difference(&old.affinities);
        let mut changes: Vec<_> = new_sets.map(|name| Change::AddSet(rules::affinity_set(name))).collect();
        let new_chains = self.chains.keys().filter(|name| !old.chains.contains_key(*name));
        changes.extend(new_chains.map(|name| Change::AddChain(Chain { name: name.clone(), base: None })));
        for (name, rules) in &self.chains {
            changes.extend(chain_changes(name, old.chains.get(name), rules));
        }
        changes.extend(difference(&old.elements, &self.elements, Change::RemoveElements));
        changes.extend(difference(&self.elements, &old.elements, Change::AddElements));
        let gone: Vec<_> = old.chains.keys().filter(|name| !self.chains.contains_key(*name)).collect();
        changes.extend(gone.iter().map(|name| Change::FlushChain((*name).clone())));
        changes.extend(gone.iter().map(|name| Change::RemoveChain((*name).clone())));
        changes.extend(old.affinities.difference(&self.affinities).map(|name| Change::RemoveSet(name.clone())));
        changes
    }
}

/// Changes of the rules of one chain, which exists.
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

/// The elements that `these` has and `those` has not, or has with another target; one change for each set.
fn difference(
    these: &BTreeMap<(&'static str, Vec<u8>), Target>,
    those: &BTreeMap<(&'static str, Vec<u8>), Target>,
    change: fn(String, Vec<Element>) -> Change,
) -> Vec<Change> {
    let mut by_set: BTreeMap<&str, Vec<Element>> = BTreeMap::new();
    for ((set, key), target) in these {
        if those.get(&(*set, key.clone())) != Some(target) {
            let data = match target {
                Target::Nothing => Data::Nothing,
                Target::Chain(chain) => Data::Goto(chain.clone()),
            };
            by_set.entry(set).or_default().push(Element { key: key.clone(), data });
        }
    }
    by_set.into_iter().map(|(set, elements)| change(set.to_owned(), elements)).collect()
}

#[cfg(test)]
mod tests;
