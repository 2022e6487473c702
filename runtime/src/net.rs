//! Interfaces of the host that move into the container's network (runtime-spec config-linux, Network Devices).
//!
//! Moving flushes an interface's addresses, so those that were meant to stay are read before and given again after. What the
//! container does with the interface, and where it goes when the namespace ends, is not the runtime's.

use crate::error::{Acts, Error, On, Result};
use crate::spec::NetDevice;
use crate::steps;
use nix::errno::Errno;
use skiff_sys::namespace::enter;
use skiff_sys::netlink::link::{
    self, GET_ADDRESS, IFA_ADDRESS, IFA_BROADCAST, IFA_LOCAL, IFLA_IFNAME, IFLA_NET_NS_FD, NEW_LINK, SCOPE_UNIVERSE,
};
use skiff_sys::netlink::{Attributes, Family, Message, Refusal, Reply, Socket};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
const ADDRESS_HEADER_BYTES: usize = 8;

/// An address that moves along: family, prefix length, and the attributes that make it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    family: u8,
    prefix: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Moves `devices` into the network namespace at `netns`, and brings them up there.
///
/// # Errors
/// There is no such interface, or its new name is taken.
pub(crate) fn move_all(acts: &Acts, devices: &[NetDevice], netns: &Path) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let target: OwnedFd = std::fs::File::open(netns).on(steps::NET_MOVE.id, netns.display())?.into();
    let mut here = Socket::open(Family::Route).on("open", "netlink socket")?;
    let mut there = open_in(target.as_fd())?;
    for device in devices {
        let mut refusal = None;
        let operand = format!("{} as {}", device.host, device.name);
        let done = acts.step(&steps::NET_MOVE, &operand, || {
            move_one(&mut here, &mut there, device, target.as_fd()).map_err(|error| {
                let errno = error.errno;
                refusal = Some(error);
                errno
            })
        });
        done.map_err(|error| match refusal {
            Some(refusal) => Error::Said(format!("{} {operand}: {refusal}", steps::NET_MOVE.id)),
            None => error,
        })?;
    }
    Ok(())
}

/// A socket belongs to the namespace in which it was made; this process itself stays where it is.
fn open_in(target: BorrowedFd<'_>) -> Result<Socket> {
    let own = "/proc/self/ns/net";
    let own_ns: OwnedFd = std::fs::File::open(own).on("open", own)?.into();
    enter(target, libc::CLONE_NEWNET).on(steps::NS_JOIN.id, "network")?;
    let socket = Socket::open(Family::Route).on("open", "netlink socket");
    enter(own_ns.as_fd(), libc::CLONE_NEWNET).on("return to", own)?;
    socket
}

fn move_one(
    here: &mut Socket,
    there: &mut Socket,
    device: &NetDevice,
    target: BorrowedFd<'_>,
) -> std::result::Result<(), Refusal> {
    let index = index_of(here, &device.host)?;
    let addresses: Vec<Address> =
        here.dump(&list_addresses())?.iter().filter_map(|reply| meant_to_stay(reply, index)).collect();
    let before = indices(there)?;
    // Some kernels move first and fail to rename afterwards.
    if index_of(there, &device.name).is_ok() {
        return Err(Errno::EEXIST.into());
    }
    let namespace = u32::try_from(target.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    let moved = Message::new(NEW_LINK, 0, &link::header(index, 0)).u32(IFLA_NET_NS_FD, namespace);
    // A template `%d` is numbered by the kernel.
    here.request(moved.text(IFLA_IFNAME, &device.name))?;
    let index = match device.name.contains('%') {
        false => index_of(there, &device.name)?,
        true => *indices(there)?.difference(&before).next().ok_or(Errno::ENODEV)?,
    };
    for address in &addresses {
        there.request(add_address(index, address))?;
    }
    there.request(link::up(index)).map(drop)
}

fn index_of(socket: &mut Socket, name: &str) -> std::result::Result<u32, Refusal> {
    let replies = socket.request(link::get(name))?;
    let found = replies.first().and_then(link::parse);
    found.map(|link| link.index).ok_or_else(|| Errno::ENODEV.into())
}

fn indices(socket: &mut Socket) -> std::result::Result<BTreeSet<u32>, Refusal> {
    let replies = socket.dump(&link::list())?;
    Ok(replies.iter().filter_map(link::parse).map(|link| link.index).collect())
}

fn list_addresses() -> Message {
    Message::new(GET_ADDRESS, 0, &[0; ADDRESS_HEADER_BYTES])
}

/// Permanent and of global scope, as the specification says.
fn meant_to_stay(reply: &Reply, index: u32) -> Option<Address> {
    let (header, rest) = reply.payload.split_at_checked(ADDRESS_HEADER_BYTES)?;
    let &[family, prefix, flags, scope, ref of @ ..] = header else { return None };
    if u32::from_ne_bytes(of.try_into().ok()?) != index || scope != SCOPE_UNIVERSE {
        return None;
    }
    let attributes = Attributes::of(rest);
    let all_flags = attributes.get(IFA_FLAGS).and_then(|value| value.try_into().ok()).map(u32::from_ne_bytes);
    if all_flags.unwrap_or(flags.into()) & IFA_F_PERMANENT == 0 {
        return None;
    }
    let kept = [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST];
    let attributes = kept.iter().filter_map(|kind| Some((*kind, attributes.get(*kind)?.to_vec()))).collect();
    Some(Address { family, prefix, attributes })
}

fn add_address(index: u32, address: &Address) -> Message {
    let message = link::add_address(index, address.family, address.prefix);
    address.attributes.iter().fold(message, |message, (kind, value)| message.raw(*kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(flags: u8, scope: u8, index: u32) -> Reply {
        let mut payload = vec![2, 24, flags, scope];
        payload.extend(index.to_ne_bytes());
        payload.extend([8, 0, 2, 0, 10, 0, 0, 1]);
        payload.extend([8, 0, 6, 0, 1, 1, 1, 1]);
        Reply { kind: link::NEW_ADDRESS, payload }
    }

    #[test]
    fn permanent_global_addresses_move_along_and_others_stay() {
        let kept = meant_to_stay(&reply(0x80, 0, 3), 3).unwrap();
        assert_eq!((kept.family, kept.prefix), (2, 24));
        assert_eq!(kept.attributes, [(IFA_LOCAL, vec![10, 0, 0, 1])]);
        assert_eq!(meant_to_stay(&reply(0, 0, 3), 3), None, "it expires");
        assert_eq!(meant_to_stay(&reply(0x80, 253, 3), 3), None, "of the link");
        assert_eq!(meant_to_stay(&reply(0x80, 0, 4), 3), None, "of another interface");
    }
}
