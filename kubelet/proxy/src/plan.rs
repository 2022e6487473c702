//! Decides what the table has to hold for a list of service ports, and the changes from one table to another. No I/O.

use crate::rules;
use crate::service::Port;
use skiff_sys::nft::{Block, Change, Contents, Data, Expression};

/// What depends on services: the rest of the table is always the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table(Contents);

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
            self.element(rules::CLUSTER_ADDRESSES, at.ip().octets().to_vec(), Data::Nothing);
        }
        if port.endpoints.is_empty() {
            self.reject(port);
        } else {
            self.lead(port);
        }
    }

    fn reject(&mut self, port: &Port) {
        for at in &port.external {
            self.element(rules::REJECTED, rules::address_key(port.protocol, *at), Data::Nothing);
        }
        if let Some(number) = port.node_port {
            self.element(rules::REJECTED_NODE_PORTS, rules::port_key(port.protocol, number), Data::Nothing);
        }
    }

    fn lead(&mut self, port: &Port) {
        let chain = format!("service/{}", port.name);
        let rules = match port.affinity_seconds {
            Some(seconds) => self.remember(port, seconds),
            None => vec![rules::to_any(&port.endpoints)],
        };
        self.0.chains.insert(chain.clone(), rules);
        for at in port.cluster.iter().chain(&port.external) {
            self.element(rules::SERVICES, rules::address_key(port.protocol, *at), Data::Goto(chain.clone()));
        }
        if let Some(number) = port.node_port {
            self.element(rules::NODE_PORTS, rules::port_key(port.protocol, number), Data::Goto(chain));
        }
        for endpoint in &port.endpoints {
            self.element(rules::HAIRPINS, rules::hairpin_key(*endpoint.ip()), Data::Nothing);
        }
    }

    /// Adds a chain and a set for each endpoint; answers the rules that lead to them.
    fn remember(&mut self, port: &Port, seconds: u32) -> Vec<Vec<Expression>> {
        let mut endpoints = Vec::new();
        for at in &port.endpoints {
            let tail = format!("{}/{}/{}", port.name, at.ip(), at.port());
            let (clients, chain) = (format!("clients/{tail}"), format!("endpoint/{tail}"));
            self.0.chains.insert(chain.clone(), rules::to_remembering(*at, &clients, seconds));
            self.0.sets.insert(clients.clone(), rules::affinity_set(&clients));
            endpoints.push((clients, chain));
        }
        rules::to_known(&endpoints)
    }

    fn element(&mut self, set: &str, key: Vec<u8>, target: Data) {
        self.0.elements.entry((set.to_owned(), key)).or_insert(target);
    }

    /// Changes that replace whatever table is there by this one.
    pub(crate) fn replace(&self, pods: Block) -> Vec<Change> {
        self.0.replace(rules::frame(pods))
    }

    /// Changes that make this table of `old`.
    pub(crate) fn changes_since(&self, old: &Self) -> Vec<Change> {
        self.0.changes_since(&old.0)
    }
}

#[cfg(test)]
mod tests;
