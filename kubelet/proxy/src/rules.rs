//! The rules of the proxy's table that every node has, and those of one service port. No I/O.
//!
//! ```text
//!  prerouting, output      (address . protocol . port) -> chain of the service port   services
//!                          (protocol . port)           -> chain of the service port   node-ports, local addresses only
//!  prerouting              the same first, for who is no pod of this node              outside-services, outside-node-ports
//!  firewall/…              only from the sources of a load balancer -> service/…, else drop
//!  service/…               any endpoint -> rewrite destination; with affinity: the one the client had, or any
//!  endpoint/…              with affinity: remember the client, rewrite destination
//!  postrouting             from an endpoint back to itself -> masquerade
//!                          from who is no pod of this node to an endpoint that is none either -> masquerade
//!  input, forward, output  still for a service address or port -> nobody is there: reject
//! ```

use skiff_sys::nft::{
    AnonymousMap, Block, Chain, ChainType, Compare, DataType, Expression as E, Frame, Hook, Register, Rule, Set,
    SetKind, Transport, destination, destination_port, port, protocol, source,
};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

const ADDRESS: DataType = DataType::Ipv4Address;
const PROTOCOL: DataType = DataType::Protocol;
const SERVICE: DataType = DataType::Service;
const DESTINATION_NAT: i32 = -100;
const SOURCE_NAT: i32 = 100;
const FILTER: i32 = 0;
/// `IPS_DST_NAT`.
const STATUS_DESTINATION_NAT: u32 = 1 << 5;
/// `RTN_LOCAL`.
const KIND_LOCAL: u32 = 2;

pub(crate) const SERVICES: &str = "services";
pub(crate) const NODE_PORTS: &str = "node-ports";
/// Where addresses and node ports lead that lead somewhere else for those who are no pod of this node (externalTrafficPolicy).
pub(crate) const OUTSIDE_SERVICES: &str = "outside-services";
pub(crate) const OUTSIDE_NODE_PORTS: &str = "outside-node-ports";
/// The chain of what is dropped because others have endpoints and this node has none.
pub(crate) const NOBODY: &str = "nobody";
pub(crate) const CLUSTER_ADDRESSES: &str = "cluster-addresses";
pub(crate) const REJECTED: &str = "rejected";
pub(crate) const REJECTED_NODE_PORTS: &str = "rejected-node-ports";
pub(crate) const HAIRPINS: &str = "hairpins";
const REJECTIONS: &str = "rejections";

/// Key of [`SERVICES`] and [`REJECTED`].
pub(crate) fn address_key(transport: Transport, at: SocketAddrV4) -> Vec<u8> {
    [at.ip().octets(), protocol(transport.number()), port(at.port())].concat()
}

/// Key of [`NODE_PORTS`] and [`REJECTED_NODE_PORTS`].
pub(crate) fn port_key(transport: Transport, number: u16) -> Vec<u8> {
    [protocol(transport.number()), port(number)].concat()
}

/// Key of [`HAIRPINS`].
pub(crate) fn hairpin_key(address: Ipv4Addr) -> Vec<u8> {
    [address.octets(), address.octets()].concat()
}

/// What the table of every node has; `pods` are the addresses of this node's.
pub(crate) fn frame(pods: Block) -> Frame {
    Frame { sets: sets(), chains: chains(), rules: rules(pods) }
}

fn sets() -> Vec<Set> {
    let set = |name: &str, key: &[DataType], kind| Set { name: name.to_owned(), key: key.to_vec(), kind };
    vec![
        set(SERVICES, &[ADDRESS, PROTOCOL, SERVICE], SetKind::Verdicts),
        set(NODE_PORTS, &[PROTOCOL, SERVICE], SetKind::Verdicts),
        set(OUTSIDE_SERVICES, &[ADDRESS, PROTOCOL, SERVICE], SetKind::Verdicts),
        set(OUTSIDE_NODE_PORTS, &[PROTOCOL, SERVICE], SetKind::Verdicts),
        set(CLUSTER_ADDRESSES, &[ADDRESS], SetKind::Keys),
        set(REJECTED, &[ADDRESS, PROTOCOL, SERVICE], SetKind::Keys),
        set(REJECTED_NODE_PORTS, &[PROTOCOL, SERVICE], SetKind::Keys),
        set(HAIRPINS, &[ADDRESS, ADDRESS], SetKind::Keys),
    ]
}

/// The set in which an endpoint's clients are remembered.
pub(crate) fn affinity_set(name: &str) -> Set {
    Set { name: name.to_owned(), key: vec![ADDRESS], kind: SetKind::Remembered }
}

