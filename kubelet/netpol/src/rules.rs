//! The rules of the table that every node has, and those of one rule of one policy. No I/O.
//!
//! ```text
//!  forward    belongs to a connection that was let through -> allowed
//!             from a pod to itself                         -> allowed
//!             by source address -> chain of the pod's egress policies       map egress
//!  forward    the same, by destination address                              map ingress
//!  egress/…   a rule of a policy -> allowed, for each; else drop
//!  allowed    (empty: back to the hook, which lets through)
//! ```

use crate::select::Direction;
use skiff_sys::nft::{
    Block, Chain, ChainType, Compare, DataType, Expression as E, Frame, Hook, Register, Rule, Set, SetKind, Transport,
    destination, destination_port, port, protocol, source,
};
use std::net::Ipv4Addr;

const ADDRESS: DataType = DataType::Ipv4Address;
const PROTOCOL: DataType = DataType::Protocol;
const SERVICE: DataType = DataType::Service;
/// After what others do at the standard priority.
const PRIORITY: i32 = 10;
/// `NF_CT_STATE_BIT` of `IP_CT_ESTABLISHED` and of `IP_CT_RELATED`.
const STATE_KNOWN: u32 = 1 << 1 | 1 << 2;

/// Where packets go that a rule lets through.
pub(crate) const ALLOWED: &str = "allowed";
/// Addresses of pods of this node, each twice.
pub(crate) const SELVES: &str = "selves";

/// Who the other end may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peers {
    Anybody,
    /// A set of addresses.
    Set(String),
    /// A block, without others.
    Block(Block, Vec<Block>),
}

/// Which ports the connection may be to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ports {
    Any,
    /// Any of one protocol.
    Protocol(Transport),
    /// A set of protocols with ports.
    Set(String),
    /// A set of addresses with protocols and ports: what a port's name means at each pod.
    Named(String),
    /// The ports that have these first bits.
    Aligned {
        protocol: Transport,
        base: u16,
        mask: u16,
    },
}

/// Splits a range of ports into aligned ones, of which there are 30 at most.
pub(crate) fn aligned(protocol: Transport, first: u16, last: u16) -> Vec<Ports> {
    let (mut all, mut next, end) = (Vec::new(), u32::from(first), u32::from(last) + 1);
    while next < end {
        let room = (end - next).ilog2();
        let bits = if next == 0 { room } else { room.min(next.trailing_zeros()) };
        let mask = u16::try_from((0x1_0000_u32 - (1 << bits)) & 0xffff).unwrap_or(0);
        all.push(Ports::Aligned { protocol, base: u16::try_from(next).unwrap_or(u16::MAX), mask });
        next += 1 << bits;
    }
    all
}

/// Key of a set of addresses.
pub(crate) fn address_key(address: Ipv4Addr) -> Vec<u8> {
    address.octets().to_vec()
}

/// Key of [`SELVES`].
pub(crate) fn self_key(address: Ipv4Addr) -> Vec<u8> {
    [address.octets(), address.octets()].concat()
}

/// Key of a set of ports.
pub(crate) fn port_key(transport: Transport, number: u16) -> Vec<u8> {
    [protocol(transport.number()), port(number)].concat()
}

/// Key of a set of named ports.
pub(crate) fn named_key(address: Ipv4Addr, transport: Transport, number: u16) -> Vec<u8> {
    [address.octets(), protocol(transport.number()), port(number)].concat()
}

/// A set of a policy's rule, by what its keys are made of.
pub(crate) fn address_set(name: &str) -> Set {
    Set { name: name.to_owned(), key: vec![ADDRESS], kind: SetKind::Keys }
}

/// As [`address_set`], for ports.
pub(crate) fn port_set(name: &str) -> Set {
    Set { name: name.to_owned(), key: vec![PROTOCOL, SERVICE], kind: SetKind::Keys }
}

/// As [`address_set`], for named ports.
pub(crate) fn named_set(name: &str) -> Set {
    Set { name: name.to_owned(), key: vec![ADDRESS, PROTOCOL, SERVICE], kind: SetKind::Keys }
}

/// What the table of every node has.
pub(crate) fn frame() -> Frame {
    Frame { sets: sets(), chains: chains(), rules: rules() }
}

