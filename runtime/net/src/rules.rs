//! Decides the nftables table of pod networks: masquerading and host ports. No I/O.
//!
//! ```text
//!  guard                from the bridge, to or from 127.0.0.0/8 -> drop
//!  prerouting, output   (address . protocol . port) -> pod . port     bound to one address of the node
//!                       (protocol . port)           -> pod . port     to any local address
//!  postrouting          from a pod back to the same pod, through a host port -> masquerade
//!                       from the node's loopback to a pod                    -> masquerade
//!                       from a pod to what is no pod of the cluster          -> masquerade
//! ```
//!
//! The bridge routes packets of the loopback addresses (`route_localnet`), so that host ports answer there. What a pod sends
//! to them or in their name never gets past `guard` (CVE-2020-8558): it sees packets before connection tracking turns
//! the address of an answer back to the loopback's.

use crate::PortMapping;
use crate::ipam::Record;
use crate::plan::Range;
use skiff_sys::nft::{
    Chain, ChainType, Change, Compare, Data, DataType, Element, Expression as E, Hook, Register, Rule, Set, SetKind,
    destination, destination_port, port, protocol, source,
};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const ADDRESS: DataType = DataType::Ipv4Address;
const PROTOCOL: DataType = DataType::Protocol;
const SERVICE: DataType = DataType::Service;
/// The standard priorities of rewriting destinations and sources.
const DESTINATION_NAT: i32 = -100;
const SOURCE_NAT: i32 = 100;
/// Before connection tracking (`NF_IP_PRI_RAW`).
const RAW: i32 = -300;
/// `IPS_DST_NAT`: the destination of the connection was rewritten.
const STATUS_DESTINATION_NAT: u32 = 1 << 5;
/// `RTN_LOCAL`.
const KIND_LOCAL: u32 = 2;
/// 127.0.0.0/8, which never leaves a machine (RFC 1122).
const LOOPBACK: ([u8; 4], [u8; 4]) = ([127, 0, 0, 0], [255, 0, 0, 0]);
/// Bytes of an interface name in a register (`IFNAMSIZ`).
const INTERFACE_BYTES: usize = 16;
/// Host ports that are bound to one address of the node.
const PORTS_AT: &str = "host-ports-at";
/// Host ports at all addresses of the node.
const PORTS: &str = "host-ports";
/// Pods that have host ports, each twice: as source and destination.
const HAIRPINS: &str = "hairpins";

/// What the table depends on.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) bridge: &'a str,
    pub(crate) range: Range,
    /// The pods of all nodes.
    pub(crate) cluster: Range,
    pub(crate) masquerade: bool,
    pub(crate) records: &'a BTreeMap<Ipv4Addr, Record>,
}

/// Changes that replace whatever table is there.
pub(crate) fn replace(wanted: &Wanted<'_>) -> Vec<Change> {
    // Removing a table that may not be there: ensure it first.
    let mut changes = vec![Change::EnsureTable, Change::RemoveTable, Change::EnsureTable];
    changes.extend(sets().into_iter().map(Change::AddSet));
    changes.extend(chains().into_iter().map(Change::AddChain));
    changes.extend(rules(wanted).into_iter().map(Change::AddRule));
    for (address, record) in wanted.records {
        changes.extend(add(*address, &record.ports));
    }
    changes
}

/// Changes that lead the host ports to the pod.
pub(crate) fn add(address: Ipv4Addr, ports: &[PortMapping]) -> Vec<Change> {
    elements(address, ports).into_iter().map(|(set, elements)| Change::AddElements(set.to_owned(), elements)).collect()
}

/// Changes that take [`add`] back.
pub(crate) fn remove(address: Ipv4Addr, ports: &[PortMapping]) -> Vec<Change> {
    let all = elements(address, ports).into_iter();
    all.map(|(set, elements)| Change::RemoveElements(set.to_owned(), elements)).collect()
}

fn elements(address: Ipv4Addr, ports: &[PortMapping]) -> Vec<(&'static str, Vec<Element>)> {
    let target = |mapping: &PortMapping| Data::Value(join(&[address.octets(), port(mapping.container_port)]));
    let key = |mapping: &PortMapping| [protocol(mapping.protocol.number()), port(mapping.host_port)];
    let (mut at, mut everywhere) = (Vec::new(), Vec::new());
    for mapping in ports {
        let [protocol, port] = key(mapping);
        match mapping.address() {
            Some(node) => {
                at.push(Element { key: join(&[node.octets(), protocol, port]), data: target(mapping) });
            }
            None => everywhere.push(Element { key: join(&[protocol, port]), data: target(mapping) }),
        }
    }
    let hairpin = Element { key: join(&[address.octets(), address.octets()]), data: Data::Nothing };
    let hairpins = if ports.is_empty() { Vec::new() } else { vec![hairpin] };
    let all = [(PORTS_AT, at), (PORTS, everywhere), (HAIRPINS, hairpins)];
    all.into_iter().filter(|(_, elements)| !elements.is_empty()).collect()
}

fn join(parts: &[[u8; 4]]) -> Vec<u8> {
    parts.concat()
}

fn sets() -> Vec<Set> {
    let pod = SetKind::Values(vec![ADDRESS, SERVICE]);
    vec![
        Set { name: PORTS_AT.to_owned(), key: vec![ADDRESS, PROTOCOL, SERVICE], kind: pod.clone() },
        Set { name: PORTS.to_owned(), key: vec![PROTOCOL, SERVICE], kind: pod },
        Set { name: HAIRPINS.to_owned(), key: vec![ADDRESS, ADDRESS], kind: SetKind::Keys },
    ]
}

