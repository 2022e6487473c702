//! Words of IPv4 that rules are written in.
//!
//! A header field is loaded whole into the register that is named, or into that and those that follow; where a key has several parts, each begins
//! at a register of its own.

use super::{Expression, Register};
use std::net::Ipv4Addr;

/// Where the source address begins in the header (RFC 791).
const SOURCE_OFFSET: u32 = 12;
/// Where the destination address begins.
const DESTINATION_OFFSET: u32 = 16;

/// Loads the source address: 4 bytes, one register.
#[must_use]
pub const fn source(to: Register) -> Expression {
    Expression::NetworkHeader { to, offset: SOURCE_OFFSET, bytes: 4 }
}

/// Loads the destination address: 4 bytes, one register.
#[must_use]
pub const fn destination(to: Register) -> Expression {
    Expression::NetworkHeader { to, offset: DESTINATION_OFFSET, bytes: 4 }
}

/// Loads the destination port of a transport protocol that has ports: 2 bytes. All three of [`Transport`] have it at the same place
/// (RFC 9293, RFC 768, RFC 9260).
#[must_use]
pub const fn destination_port(to: Register) -> Expression {
    Expression::TransportHeader { to, offset: 2, bytes: 2 }
}

/// Transport protocols that have ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Transmission control.
    Tcp,
    /// User datagrams.
    Udp,
    /// Stream control.
    Sctp,
}

impl Transport {
    /// The one of this name (IANA's keyword: `TCP`).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// Its name as `nft` writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Its number in the IP header (IANA).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// Addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The first of them.
    pub base: [u8; 4],
    /// The bits that are the same.
    pub mask: [u8; 4],
}

impl Block {
    /// Reads `ADDRESS/BITS`; `None` for everything else, such as addresses of IPv6.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits): (Ipv4Addr, u32) = (address.parse().ok()?, bits.parse().ok()?);
        let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or(0);
        Some(Self { base: (u32::from(address) & mask).to_be_bytes(), mask: mask.to_be_bytes() })
    }
}
