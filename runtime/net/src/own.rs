//! A network namespace for a node in a box: it is born with a loopback that is down and nothing else. Several boxes on one host are
//! joined as machines are by a switch.
//!
//! ```text
//!  box 1 (the hub)                                box 2
//!  skifflan  bridge ── lan-2 ═══ veth ═══ skifflan
//!  route to all boxes on it                   route to all boxes on it
//! ```

use crate::asking::{ask, find_link, open, remove_link};
use crate::{NetError, links};
use nix::errno::Errno;
use skiff_sys::netlink::{Family, Socket};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::Path;

/// What leads to the other boxes: a bridge in the first, the end of a veth pair in each other.
const LAN: &str = "skifflan";
/// Start of the name of the hub's end of a veth pair; the last number of the other box's address follows.
const MEMBER_PREFIX: &str = "lan-";
/// What these links are for.
const BOX: &str = "the box";
/// The addresses of boxes have so many bits in common.
const LAN_PREFIX: u8 = 24;

/// Brings the loopback of the calling thread's network namespace up and gives it `address`, which the node then has as its
/// own. Asking again changes nothing.
///
/// # Errors
/// The kernel refuses: no CAP_NET_ADMIN in this namespace.
pub fn prepare_own(address: Ipv4Addr) -> Result<(), NetError> {
    let mut socket = open(BOX)?;
    ask(&mut socket, "bring up", "lo", links::loopback_up())?;
    match socket.request(links::add_address(links::LOOPBACK_INDEX, address, 32, None)) {
        Err(refusal) if refusal.errno == Errno::EEXIST => Ok(()),
        added => added.map(drop).map_err(NetError::kernel("give lo the address", address.to_string())),
    }
}

/// Makes the calling thread's network namespace the hub of other boxes; `address` is its own. Asking again changes nothing.
///
/// # Errors
/// The kernel refuses, or something else has the name.
pub fn prepare_hub(address: Ipv4Addr) -> Result<(), NetError> {
    let mut socket = open(BOX)?;
    match socket.request(links::add_bridge(LAN, address)) {
        Err(refusal) if refusal.errno != Errno::EEXIST => Err(NetError::kernel("add bridge", LAN)(refusal)),
        _ => lead_to_boxes(&mut socket, address),
    }
}

/// Joins the calling thread's network namespace, whose own address is `address`, to the hub in the namespace at `hub`. Asking again
/// changes nothing.
///
/// # Errors
/// There is no hub, or the kernel refuses.
pub fn join_hub(hub: &Path, address: Ipv4Addr) -> Result<(), NetError> {
    let mut own = open(BOX)?;
    if find_link(&mut own, LAN)?.is_none() {
        let mut there = Socket::open_in(Family::Route, hub).map_err(NetError::file("enter network namespace", hub))?;
        let bridge = find_link(&mut there, LAN)?.ok_or_else(|| {
            NetError::kernel("find the network of boxes in", hub.display().to_string())(Errno::ENODEV.into())
        })?;
        // The thread's namespace, not that of the process's first thread.
        let here = Path::new("/proc/thread-self/ns/net");
        let here = File::open(here).map_err(NetError::file("open network namespace", here))?;
        let name = format!("{MEMBER_PREFIX}{}", address.octets()[3]);
        // Left over from a box whose processes have not all ended.
        remove_link(&mut there, &name)?;
        let pair = links::Pair { name: &name, peer: LAN, address, netns: here.as_raw_fd(), bridge: bridge.index };
        ask(&mut there, "add interface", &name, links::add_pair(pair))?;
        // What a node port leads back to the node that it came from leaves by the port it came in by.
        ask(&mut there, "set hairpin mode of bridge port", &name, links::hairpin(&name))?;
    }
    lead_to_boxes(&mut own, address)
}

/// Brings the interface up, with a route to all boxes. The address itself is the loopback's: the kernel answers for it on every
/// interface.
fn lead_to_boxes(socket: &mut Socket, address: Ipv4Addr) -> Result<(), NetError> {
    let index = find_link(socket, LAN)?.map_or(0, |link| link.index);
    ask(socket, "bring up", LAN, links::up(index))?;
    let [a, b, c, _] = address.octets();
    let route = links::add_link_route(index, (Ipv4Addr::new(a, b, c, 0), LAN_PREFIX), address);
    ask(socket, "add route to other boxes on", LAN, route)?;
    // A packet for a node port may leave where it came from; a redirect would lead around connection tracking.
    let redirects = format!("/proc/sys/net/ipv4/conf/{LAN}/send_redirects");
    let redirects = Path::new(&redirects);
    fs::write(redirects, "0").map_err(NetError::file("write", redirects))
}
