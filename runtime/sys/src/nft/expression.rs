//! The expressions that a rule is made of, and their encoding.

use super::DataType;
use crate::netlink::Message;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NFT_GOTO: i32 = -4;
const NF_DROP: i32 = 0;
/// The first of the sixteen registers of 32 bits.
const NFT_REG32_00: u32 = 8;
const NFPROTO_IPV4: u32 = 2;

/// One of the 32-bit registers 0 to 15. Longer values fill the registers that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub u8);

impl Register {
    pub(super) fn number(self) -> u32 {
        NFT_REG32_00 + u32::from(self.0)
    }
}

/// Where a chain meets packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Came in, not yet routed.
    Prerouting = 0,
    /// For this machine.
    Input = 1,
    /// Passing through.
    Forward = 2,
    /// Made here.
    Output = 3,
    /// About to leave.
    Postrouting = 4,
}

/// How a register is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Equal = 0,
    /// Not equal.
    NotEqual = 1,
}

/// A map that exists for one rule only: from a number below its length to an address and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnonymousMap {
    /// What the key shows as.
    pub key: DataType,
    /// What the value shows as.
    pub value: Vec<DataType>,
    /// Keys and values, as wide as their types.
    pub elements: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One step of a rule; a step that does not match ends the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the line of a variant says what its fields are")]
pub enum Expression {
    /// Loads the transport protocol.
    TransportProtocol(Register),
    /// Loads what a frame carries (EtherType): 2 bytes.
    EtherType(Register),
    /// Loads the name of the incoming interface: 16 bytes.
    InputInterface(Register),
    /// Loads the name of the outgoing interface: 16 bytes.
    OutputInterface(Register),
    /// Loads bytes of the network header (IPv4: source at 12, destination at 16).
    NetworkHeader { to: Register, offset: u32, bytes: u32 },
    /// Loads bytes of the transport header (destination port at 2, ICMP type at 0).
    TransportHeader { to: Register, offset: u32, bytes: u32 },
    /// Goes on if the register compares to `value`.
    Compare { register: Register, how: Compare, value: Vec<u8> },
    /// Keeps the bits of `mask`.
    Mask { register: Register, mask: [u8; 4] },
    /// Loads the bits of the connection's status (`IPS_*`).
    ConnectionStatus(Register),
    /// Loads the bit of the connection's state.
    ConnectionState(Register),
    /// Loads the kind of the destination address: 2 is local (`RTN_LOCAL`).
    DestinationKind(Register),
    /// Loads a random number below `modulus`.
    Random { to: Register, modulus: u32 },
    /// Goes on if the set holds the key.
    InSet { set: String, key: Register },
    /// Loads the map's value for the key; goes on if there is one.
    Map { map: String, key: Register, to: Register },
    /// Like `Map`, for a map of this rule alone.
    InlineMap { map: AnonymousMap, key: Register, to: Register },
    /// Obeys the verdict that the map has for the key.
    VerdictMap { map: String, key: Register },
    /// Adds the key to a set, or renews its time. Does not match when the set is full.
    Remember { set: String, key: Register, timeout_ms: u64 },
    /// Loads a constant.
    Load { to: Register, value: Vec<u8> },
    /// Continues in another chain and does not come back.
    Goto(String),
    /// Drops the packet.
    Drop,
    /// Rewrites the destination to the address and port in registers.
    DestinationNat { address: Register, port: Register },
    /// Rewrites the source to the address of the outgoing interface.
    Masquerade,
    /// Answers with a TCP reset.
    RejectTcp,
    /// Answers with ICMP port unreachable.
    RejectIcmp,
    /// Counts packets and bytes.
    Counter,
}

impl Expression {
    /// The kernel's name of the expression, and its attributes.
    pub(super) fn encode(&self, message: Message, inline_map: Option<&InlineName>) -> Message {
        let (name, fill) = self.parts(inline_map);
        message.nest(NFTA_LIST_ELEM, |element| element.text(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, fill))
    }