fn chains() -> Vec<Chain> {
    let base = |name: &str, kind, hook, priority| Chain { name: name.to_owned(), base: Some((kind, hook, priority)) };
    vec![
        Chain { name: REJECTIONS.to_owned(), base: None },
        Chain { name: NOBODY.to_owned(), base: None },
        base("prerouting", ChainType::Nat, Hook::Prerouting, DESTINATION_NAT),
        base("output", ChainType::Nat, Hook::Output, DESTINATION_NAT),
        base("postrouting", ChainType::Nat, Hook::Postrouting, SOURCE_NAT),
        base("filter-input", ChainType::Filter, Hook::Input, FILTER),
        base("filter-forward", ChainType::Filter, Hook::Forward, FILTER),
        base("filter-output", ChainType::Filter, Hook::Output, FILTER),
    ]
}

fn rules(pods: Block) -> Vec<Rule> {
    let rule = |chain: &str, expressions| Rule { chain: chain.to_owned(), expressions };
    let mut rules = vec![
        rule(NOBODY, vec![E::Drop]),
        rule("prerouting", from_outside(pods, to_service(OUTSIDE_SERVICES))),
        rule("prerouting", from_outside(pods, to_node_port(OUTSIDE_NODE_PORTS))),
    ];
    for chain in ["prerouting", "output"] {
        rules.push(rule(chain, to_service(SERVICES)));
        rules.push(rule(chain, to_node_port(NODE_PORTS)));
    }
    rules.push(rule("postrouting", back_to_itself()));
    rules.push(rule("postrouting", off_node(pods)));
    for chain in ["filter-input", "filter-forward", "filter-output"] {
        rules.push(rule(chain, vec![E::Goto(REJECTIONS.to_owned())]));
    }
    for unserved in [unserved_cluster_address(), unserved_address(), unserved_node_port()] {
        let mut reset = only_tcp();
        reset.extend(unserved.clone());
        reset.push(E::RejectTcp);
        rules.push(rule(REJECTIONS, reset));
        let mut unreachable = unserved;
        unreachable.push(E::RejectIcmp);
        rules.push(rule(REJECTIONS, unreachable));
    }
    rules
}

/// The rule of a service port's chain: a new connection goes to any endpoint.
pub(crate) fn to_any(endpoints: &BTreeSet<SocketAddrV4>) -> Vec<E> {
    let all: Vec<_> = endpoints.iter().collect();
    if let [only] = all.as_slice() {
        return to_one(**only);
    }
    let modulus = u32::try_from(all.len()).expect("a service has fewer endpoints than 2^32");
    let value = |at: &SocketAddrV4| [at.ip().octets(), port(at.port())].concat();
    let elements = (0u32..).zip(all).map(|(number, at)| (number.to_ne_bytes().to_vec(), value(at))).collect();
    let map = AnonymousMap { key: DataType::Integer, value: vec![ADDRESS, SERVICE], elements };
    vec![E::Random { to: Register(0), modulus }, E::InlineMap { map, key: Register(0), to: Register(0) }, rewrite()]
}

/// The rules of a service port's chain when clients stay with their endpoint: `endpoints` are sets of clients with the
/// chains of their endpoints.
pub(crate) fn to_known(endpoints: &[(String, String)]) -> Vec<Vec<E>> {
    let known = endpoints.iter().map(|(clients, chain)| {
        let is_known = E::InSet { set: clients.clone(), key: Register(0) };
        vec![source(Register(0)), is_known, E::Goto(chain.clone())]
    });
    // Each endpoint takes its share of what the ones before it left over; the last takes all.
    let left_over = (1u32..).zip(endpoints.iter().rev());
    let mut by_chance: Vec<Vec<E>> = left_over
        .map(|(modulus, (_, chain))| match modulus {
            1 => vec![E::Goto(chain.clone())],
            _ => vec![
                E::Random { to: Register(0), modulus },
                compare(Register(0), Compare::Equal, &0u32.to_ne_bytes()),
                E::Goto(chain.clone()),
            ],
        })
        .collect();
    by_chance.reverse();
    known.chain(by_chance).collect()
}

/// The rules of the chain of one endpoint: remember the client, and go there even if there is no room to remember.
pub(crate) fn to_remembering(at: SocketAddrV4, clients: &str, seconds: u32) -> Vec<Vec<E>> {
    let timeout_ms = u64::from(seconds) * 1000;
    let remember = E::Remember { set: clients.to_owned(), key: Register(0), timeout_ms };
    vec![vec![source(Register(0)), remember], to_one(at)]
}

fn to_one(at: SocketAddrV4) -> Vec<E> {
    vec![
        E::Load { to: Register(0), value: at.ip().octets().to_vec() },
        E::Load { to: Register(1), value: at.port().to_be_bytes().to_vec() },
        rewrite(),
    ]
}