fn sets() -> Vec<Set> {
    let map =
        |direction: Direction| Set { name: direction.name().to_owned(), key: vec![ADDRESS], kind: SetKind::Verdicts };
    let selves = Set { name: SELVES.to_owned(), key: vec![ADDRESS, ADDRESS], kind: SetKind::Keys };
    Direction::BOTH.map(map).into_iter().chain([selves]).collect()
}

fn chains() -> Vec<Chain> {
    let base = |direction: Direction| Chain {
        name: hook(direction).to_owned(),
        base: Some((ChainType::Filter, Hook::Forward, PRIORITY)),
    };
    let allowed = Chain { name: ALLOWED.to_owned(), base: None };
    [allowed].into_iter().chain(Direction::BOTH.map(base)).collect()
}

const fn hook(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "to-pods",
        Direction::Egress => "from-pods",
    }
}

fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for direction in Direction::BOTH {
        let subject = match direction {
            Direction::Ingress => destination(Register(0)),
            Direction::Egress => source(Register(0)),
        };
        let to_chain = E::VerdictMap { map: direction.name().to_owned(), key: Register(0) };
        for expressions in [known(), to_itself(), vec![subject, to_chain]] {
            rules.push(Rule { chain: hook(direction).to_owned(), expressions });
        }
    }
    rules
}

/// The rule that lets through what one rule of a policy allows.
pub(crate) fn allow(direction: Direction, peers: &Peers, ports: &Ports) -> Vec<E> {
    let mut rule = other_end(direction, peers);
    rule.extend(to_ports(ports));
    rule.push(E::Goto(ALLOWED.to_owned()));
    rule
}

fn other_end(direction: Direction, peers: &Peers) -> Vec<E> {
    let load = || match direction {
        Direction::Ingress => source(Register(0)),
        Direction::Egress => destination(Register(0)),
    };
    match peers {
        Peers::Anybody => Vec::new(),
        Peers::Set(set) => vec![load(), E::InSet { set: set.clone(), key: Register(0) }],
        Peers::Block(block, others) => {
            let within = |block: &Block, how| {
                let mask = E::Mask { register: Register(0), mask: block.mask };
                [load(), mask, E::Compare { register: Register(0), how, value: block.base.to_vec() }]
            };
            let others = others.iter().flat_map(|other| within(other, Compare::NotEqual));
            within(block, Compare::Equal).into_iter().chain(others).collect()
        }
    }
}

fn to_ports(ports: &Ports) -> Vec<E> {
    let is = |protocol: &Transport| [E::TransportProtocol(Register(0)), equal(Register(0), &[protocol.number()])];
    match ports {
        Ports::Any => Vec::new(),
        Ports::Protocol(protocol) => is(protocol).into(),
        Ports::Set(set) => vec![
            E::TransportProtocol(Register(0)),
            destination_port(Register(1)),
            E::InSet { set: set.clone(), key: Register(0) },
        ],
        Ports::Named(set) => vec![
            destination(Register(0)),
            E::TransportProtocol(Register(1)),
            destination_port(Register(2)),
            E::InSet { set: set.clone(), key: Register(0) },
        ],
        Ports::Aligned { protocol, base, mask } => {
            let [high, low] = mask.to_be_bytes();
            let mut rule = Vec::from(is(protocol));
            rule.push(destination_port(Register(0)));
            rule.push(E::Mask { register: Register(0), mask: [high, low, 0, 0] });
            rule.push(equal(Register(0), &base.to_be_bytes()));
            rule
        }
    }
}

fn equal(register: Register, value: &[u8]) -> E {
    E::Compare { register, how: Compare::Equal, value: value.to_vec() }
}

/// Of a connection whose first packet was let through, or an error about one.
fn known() -> Vec<E> {
    vec![
        E::ConnectionState(Register(0)),
        E::Mask { register: Register(0), mask: STATE_KNOWN.to_ne_bytes() },
        E::Compare { register: Register(0), how: Compare::NotEqual, value: vec![0; 4] },
        E::Goto(ALLOWED.to_owned()),
    ]
}

/// A pod that reaches itself, through a service.
fn to_itself() -> Vec<E> {
    let selves = E::InSet { set: SELVES.to_owned(), key: Register(0) };
    vec![source(Register(0)), destination(Register(1)), selves, E::Goto(ALLOWED.to_owned())]
}
