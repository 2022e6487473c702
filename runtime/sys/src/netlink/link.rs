//! Network interfaces: the rtnetlink(7) messages that find them, list them, switch them on, and give them addresses
//! (`include/uapi/linux/{rtnetlink,if_link,if_addr}.h`). No I/O.

use super::{Attributes, Message, Reply, text};

/// Makes or changes an interface.
pub const NEW_LINK: u16 = 16;
/// Removes one.
pub const DEL_LINK: u16 = 17;
/// Asks for one, or for all.
pub const GET_LINK: u16 = 18;
/// Gives an address.
pub const NEW_ADDRESS: u16 = 20;
/// Asks for addresses.
pub const GET_ADDRESS: u16 = 22;
/// Flags of a request: what it makes may exist or not.
pub const CREATE: u16 = 0x400;
/// It must not exist.
pub const EXCLUSIVE: u16 = 0x200;
/// Flag of an interface: it is on.
pub const UP: u32 = 1;
/// Attribute: the hardware address.
pub const IFLA_ADDRESS: u16 = 1;
/// Attribute: the name.
pub const IFLA_IFNAME: u16 = 3;
/// Attribute: what kind it is of, and what belongs to the kind.
pub const IFLA_LINKINFO: u16 = 18;
/// Attribute: a descriptor of the network namespace that it goes to.
pub const IFLA_NET_NS_FD: u16 = 28;
/// Attribute in [`IFLA_LINKINFO`]: the kind.
pub const IFLA_INFO_KIND: u16 = 1;
/// Attributes of an address.
pub const IFA_ADDRESS: u16 = 1;
/// The address itself, where [`IFA_ADDRESS`] is the other end's.
pub const IFA_LOCAL: u16 = 2;
/// Who is told by broadcast.
pub const IFA_BROADCAST: u16 = 4;
/// For everybody.
pub const SCOPE_UNIVERSE: u8 = 0;
/// Bytes of `struct ifinfomsg`.
pub const HEADER_BYTES: usize = 16;

/// An interface as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `bridge`, `veth`, …; empty for a device.
    pub kind: String,
}

/// Reads an answer to [`get`] or [`list`].
#[must_use]
pub fn parse(reply: &Reply) -> Option<Link> {
    let index = u32::from_ne_bytes(reply.payload.get(4..8)?.try_into().ok()?);
    let attributes = Attributes::of(reply.payload.get(HEADER_BYTES..)?);
    let kind = attributes.nest(IFLA_LINKINFO).get(IFLA_INFO_KIND).map(text).unwrap_or_default();
    Some(Link { index, name: attributes.get(IFLA_IFNAME).map(text)?, kind })
}

/// `struct ifinfomsg`, with flags that are to change.
#[must_use]
pub fn header(index: u32, flags: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// Asks for one interface.
#[must_use]
pub fn get(name: &str) -> Message {
    list().text(IFLA_IFNAME, name)
}

/// Asks for all interfaces (a dump).
#[must_use]
pub fn list() -> Message {
    Message::new(GET_LINK, 0, &header(0, 0))
}

/// Switches an interface on.
#[must_use]
pub fn up(index: u32) -> Message {
    Message::new(NEW_LINK, 0, &header(index, UP))
}

/// Gives an interface an address that it must not have yet; its attributes are still to be added. `family` is an `AF_…`.
#[must_use]
pub fn add_address(index: u32, family: u8, prefix: u8) -> Message {
    let [a, b, c, d] = index.to_ne_bytes();
    Message::new(NEW_ADDRESS, CREATE | EXCLUSIVE, &[family, prefix, 0, SCOPE_UNIVERSE, a, b, c, d])
}