    fn parts<'a>(&'a self, inline: Option<&'a InlineName>) -> (&'static str, Box<dyn FnOnce(Message) -> Message + 'a>) {
        use Expression as E;
        match self {
            E::EtherType(to) => meta(*to, 1),
            E::TransportProtocol(to) => meta(*to, 16),
            E::InputInterface(to) => meta(*to, 6),
            E::OutputInterface(to) => meta(*to, 7),
            E::NetworkHeader { to, offset, bytes } => payload(*to, 1, *offset, *bytes),
            E::TransportHeader { to, offset, bytes } => payload(*to, 2, *offset, *bytes),
            E::Compare { register, how, value } => (
                "cmp",
                Box::new(move |m| m.be32(1, register.number()).be32(2, *how as u32).nest(3, |d| data_value(d, value))),
            ),
            E::Mask { register, mask } => ("bitwise", Box::new(move |m| masked(m, *register, mask))),
            E::ConnectionStatus(to) => conntrack(*to, 2),
            E::ConnectionState(to) => conntrack(*to, 0),
            // Result 3 is the address type, flag 2 asks for the destination.
            E::DestinationKind(to) => ("fib", Box::new(move |m| m.be32(1, to.number()).be32(2, 3).be32(3, 2))),
            E::Random { to, modulus } => {
                ("numgen", Box::new(move |m| m.be32(1, to.number()).be32(2, *modulus).be32(3, 1).be32(4, 0)))
            }
            E::InSet { set, key } => ("lookup", Box::new(move |m| m.text(1, set).be32(2, key.number()))),
            E::Map { map, key, to } => {
                ("lookup", Box::new(move |m| m.text(1, map).be32(2, key.number()).be32(3, to.number())))
            }
            E::InlineMap { key, to, .. } => ("lookup", Box::new(move |m| inline_lookup(m, *key, *to, inline))),
            // Register 0 is the verdict.
            E::VerdictMap { map, key } => {
                ("lookup", Box::new(move |m| m.text(1, map).be32(2, key.number()).be32(3, 0)))
            }
            E::Remember { set, key, timeout_ms } => ("dynset", Box::new(move |m| remember(m, set, *key, *timeout_ms))),
            E::Load { to, value } => {
                ("immediate", Box::new(move |m| m.be32(1, to.number()).nest(2, |d| data_value(d, value))))
            }
            E::Goto(chain) => ("immediate", Box::new(move |m| m.be32(1, 0).nest(2, |d| data_goto(d, chain)))),
            E::Drop => ("immediate", Box::new(|m| m.be32(1, 0).nest(2, data_drop))),
            E::DestinationNat { address, port } => ("nat", Box::new(move |m| destination_nat(m, *address, *port))),
            E::Masquerade => ("masq", Box::new(|m| m)),
            E::RejectTcp => ("reject", Box::new(|m| m.be32(1, 1))),
            // Type 0 is ICMP unreachable, code 3 the port.
            E::RejectIcmp => ("reject", Box::new(|m| m.be32(1, 0).u8(2, 3))),
            E::Counter => ("counter", Box::new(|m| m.be64(1, 0).be64(2, 0))),
        }
    }
}

/// The name and transaction id under which a rule's own map was made.
pub(super) struct InlineName {
    pub(super) name: String,
    pub(super) id: u32,
}

type Parts<'a> = (&'static str, Box<dyn FnOnce(Message) -> Message + 'a>);

fn meta<'a>(to: Register, key: u32) -> Parts<'a> {
    ("meta", Box::new(move |m| m.be32(1, to.number()).be32(2, key)))
}

fn conntrack<'a>(to: Register, key: u32) -> Parts<'a> {
    ("ct", Box::new(move |m| m.be32(1, to.number()).be32(2, key)))
}

fn payload<'a>(to: Register, base: u32, offset: u32, bytes: u32) -> Parts<'a> {
    ("payload", Box::new(move |m| m.be32(1, to.number()).be32(2, base).be32(3, offset).be32(4, bytes)))
}

fn masked(message: Message, register: Register, mask: &[u8; 4]) -> Message {
    let ends = message.be32(1, register.number()).be32(2, register.number()).be32(3, 4);
    ends.nest(4, |d| data_value(d, mask)).nest(5, |d| data_value(d, &[0; 4]))
}

fn inline_lookup(message: Message, key: Register, to: Register, inline: Option<&InlineName>) -> Message {
    let inline = inline.expect("the transaction makes the map before the rule");
    message.text(1, &inline.name).be32(2, key.number()).be32(3, to.number()).be32(4, inline.id)
}

fn remember(message: Message, set: &str, key: Register, timeout_ms: u64) -> Message {
    // Operation 1 is update: add, or renew the time.
    message.text(1, set).be32(3, 1).be32(4, key.number()).be64(6, timeout_ms)
}

fn destination_nat(message: Message, address: Register, port: Register) -> Message {
    let target = message.be32(1, 1).be32(2, NFPROTO_IPV4);
    // The last register of each range repeats the first, as nft does.
    let range = target.be32(3, address.number()).be32(4, address.number());
    range.be32(5, port.number()).be32(6, port.number())
}

pub(super) fn data_value(message: Message, value: &[u8]) -> Message {
    message.raw(NFTA_DATA_VALUE, value)
}

pub(super) fn data_goto(message: Message, chain: &str) -> Message {
    message.nest(NFTA_DATA_VERDICT, |verdict| {
        verdict.be32(NFTA_VERDICT_CODE, NFT_GOTO.cast_unsigned()).text(NFTA_VERDICT_CHAIN, chain)
    })
}

pub(super) fn data_drop(message: Message) -> Message {
    message.nest(NFTA_DATA_VERDICT, |verdict| verdict.be32(NFTA_VERDICT_CODE, NF_DROP.cast_unsigned()))
}