fn chains() -> Vec<Chain> {
    let base = |name: &str, kind, hook, priority| Chain { name: name.to_owned(), base: Some((kind, hook, priority)) };
    vec![
        base("guard", ChainType::Filter, Hook::Prerouting, RAW),
        base("prerouting", ChainType::Nat, Hook::Prerouting, DESTINATION_NAT),
        base("output", ChainType::Nat, Hook::Output, DESTINATION_NAT),
        base("postrouting", ChainType::Nat, Hook::Postrouting, SOURCE_NAT),
    ]
}

fn rules(wanted: &Wanted<'_>) -> Vec<Rule> {
    let rule = |chain: &str, expressions| Rule { chain: chain.to_owned(), expressions };
    let mut rules = vec![
        rule("guard", loopback_from(wanted.bridge, destination)),
        rule("guard", loopback_from(wanted.bridge, source)),
    ];
    for chain in ["prerouting", "output"] {
        rules.push(rule(chain, ports_at()));
        rules.push(rule(chain, ports()));
    }
    rules.push(rule("postrouting", hairpins()));
    rules.push(rule("postrouting", loopback_to(wanted.bridge)));
    if wanted.masquerade {
        rules.push(rule("postrouting", masquerade(wanted.range, wanted.cluster)));
    }
    rules
}

fn equal(register: Register, value: &[u8]) -> E {
    E::Compare { register, how: Compare::Equal, value: value.to_vec() }
}

fn not_equal(register: Register, value: &[u8]) -> E {
    E::Compare { register, how: Compare::NotEqual, value: value.to_vec() }
}

fn interface(name: &str) -> Vec<u8> {
    let mut name = name.as_bytes().to_vec();
    name.resize(INTERFACE_BYTES, 0);
    name
}

fn is_loopback(address: fn(Register) -> E) -> [E; 3] {
    let (base, mask) = LOOPBACK;
    [address(Register(0)), E::Mask { register: Register(0), mask }, equal(Register(0), &base)]
}

/// Drops what comes from pods with a loopback address as its `address`.
fn loopback_from(bridge: &str, address: fn(Register) -> E) -> Vec<E> {
    let mut rule = vec![E::InputInterface(Register(0)), equal(Register(0), &interface(bridge))];
    rule.extend(is_loopback(address));
    rule.push(E::Drop);
    rule
}

/// A pod's answer to a loopback address would stay in the pod.
fn loopback_to(bridge: &str) -> Vec<E> {
    let mut rule = vec![E::OutputInterface(Register(0)), equal(Register(0), &interface(bridge))];
    rule.extend(is_loopback(source));
    rule.push(E::Masquerade);
    rule
}

fn ports_at() -> Vec<E> {
    vec![
        destination(Register(0)),
        E::TransportProtocol(Register(1)),
        destination_port(Register(2)),
        E::Map { map: PORTS_AT.to_owned(), key: Register(0), to: Register(0) },
        E::DestinationNat { address: Register(0), port: Register(1) },
    ]
}

fn ports() -> Vec<E> {
    vec![
        E::DestinationKind(Register(0)),
        equal(Register(0), &KIND_LOCAL.to_ne_bytes()),
        E::TransportProtocol(Register(0)),
        destination_port(Register(1)),
        E::Map { map: PORTS.to_owned(), key: Register(0), to: Register(0) },
        E::DestinationNat { address: Register(0), port: Register(1) },
    ]
}

fn hairpins() -> Vec<E> {
    vec![
        E::ConnectionStatus(Register(0)),
        E::Mask { register: Register(0), mask: STATUS_DESTINATION_NAT.to_ne_bytes() },
        not_equal(Register(0), &[0; 4]),
        source(Register(0)),
        destination(Register(1)),
        // A pod drops packets that come from its own address.
        E::InSet { set: HAIRPINS.to_owned(), key: Register(0) },
        E::Masquerade,
    ]
}

fn masquerade(range: Range, cluster: Range) -> Vec<E> {
    vec![
        source(Register(0)),
        E::Mask { register: Register(0), mask: range.mask().octets() },
        equal(Register(0), &range.base().octets()),
        destination(Register(0)),
        E::Mask { register: Register(0), mask: cluster.mask().octets() },
        not_equal(Register(0), &cluster.base().octets()),
        E::Masquerade,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;
    use proptest::prelude::*;

    fn mapping() -> impl Strategy<Value = PortMapping> {
        let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
        let address = proptest::option::of(any::<[u8; 4]>().prop_map(|octets| std::net::IpAddr::V4(octets.into())));
        (protocol, 1u16.., 1u16.., address).prop_map(|(protocol, container_port, host_port, host_ip)| PortMapping {
            protocol,
            container_port,
            host_port,
            host_ip,
        })
    }

    proptest! {
        #[test]
        fn removing_names_exactly_what_adding_added(ports in proptest::collection::vec(mapping(), 0..5)) {
            let address = Ipv4Addr::new(10, 1, 2, 3);
            let (added, removed) = (add(address, &ports), remove(address, &ports));
            prop_assert_eq!(added.len(), removed.len());
            for pair in added.iter().zip(&removed) {
                let (Change::AddElements(set, new), Change::RemoveElements(from, old)) = pair else {
                    return Err(TestCaseError::fail("not elements"));
                };
                prop_assert_eq!((set, new), (from, old));
            }
        }
    }
}
