//! nf_tables over netlink: transactions of tables, chains, rules, sets and maps, without the `nft` program.
//!
//! A [`Transaction`] is a list of [`Change`]s to one table; the kernel takes all of them or none, and
//! packets see the rules before or after, nothing between. Numbers are those of
//! `include/uapi/linux/netfilter/nf_tables.h`.
//!
//! What it leaves to others: which rules there are.

mod contents;
mod encode;
mod expression;
mod ipv4;
mod transaction;

pub use contents::{Contents, Frame};
pub use expression::{AnonymousMap, Compare, Expression, Hook, Register};
pub use ipv4::{Block, Transport, destination, destination_port, source};
pub use transaction::{
    Chain, ChainType, Change, Data, Element, NftError, Rule, Set, SetKind, TableFamily, Transaction, table_exists,
    table_exists_in,
};

/// How values are shown by `nft list`, and how wide they are (libnftables' datatype numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// A number in the machine's byte order.
    Integer,
    /// IPv4 address.
    Ipv4Address,
    /// Protocol number in the IP header.
    Protocol,
    /// Port.
    Service,
}

impl DataType {
    const fn number(self) -> u32 {
        match self {
            Self::Integer => 4,
            Self::Ipv4Address => 7,
            Self::Protocol => 12,
            Self::Service => 13,
        }
    }

    /// The number of a concatenation: six bits for each part.
    fn concatenated(parts: &[Self]) -> u32 {
        parts.iter().fold(0, |number, part| number << 6 | part.number())
    }

    /// Bytes of a concatenation: each part fills 32-bit registers.
    fn bytes(parts: &[Self]) -> u32 {
        u32::try_from(parts.len() * 4).expect("a concatenation has a handful of parts")
    }
}

/// A value that fills one 32-bit register, in the order it has in a packet.
#[must_use]
pub fn port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// A protocol number as it fills one 32-bit register.
#[must_use]
pub const fn protocol(number: u8) -> [u8; 4] {
    [number, 0, 0, 0]
}
