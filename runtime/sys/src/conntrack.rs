//! The connections that the kernel follows: lists those of one transport protocol and forgets single ones
//! (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`).
//!
//! UDP has no end of connection: a flow that keeps sending renews its entry, and with it the rewriting to an address that
//! may be gone. Whoever changes the rules has to make the kernel forget.
//!
//! What it leaves to others: which connections are stale.

use crate::netlink::{Attributes, Family, Message, Refusal, Socket};
use nix::errno::Errno;
use std::net::{Ipv4Addr, SocketAddrV4};

const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
/// Address family ip, version 0, resource id 0.
const GENERAL_MESSAGE: [u8; 4] = [2, 0, 0, 0];
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

/// One followed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Protocol number in the IP header.
    pub protocol: u8,
    /// Who sent the first packet.
    pub from: SocketAddrV4,
    /// Where the first packet was sent to, before any rewriting.
    pub to: SocketAddrV4,
    /// Who answers: the destination after rewriting.
    pub answered_by: SocketAddrV4,
    id: [u8; 4],
}

/// Lists the connections of a transport protocol, in the network namespace of the calling thread.
///
/// # Errors
/// The kernel refuses; it knows no conntrack.
pub fn list(protocol: u8) -> Result<Vec<Connection>, Refusal> {
    let mut socket = Socket::open(Family::Netfilter)?;
    let replies = socket.dump(&Message::new(CT_GET, 0, &GENERAL_MESSAGE))?;
    let connections = replies.iter().filter_map(|reply| parse(reply.payload.get(4..)?));
    Ok(connections.filter(|connection| connection.protocol == protocol).collect())
}

/// Makes the kernel forget a connection; fine if it already has.
///
/// # Errors
/// The kernel refuses.
pub fn forget(connection: &Connection) -> Result<(), Refusal> {
    let tuple = |message: Message| {
        message
            .nest(CTA_TUPLE_IP, |ip| {
                let from = ip.raw(CTA_IP_V4_SRC, &connection.from.ip().octets());
                from.raw(CTA_IP_V4_DST, &connection.to.ip().octets())
            })
            .nest(CTA_TUPLE_PROTO, |transport| {
                let ports = transport.u8(CTA_PROTO_NUM, connection.protocol);
                let from = ports.raw(CTA_PROTO_SRC_PORT, &connection.from.port().to_be_bytes());
                from.raw(CTA_PROTO_DST_PORT, &connection.to.port().to_be_bytes())
            })
    };
    // The id keeps us from deleting a younger connection between the same two.
    let request = Message::new(CT_DELETE, 0, &GENERAL_MESSAGE).nest(CTA_TUPLE_ORIG, tuple).raw(CTA_ID, &connection.id);
    match Socket::open(Family::Netfilter)?.request(request) {
        Err(refusal) if refusal.errno != Errno::ENOENT => Err(refusal),
        _ => Ok(()),
    }
}

fn parse(bytes: &[u8]) -> Option<Connection> {
    let attributes = Attributes::of(bytes);
    let (protocol, from, to) = tuple(attributes.nest(CTA_TUPLE_ORIG))?;
    let (_, answered_by, _) = tuple(attributes.nest(CTA_TUPLE_REPLY))?;
    let id = attributes.get(CTA_ID)?.try_into().ok()?;
    Some(Connection { protocol, from, to, answered_by, id })
}

fn tuple(attributes: Attributes<'_>) -> Option<(u8, SocketAddrV4, SocketAddrV4)> {
    let (ip, transport) = (attributes.nest(CTA_TUPLE_IP), attributes.nest(CTA_TUPLE_PROTO));
    let address = |kind| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(kind)?).ok()?));
    // ICMP has no ports.
    let port = |kind| transport.get(kind).and_then(|value| value.try_into().ok()).map_or(0, u16::from_be_bytes);
    let from = SocketAddrV4::new(address(CTA_IP_V4_SRC)?, port(CTA_PROTO_SRC_PORT));
    let to = SocketAddrV4::new(address(CTA_IP_V4_DST)?, port(CTA_PROTO_DST_PORT));
    Some((*transport.get(CTA_PROTO_NUM)?.first()?, from, to))
}
