//! The words between the runtime and the container's first process while it is built.
//!
//! One message is one packet of a `SOCK_SEQPACKET` pair: a letter and, for a failure or a pid, text. The order is fixed:
//!
//! ```text
//!  parent                                   child
//!    │  ── clone3 ───────────────────────────►│
//!    │ ◄─ Unshared   (through a relay only) ─ │
//!    │  ── Mapped  (its user namespace) ─────►│
//!    │ ◄─ Born(pid)  (through a relay only) ─ │
//!    │  ── Go(pid)  (users are mapped) ──────►│  cgroup, namespaces, mounts, devices
//!    │ ◄─ Assembled  (if hooks wait) ──────── │
//!    │  ── HooksRan ─────────────────────────►│  root, privileges
//!    │ ◄─ Ready, or Failed(text) ──────────── │  waits for the start
//! ```

use crate::error::{Error, On, Result};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use std::os::fd::{AsRawFd, OwnedFd};

/// The longest packet: an error names one path and a reason.
const PACKET_BYTES_MAX: usize = 16 * 1024;

/// What the child says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromChild {
    /// The relay is in a user namespace of its own, which has no maps yet.
    Unshared,
    /// A relay made the child, which has this pid in our namespace.
    Born(i32),
    /// Namespaces, mounts and devices are there; the root is still the host's.
    Assembled,
    /// Nothing is left but the start.
    Ready,
    /// It cannot be built.
    Failed(String),
}

/// What the parent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromParent {
    /// The maps of the relay's user namespace are written.
    Mapped,
    /// The maps of the child's user namespace and its limits are written; this is its pid in our namespace.
    Go(i32),
    /// The hooks that come before the root changes ran.
    HooksRan,
}

/// The parent's end.
#[derive(Debug)]
pub(crate) struct ParentEnd(OwnedFd);

/// The child's end.
#[derive(Debug)]
pub(crate) struct ChildEnd(OwnedFd);

/// Makes both ends; close-on-exec.
///
/// # Errors
/// Descriptors have run out.
pub(crate) fn pair() -> Result<(ParentEnd, ChildEnd)> {
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    let (parent, child) = pair.on("make", "handshake")?;
    Ok((ParentEnd(parent), ChildEnd(child)))
}

impl ParentEnd {
    /// Tells the child to go on.
    ///
    /// # Errors
    /// The child has ended.
    pub(crate) fn tell(&self, word: &FromParent) -> Result<()> {
        let packet = match word {
            FromParent::Mapped => "m".to_owned(),
            FromParent::Go(pid) => format!("g{pid}"),
            FromParent::HooksRan => "h".to_owned(),
        };
        send(self.0.as_raw_fd(), packet.as_bytes(), MsgFlags::MSG_NOSIGNAL).map(drop).on("tell", "container process")
    }

    /// Waits for the child to say `wanted`.
    ///
    /// # Errors
    /// It fails, with its own words, or ends without any.
    pub(crate) fn await_word(&self, wanted: &FromChild) -> Result<()> {
        match self.receive()? {
            FromChild::Failed(text) => Err(Error::Said(text)),
            word if word == *wanted => Ok(()),
            word => Err(Error::Said(format!("container process said {word:?} where {wanted:?} was due"))),
        }
    }

    /// Waits for a relay to name the child; `map` writes the maps of the relay's own user namespace when it has one.
    ///
    /// # Errors
    /// As for [`ParentEnd::await_word`]; those of `map`.
    pub(crate) fn await_birth(&self, mut map: impl FnMut() -> Result<()>) -> Result<i32> {
        loop {
            match self.receive()? {
                FromChild::Born(pid) => return Ok(pid),
                FromChild::Unshared => {
                    map()?;
                    self.tell(&FromParent::Mapped)?;
                }
                FromChild::Failed(text) => return Err(Error::Said(text)),
                word => return Err(Error::Said(format!("relay said {word:?} instead of a pid"))),
            }
        }
    }

