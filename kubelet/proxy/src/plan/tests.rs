//! The changes between two tables, played to a model of the kernel that refuses what the kernel refuses.

use super::*;
use proptest::prelude::*;
use skiff_sys::nft::{Element, Transport};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// Chains with their rules, and sets with their elements.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Kernel {
    chains: BTreeMap<String, Vec<Vec<Expression>>>,
    sets: BTreeMap<String, BTreeMap<Vec<u8>, Data>>,
}

impl Kernel {
    fn play(&mut self, changes: &[Change]) -> Result<(), String> {
        changes.iter().try_for_each(|change| self.change(change).map_err(|reason| format!("{change:?}: {reason}")))
    }

    fn change(&mut self, change: &Change) -> Result<(), &'static str> {
        match change {
            Change::EnsureTable => Ok(()),
            Change::RemoveTable => {
                *self = Self::default();
                Ok(())
            }
            Change::AddChain(chain) => absent(self.chains.insert(chain.name.clone(), Vec::new())),
            Change::FlushChain(name) => self.chains.get_mut(name).ok_or("ENOENT").map(Vec::clear),
            Change::RemoveChain(name) if self.leads_to(name) => Err("EBUSY"),
            Change::RemoveChain(name) => self.chains.remove(name).ok_or("ENOENT").map(drop),
            Change::AddRule(rule) if !self.refers_to_something(&rule.expressions) => Err("ENOENT in rule"),
            Change::AddRule(rule) => {
                let chain = self.chains.get_mut(&rule.chain).ok_or("ENOENT")?;
                chain.push(rule.expressions.clone());
                Ok(())
            }
            Change::AddSet(set) => absent(self.sets.insert(set.name.clone(), BTreeMap::new())),
            Change::RemoveSet(name) if self.uses(name) => Err("EBUSY"),
            Change::RemoveSet(name) => self.sets.remove(name).ok_or("ENOENT").map(drop),
            Change::FlushSet(name) => self.sets.get_mut(name).ok_or("ENOENT").map(BTreeMap::clear),
            Change::AddElements(set, elements) => {
                let set = self.sets.get_mut(set).ok_or("ENOENT")?;
                elements.iter().try_for_each(|one| absent(set.insert(one.key.clone(), one.data.clone())))?;
                let chains = &self.chains;
                let known = |one: &Element| !matches!(&one.data, Data::Goto(name) if !chains.contains_key(name));
                if elements.iter().all(known) { Ok(()) } else { Err("ENOENT in element") }
            }
            Change::RemoveElements(set, elements) => {
                let set = self.sets.get_mut(set).ok_or("ENOENT")?;
                elements.iter().try_for_each(|one| set.remove(&one.key).ok_or("ENOENT").map(drop))
            }
        }
    }

    fn leads_to(&self, chain: &str) -> bool {
        let in_sets = self.sets.values().flat_map(BTreeMap::values).any(|data| *data == Data::Goto(chain.to_owned()));
        in_sets || self.all().any(|expression| matches!(expression, Expression::Goto(name) if name == chain))
    }

    fn uses(&self, set: &str) -> bool {
        self.all().any(|expression| set_of(expression) == Some(set))
    }

    fn refers_to_something(&self, rule: &[Expression]) -> bool {
        let chain = |one: &Expression| !matches!(one, Expression::Goto(name) if !self.chains.contains_key(name));
        rule.iter().all(chain) && rule.iter().filter_map(set_of).all(|set| self.sets.contains_key(set))
    }

    fn all(&self) -> impl Iterator<Item = &Expression> {
        self.chains.values().flatten().flatten()
    }
}

fn absent<T>(before: Option<T>) -> Result<(), &'static str> {
    if before.is_some() { Err("EEXIST") } else { Ok(()) }
}

fn set_of(expression: &Expression) -> Option<&str> {
    match expression {
        Expression::InSet { set, .. } | Expression::Remember { set, .. } => Some(set),
        Expression::Map { map, .. } | Expression::VerdictMap { map, .. } => Some(map),
        _ => None,
    }
}

fn address() -> impl Strategy<Value = SocketAddrV4> {
    (0u8..4, 80u16..83).prop_map(|(host, port)| SocketAddrV4::new([10, 1, 0, host].into(), port))
}

