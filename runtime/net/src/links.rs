//! The rtnetlink messages of pod networks (rtnetlink(7), `include/uapi/linux/{if_link,rtnetlink}.h`), beside those that all
//! have in common ([`skiff_sys::netlink::link`]). No I/O.

use crate::plan::hardware_address;
pub(crate) use skiff_sys::netlink::link::{Link, get, list, parse, up};

use skiff_sys::netlink::Message;
use skiff_sys::netlink::link::{
    self, CREATE, DEL_LINK, EXCLUSIVE, IFA_ADDRESS, IFA_BROADCAST, IFA_LOCAL, IFLA_ADDRESS, IFLA_IFNAME,
    IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_NET_NS_FD, NEW_LINK, SCOPE_UNIVERSE, UP, header,
};
use std::net::Ipv4Addr;
use std::os::fd::RawFd;

const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const REPLACE: u16 = 0x100;
pub(crate) const AF_INET: u8 = 2;
/// The main table of routes.
pub(crate) const MAIN_TABLE: u8 = 254;
/// Put there by an administrator (`RTPROT_STATIC`).
const ADMINISTRATOR: u8 = 4;
/// Who put a route to another node there; the kernel leaves numbers from 5 on to programs, and this one is nobody's.
pub(crate) const NODE_ROUTE_PROTOCOL: u8 = 115;
/// Bytes of `struct rtmsg`.
pub(crate) const ROUTE_HEADER_BYTES: usize = 12;
/// The loopback interface is the first of every namespace.
pub(crate) const LOOPBACK_INDEX: u32 = 1;

const IFLA_MASTER: u16 = 10;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
pub(crate) const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
pub(crate) const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const SCOPE_LINK: u8 = 253;

/// Removes an interface; a veth goes with its peer.
pub(crate) fn remove(name: &str) -> Message {
    Message::new(DEL_LINK, 0, &header(0, 0)).text(IFLA_IFNAME, name)
}

/// Makes a bridge that is up. Its hardware address is given: an address that the bridge takes from its ports changes
/// when ports come and go, and the pods' neighbour tables would be wrong.
pub(crate) fn add_bridge(name: &str, gateway: Ipv4Addr) -> Message {
    Message::new(NEW_LINK, CREATE | EXCLUSIVE, &header(0, UP))
        .text(IFLA_IFNAME, name)
        .raw(IFLA_ADDRESS, &hardware_address(gateway))
        .nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"))
}

/// A pair of interfaces to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// The node's end.
    pub(crate) name: &'a str,
    /// The pod's end.
    pub(crate) peer: &'a str,
    /// The pod's address.
    pub(crate) address: Ipv4Addr,
    /// An open file of the pod's namespace.
    pub(crate) netns: RawFd,
    /// Index of the bridge.
    pub(crate) bridge: u32,
}

/// Makes a veth pair: the node's end up and a port of the bridge, the other born in the pod's namespace.
pub(crate) fn add_pair(pair: Pair<'_>) -> Message {
    let namespace = u32::try_from(pair.netns).expect("an open descriptor is not negative");
    let peer = |data: Message| {
        data.nest(VETH_INFO_PEER, |peer| {
            // It cannot be born up: the kernel ties the ends together after the peer is configured (ENOTCONN).
            peer.header(&header(0, 0))
                .text(IFLA_IFNAME, pair.peer)
                .raw(IFLA_ADDRESS, &hardware_address(pair.address))
                .u32(IFLA_NET_NS_FD, namespace)
        })
    };
    Message::new(NEW_LINK, CREATE | EXCLUSIVE, &header(0, UP))
        .text(IFLA_IFNAME, pair.name)
        .u32(IFLA_MASTER, pair.bridge)
        .nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, peer))
}

/// Lets the bridge send packets back through the port that they came from (hairpin). Where the bridge hands packets to
/// netfilter (`bridge-nf-call-iptables`), a packet whose destination becomes a pod of this bridge is bridged, not routed:
/// a pod that reaches itself through a service needs this, and isolated ports would never see such a packet.
pub(crate) fn hairpin(name: &str) -> Message {
    Message::new(NEW_LINK, 0, &header(0, 0)).text(IFLA_IFNAME, name).nest(IFLA_LINKINFO, |info| {
        info.text(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |port| port.u8(IFLA_BRPORT_MODE, 1))
    })
}

/// Brings the loopback interface up; it gets 127.0.0.1 by itself.
pub(crate) fn loopback_up() -> Message {
    up(LOOPBACK_INDEX)
}

/// Gives an interface an address.
pub(crate) fn add_address(index: u32, address: Ipv4Addr, prefix: u8, broadcast: Option<Ipv4Addr>) -> Message {
    let made =
        link::add_address(index, AF_INET, prefix).raw(IFA_LOCAL, &address.octets()).raw(IFA_ADDRESS, &address.octets());
    match broadcast {
        Some(broadcast) => made.raw(IFA_BROADCAST, &broadcast.octets()),
        None => made,
    }
}

/// A route to a range of addresses that are on this link; `source` is what the node calls itself there.
pub(crate) fn add_link_route(index: u32, to: (Ipv4Addr, u8), source: Ipv4Addr) -> Message {
    let made = Message::new(NEW_ROUTE, CREATE | REPLACE, &route_header(to.1, SCOPE_LINK, ADMINISTRATOR));
    made.raw(RTA_DST, &to.0.octets()).u32(RTA_OIF, index).raw(RTA_PREFSRC, &source.octets())
}

/// The default route through a gateway.
pub(crate) fn add_default_route(index: u32, gateway: Ipv4Addr) -> Message {
    let made = Message::new(NEW_ROUTE, CREATE | REPLACE, &route_header(0, SCOPE_UNIVERSE, ADMINISTRATOR));
    made.u32(RTA_OIF, index).raw(RTA_GATEWAY, &gateway.octets())
}

/// A route to another node's pods.
pub(crate) fn add_node_route(to: Ipv4Addr, prefix: u8, via: Ipv4Addr) -> Message {
    let made = Message::new(NEW_ROUTE, CREATE | REPLACE, &route_header(prefix, SCOPE_UNIVERSE, NODE_ROUTE_PROTOCOL));
    made.raw(RTA_DST, &to.octets()).raw(RTA_GATEWAY, &via.octets())
}

/// Removes it.
pub(crate) fn remove_node_route(to: Ipv4Addr, prefix: u8) -> Message {
    let made = Message::new(DEL_ROUTE, 0, &route_header(prefix, SCOPE_UNIVERSE, NODE_ROUTE_PROTOCOL));
    made.raw(RTA_DST, &to.octets())
}

/// Asks for all routes (a dump).
pub(crate) fn list_routes() -> Message {
    Message::new(GET_ROUTE, 0, &[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// `struct rtmsg`: the main table, put there by `protocol`, unicast (1).
fn route_header(prefix: u8, scope: u8, protocol: u8) -> [u8; ROUTE_HEADER_BYTES] {
    [AF_INET, prefix, 0, 0, MAIN_TABLE, protocol, scope, 1, 0, 0, 0, 0]
}
