//! Asking the kernel for links, with what a refusal is about.

use crate::NetError;
use crate::links::{self, Link};
use nix::errno::Errno;
use skiff_sys::netlink::{Family, Message, Socket};

/// A socket to the network namespace of the calling thread, for what is said of `operand`.
pub(crate) fn open(operand: &str) -> Result<Socket, NetError> {
    Socket::open(Family::Route).map_err(|error| NetError::kernel("open netlink socket for", operand)(error.into()))
}

/// Sends `message`, of which the answer says nothing.
pub(crate) fn ask(
    socket: &mut Socket,
    operation: &'static str,
    operand: &str,
    message: Message,
) -> Result<(), NetError> {
    socket.request(message).map(drop).map_err(NetError::kernel(operation, operand))
}

/// The link of that name, if there is one.
pub(crate) fn find_link(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetError> {
    match socket.request(links::get(name)) {
        Ok(replies) => Ok(replies.iter().find_map(links::parse)),
        Err(refusal) if refusal.errno == Errno::ENODEV => Ok(None),
        Err(refusal) => Err(NetError::kernel("find interface", name)(refusal)),
    }
}

/// Removes the link of that name; one that is not there is no error.
pub(crate) fn remove_link(socket: &mut Socket, name: &str) -> Result<(), NetError> {
    match socket.request(links::remove(name)) {
        Err(refusal) if refusal.errno != Errno::ENODEV => Err(NetError::kernel("remove interface", name)(refusal)),
        _ => Ok(()),
    }
}