    /// Why the child, which has ended, did so, if it said that and nobody has heard it yet.
    pub(crate) fn last_words(&self) -> Option<Error> {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            let count = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).ok()?;
            if let FromChild::Failed(text) = decode(&buffer[..count])? {
                return Some(Error::Said(text));
            }
        }
    }

    fn receive(&self) -> Result<FromChild> {
        // Nearly always it is one letter: memory for more is made when there is more.
        let mut short = [0; 16];
        let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
        let bytes = recv(self.0.as_raw_fd(), &mut short, look).on("hear", "container process")?;
        let mut long = if bytes > short.len() { vec![0; bytes] } else { Vec::new() };
        let buffer = if long.is_empty() { short.as_mut_slice() } else { long.as_mut_slice() };
        let count = recv(self.0.as_raw_fd(), buffer, MsgFlags::empty()).on("hear", "container process")?;
        decode(&buffer[..count]).ok_or_else(|| Error::Said("container process ended before it was ready".to_owned()))
    }
}

impl ChildEnd {
    /// Tells the parent.
    ///
    /// # Errors
    /// The parent has ended.
    pub(crate) fn tell(&self, word: &FromChild) -> Result<()> {
        send(self.0.as_raw_fd(), &encode(word), MsgFlags::MSG_NOSIGNAL).map(drop).on("tell", "runtime")
    }

    /// Waits for the parent to say `wanted`.
    ///
    /// # Errors
    /// The parent has ended.
    pub(crate) fn await_word(&self, wanted: &FromParent) -> Result<()> {
        if self.receive()?.as_ref() == Some(wanted) { Ok(()) } else { Err(gone()) }
    }

    /// Waits for the parent to say that this process, whose pid it tells, may go on.
    ///
    /// # Errors
    /// The parent has ended.
    pub(crate) fn await_go(&self) -> Result<i32> {
        if let Some(FromParent::Go(pid)) = self.receive()? { Ok(pid) } else { Err(gone()) }
    }

    fn receive(&self) -> Result<Option<FromParent>> {
        let mut packet = [0; 16];
        let count = recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()).on("hear", "runtime")?;
        Ok(match packet[..count].split_first() {
            Some((b'm', _)) => Some(FromParent::Mapped),
            Some((b'h', _)) => Some(FromParent::HooksRan),
            Some((b'g', pid)) => std::str::from_utf8(pid).ok().and_then(|pid| pid.parse().ok()).map(FromParent::Go),
            _ => None,
        })
    }
}

fn gone() -> Error {
    Error::Said("the runtime ended during creation".to_owned())
}

fn encode(word: &FromChild) -> Vec<u8> {
    let mut packet = match word {
        FromChild::Unshared => "u".to_owned(),
        FromChild::Born(pid) => format!("b{pid}"),
        FromChild::Assembled => "a".to_owned(),
        FromChild::Ready => "r".to_owned(),
        FromChild::Failed(text) => format!("f{text}"),
    }
    .into_bytes();
    packet.truncate(PACKET_BYTES_MAX);
    packet
}

fn decode(packet: &[u8]) -> Option<FromChild> {
    let (letter, text) = packet.split_first()?;
    let text = String::from_utf8_lossy(text);
    match letter {
        b'u' => Some(FromChild::Unshared),
        b'b' => text.parse().ok().map(FromChild::Born),
        b'a' => Some(FromChild::Assembled),
        b'r' => Some(FromChild::Ready),
        b'f' => Some(FromChild::Failed(text.into_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_survives_the_way() {
        for word in [
            FromChild::Unshared,
            FromChild::Born(7),
            FromChild::Assembled,
            FromChild::Ready,
            FromChild::Failed("x: y".to_owned()),
        ] {
            assert_eq!(decode(&encode(&word)), Some(word));
        }
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"?"), None);
    }

    #[test]
    fn the_child_hears_its_pid() {
        let (parent, child) = pair().unwrap();
        parent.tell(&FromParent::Go(4_711_000)).unwrap();
        assert_eq!(child.await_go().unwrap(), 4_711_000);
        parent.tell(&FromParent::HooksRan).unwrap();
        assert!(child.await_go().is_err());
    }

    #[test]
    fn last_words_are_heard_when_nobody_listened() {
        let (parent, child) = pair().unwrap();
        child.tell(&FromChild::Assembled).unwrap();
        child.tell(&FromChild::Failed("because".to_owned())).unwrap();
        drop(child);
        assert!(parent.tell(&FromParent::Go(1)).is_err());
        assert_eq!(parent.last_words().map(|error| error.to_string()).as_deref(), Some("because"));
        assert!(parent.last_words().is_none());
    }

    #[test]
    fn an_end_without_words_is_a_failure() {
        let (parent, child) = pair().unwrap();
        drop(child);
        assert!(parent.await_word(&FromChild::Ready).unwrap_err().to_string().contains("before it was ready"));
    }
}
