//! Decides what the table has to hold for a list of service ports, and the changes from one table to another. No I/O.

use crate::rules;
use crate::service::Port;
use crate::topology::{Otherwise, Targets};
use skiff_sys::nft::{Block, Change, Contents, Data, Expression};
use std::collections::BTreeSet;
use std::net::SocketAddrV4;

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
        if let Some(chain) = self.chain(port, "service", &port.internal) {
            for at in &port.cluster {
                self.lead(rules::SERVICES, rules::address_key(port.protocol, *at), &chain);
            }
        }
        let inside =
            self.chain(port, if port.inside == port.internal { "service" } else { "service-inside" }, &port.inside);
        let outside = port.outside.as_ref().map(|targets| self.chain(port, "service-outside", targets));
        for at in &port.external {
            let key = rules::address_key(port.protocol, *at);
            self.lead_or_reject((rules::SERVICES, rules::REJECTED), &key, inside.as_ref());
            if let Some(Some(chain)) = &outside {
                self.lead(rules::OUTSIDE_SERVICES, key, chain);
            }
        }
        for at in &port.balancer {
            let key = rules::address_key(port.protocol, *at);
            let guarded = inside.as_ref().map(|chain| self.guarded(port, "firewall", chain));
            self.lead_or_reject((rules::SERVICES, rules::REJECTED), &key, guarded.as_ref());
            if let Some(Some(chain)) = &outside {
                let chain = self.guarded(port, "firewall-outside", chain);
                self.lead(rules::OUTSIDE_SERVICES, key, &chain);
            }
        }
        if let Some(number) = port.node_port {
            let key = rules::port_key(port.protocol, number);
            self.lead_or_reject((rules::NODE_PORTS, rules::REJECTED_NODE_PORTS), &key, inside.as_ref());
            if let Some(Some(chain)) = &outside {
                self.lead(rules::OUTSIDE_NODE_PORTS, key, chain);
            }
        }
    }

    /// The chain that leads to `targets`; `None`: nobody is there, and whoever comes is refused.
    fn chain(&mut self, port: &Port, kind: &str, targets: &Targets) -> Option<String> {
        if targets.endpoints.is_empty() {
            return (targets.otherwise == Otherwise::Drop).then(|| rules::NOBODY.to_owned());
        }
        let chain = format!("{kind}/{}", port.name);
        let rules = match port.affinity_seconds {
            Some(seconds) => self.remember(port, &targets.endpoints, seconds),
            None => vec![rules::to_any(&targets.endpoints)],
        };
        self.0.chains.insert(chain.clone(), rules);
        for endpoint in &targets.endpoints {
            self.element(rules::HAIRPINS, rules::hairpin_key(*endpoint.ip()), Data::Nothing);
        }
        Some(chain)
    }

    /// `chain`, or one before it that lets only the port's sources pass.
    fn guarded(&mut self, port: &Port, kind: &str, chain: &str) -> String {
        if port.sources.is_empty() {
            return chain.to_owned();
        }
        let guard = format!("{kind}/{}", port.name);
        self.0.chains.insert(guard.clone(), rules::only_from(&port.sources, chain));
        guard
    }

    fn lead(&mut self, map: &str, key: Vec<u8>, chain: &str) {
        self.element(map, key, Data::Goto(chain.to_owned()));
    }

    fn lead_or_reject(&mut self, (map, rejected): (&str, &str), key: &[u8], chain: Option<&String>) {
        match chain {
            Some(chain) => self.lead(map, key.to_vec(), chain),
            None => self.element(rejected, key.to_vec(), Data::Nothing),
        }
    }

    /// Adds a chain and a set for each endpoint; answers the rules that lead to them.
    fn remember(&mut self, port: &Port, all: &BTreeSet<SocketAddrV4>, seconds: u32) -> Vec<Vec<Expression>> {
        let mut endpoints = Vec::new();
        for at in all {
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
