//! A network namespace for a node in a box: it is born with a loopback that is down and nothing else.

use crate::{NetError, links};
use nix::errno::Errno;
use skiff_sys::netlink::{Family, Socket};
use std::net::Ipv4Addr;

/// Brings the loopback of the calling thread's network namespace up and gives it `address`, which the node then has as its
/// own. Asking again changes nothing.
///
/// # Errors
/// The kernel refuses: no CAP_NET_ADMIN in this namespace.
pub fn prepare_own(address: Ipv4Addr) -> Result<(), NetError> {
    let refused = |error: std::io::Error| NetError::kernel("open netlink socket for", "the box")(error.into());
    let mut socket = Socket::open(Family::Route).map_err(refused)?;
    socket.request(links::loopback_up()).map_err(NetError::kernel("bring up", "lo"))?;
    match socket.request(links::add_address(links::LOOPBACK_INDEX, address, 32, None)) {
        Err(refusal) if refusal.errno == Errno::EEXIST => Ok(()),
        added => added.map(drop).map_err(NetError::kernel("give lo the address", address.to_string())),
    }
}