fn source() -> impl Strategy<Value = Block> {
    (0u8..3, 8u32..32).prop_map(|(net, bits)| Block::parse(&format!("10.{net}.0.0/{bits}")).expect("a block"))
}

prop_compose! {
    fn targets()(
        endpoints in proptest::collection::btree_set(address(), 0..4),
        drops: bool,
    ) -> Targets {
        Targets { endpoints, otherwise: if drops { Otherwise::Drop } else { Otherwise::Refuse } }
    }
}

prop_compose! {
    fn any_port()(
        name in "[a-c]",
        protocol in prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)],
        cluster in proptest::collection::vec(address(), 0..2),
        external in proptest::collection::vec(address(), 0..2),
        node_port in proptest::option::of(30000u16..30003),
        balancer in proptest::collection::vec(address(), 0..2),
        sources in proptest::collection::vec(source(), 0..3),
        internal in targets(),
        inside in targets(),
        outside in proptest::option::of(targets()),
        affinity_seconds in proptest::option::of(1u32..3),
    ) -> Port {
        let name = format!("default/{name}/http/{}", protocol.name());
        Port { name, protocol, cluster, external, balancer, sources, node_port, internal, inside, outside, affinity_seconds }
    }
}

/// Names of ports are unique.
fn ports() -> impl Strategy<Value = Vec<Port>> {
    proptest::collection::vec(any_port(), 0..6).prop_map(|ports| {
        let by_name: BTreeMap<String, Port> = ports.into_iter().map(|port| (port.name.clone(), port)).collect();
        by_name.into_values().collect()
    })
}

fn pods() -> Block {
    Block::parse("10.1.0.0/24").expect("a range")
}

fn fresh(table: &Table) -> Kernel {
    let mut kernel = Kernel::default();
    kernel.play(&table.replace(pods())).expect("the kernel takes it");
    kernel
}

proptest! {
    #[test]
    fn changes_lead_from_any_table_to_any_other(before in ports(), after in ports()) {
        let (before, after) = (Table::of(&before), Table::of(&after));
        let mut kernel = fresh(&before);
        kernel.play(&after.changes_since(&before)).map_err(TestCaseError::fail)?;
        prop_assert_eq!(kernel, fresh(&after));
    }

    #[test]
    fn the_same_services_need_no_change_in_whatever_order_they_come(mut all in ports()) {
        let table = Table::of(&all);
        all.sort_by(|one, two| one.name.cmp(&two.name));
        prop_assert_eq!(table.changes_since(&Table::of(&all)), Vec::new());
    }

    #[test]
    fn replacing_forgets_what_was_there(before in ports(), after in ports()) {
        let (before, after) = (Table::of(&before), Table::of(&after));
        let mut kernel = fresh(&before);
        kernel.play(&after.replace(pods())).map_err(TestCaseError::fail)?;
        prop_assert_eq!(kernel, fresh(&after));
    }
}

fn web(endpoints: &[&str]) -> Port {
    let endpoints = endpoints.iter().map(|text| text.parse().expect("an address")).collect();
    let targets = Targets { endpoints, otherwise: Otherwise::Refuse };
    Port {
        name: "default/web/http/tcp".to_owned(),
        protocol: Transport::Tcp,
        cluster: vec!["10.96.0.5:80".parse().expect("an address")],
        external: Vec::new(),
        balancer: Vec::new(),
        sources: Vec::new(),
        node_port: Some(30080),
        internal: targets.clone(),
        inside: targets,
        outside: None,
        affinity_seconds: None,
    }
}

#[test]
fn a_new_endpoint_changes_one_chain_and_one_element() {
    let (before, after) = (Table::of(&[web(&["10.1.0.2:80"])]), Table::of(&[web(&["10.1.0.2:80", "10.1.0.3:80"])]));
    insta::assert_debug_snapshot!(after.changes_since(&before));
}

#[test]
fn the_last_endpoint_turns_a_service_into_a_refusal() {
    let (before, after) = (Table::of(&[web(&["10.1.0.2:80"])]), Table::of(&[web(&[])]));
    insta::assert_debug_snapshot!(after.changes_since(&before));
}