fn rewrite() -> E {
    E::DestinationNat { address: Register(0), port: Register(1) }
}

fn compare(register: Register, how: Compare, value: &[u8]) -> E {
    E::Compare { register, how, value: value.to_vec() }
}

/// Registers 0 to 2: the key of a service.
fn service_key() -> Vec<E> {
    vec![destination(Register(0)), E::TransportProtocol(Register(1)), destination_port(Register(2))]
}

/// For an address of this node, but not of its loopback interface, as kube-proxy has it in its mode nftables. Registers 0
/// and 1: the key of a node port.
fn node_port_key() -> Vec<E> {
    vec![
        destination(Register(0)),
        E::Mask { register: Register(0), mask: [255, 0, 0, 0] },
        compare(Register(0), Compare::NotEqual, &[127, 0, 0, 0]),
        E::DestinationKind(Register(0)),
        compare(Register(0), Compare::Equal, &KIND_LOCAL.to_ne_bytes()),
        E::TransportProtocol(Register(0)),
        destination_port(Register(1)),
    ]
}

fn to_service(map: &str) -> Vec<E> {
    let mut rule = service_key();
    rule.push(E::VerdictMap { map: map.to_owned(), key: Register(0) });
    rule
}

fn to_node_port(map: &str) -> Vec<E> {
    let mut rule = node_port_key();
    rule.push(E::VerdictMap { map: map.to_owned(), key: Register(0) });
    rule
}

/// `rule`, for who is no pod of this node.
fn from_outside(pods: Block, rule: Vec<E>) -> Vec<E> {
    let mut outside = is_in(pods, Compare::NotEqual).to_vec();
    outside.extend(rule);
    outside
}

/// Whether the source is one of `block`, or not.
fn is_in(block: Block, how: Compare) -> [E; 3] {
    let masked = E::Mask { register: Register(0), mask: block.mask };
    [source(Register(0)), masked, compare(Register(0), how, &block.base)]
}

/// The rules of a chain that leads to `chain` from these sources, and drops everything else.
pub(crate) fn only_from(sources: &[Block], chain: &str) -> Vec<Vec<E>> {
    let pass = sources.iter().map(|block| {
        let mut rule = is_in(*block, Compare::Equal).to_vec();
        rule.push(E::Goto(chain.to_owned()));
        rule
    });
    pass.chain([vec![E::Drop]]).collect()
}

/// The destination of the connection was rewritten.
fn rewritten() -> Vec<E> {
    vec![
        E::ConnectionStatus(Register(0)),
        E::Mask { register: Register(0), mask: STATUS_DESTINATION_NAT.to_ne_bytes() },
        compare(Register(0), Compare::NotEqual, &[0; 4]),
    ]
}

/// An endpoint drops packets that come from its own address.
fn back_to_itself() -> Vec<E> {
    let mut rule = rewritten();
    rule.extend([source(Register(0)), destination(Register(1))]);
    rule.push(E::InSet { set: HAIRPINS.to_owned(), key: Register(0) });
    rule.push(E::Masquerade);
    rule
}

/// Answers of an endpoint elsewhere have to come back through this node, which knows the service address. To a pod of this node they
/// do anyway, and the endpoint sees who asks.
fn off_node(pods: Block) -> Vec<E> {
    let mut loopback = b"lo".to_vec();
    loopback.resize(16, 0);
    let mut rule = rewritten();
    rule.extend(is_in(pods, Compare::NotEqual));
    rule.extend([
        destination(Register(0)),
        E::Mask { register: Register(0), mask: pods.mask },
        compare(Register(0), Compare::NotEqual, &pods.base),
        // To this node itself: nothing can go astray.
        E::OutputInterface(Register(0)),
        compare(Register(0), Compare::NotEqual, &loopback),
        E::Masquerade,
    ]);
    rule
}

fn only_tcp() -> Vec<E> {
    vec![E::TransportProtocol(Register(0)), compare(Register(0), Compare::Equal, &[Transport::Tcp.number()])]
}

fn unserved_cluster_address() -> Vec<E> {
    vec![destination(Register(0)), E::InSet { set: CLUSTER_ADDRESSES.to_owned(), key: Register(0) }]
}

fn unserved_address() -> Vec<E> {
    let mut rule = service_key();
    rule.push(E::InSet { set: REJECTED.to_owned(), key: Register(0) });
    rule
}

fn unserved_node_port() -> Vec<E> {
    let mut rule = node_port_key();
    rule.push(E::InSet { set: REJECTED_NODE_PORTS.to_owned(), key: Register(0) });
    rule
}
