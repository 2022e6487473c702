//! A netlink socket: sends requests, waits for their answers, and reads the kernel's reason for a refusal.

use super::attributes::{Attributes, text};
use super::message::{HEADER_BYTES, Message};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

const NLM_F_ACK: u16 = libc::NLM_F_ACK as u16;
const NLM_F_DUMP: u16 = libc::NLM_F_DUMP as u16;
/// The dump was not of one moment; it has to be repeated.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The error message carries only the header of the request.
const NLM_F_CAPPED: u16 = 0x100;
/// The error message carries attributes.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// The kernel fills dumps in buffers of up to 32 KiB; twice that is never truncated.
const RECEIVE_BYTES: usize = 64 << 10;
/// Room for the refusals of a large transaction, about 60 bytes each.
const RECEIVE_QUEUE_BYTES: usize = 1 << 20;
/// How often a dump that was disturbed is repeated.
const DUMPS_MAX: usize = 8;

/// Which kernel subsystem a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Interfaces, addresses, routes: rtnetlink(7).
    Route,
    /// nf_tables and conntrack.
    Netfilter,
}

/// Why the kernel refused a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", errno.desc(), reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
pub struct Refusal {
    /// The error number.
    pub errno: Errno,
    /// The kernel's sentence, if it gave one (extended acknowledgement).
    pub reason: Option<String>,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)), reason: None }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, reason: None }
    }
}

/// A message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its type.
    pub kind: u16,
    /// What follows the netlink header: the family's header, then attributes.
    pub payload: Vec<u8>,
}

/// What one request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Messages before the acknowledgement.
    pub replies: Vec<Reply>,
    /// The acknowledgement.
    pub result: Result<(), Refusal>,
}

/// A netlink socket; not shared, for its sequence numbers are its owner's.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Those of socket(2) and setsockopt(2).
    pub fn open(family: Family) -> io::Result<Self> {
        let protocol = match family {
            Family::Route => SockProtocol::NetlinkRoute,
            Family::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let fd = socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        set_flag(&fd, libc::NETLINK_EXT_ACK)?;
        set_flag(&fd, libc::NETLINK_CAP_ACK)?;
        socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Opens a socket in the network namespace at `netns`. A thread of its own enters the namespace and ends, because a
    /// thread of a pool that stayed in it would do its next task there.
    ///
    /// # Errors
    /// Those of open(2), setns(2) and [`Socket::open`].
    pub fn open_in(family: Family, netns: &Path) -> io::Result<Self> {
        let namespace = std::fs::File::open(netns)?;
        let enter = move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            Self::open(family)
        };
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn(enter)?;
        thread.join().map_err(|_| io::Error::other("the thread that entered the namespace panicked"))?
    }

    /// Sends all requests at once and waits for every answer. A refused request does not stop the ones after it.
    ///
    /// # Errors
    /// The socket itself failed; refusals are in the answers.
    pub fn exchange(&mut self, requests: &[Message]) -> io::Result<Vec<Answer>> {
        let first = self.send(requests, NLM_F_ACK)?;
        let mut answers: Vec<Option<Answer>> = requests.iter().map(|_| None).collect();
        let mut replies: Vec<Vec<Reply>> = requests.iter().map(|_| Vec::new()).collect();
        let mut buffer = vec![0; RECEIVE_BYTES];
        while answers.iter().any(Option::is_none) {
            let length = self.receive(&mut buffer, MsgFlags::empty())?;
            for incoming in Incoming::of(&buffer[..length]) {
                let index = incoming.sequence.wrapping_sub(first) as usize;
                let Some(collected) = replies.get_mut(index) else { continue };
                match incoming.acknowledgement() {
                    Some(result) => answers[index] = Some(Answer { replies: std::mem::take(collected), result }),
                    None => collected.push(incoming.reply()),
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn request(&mut self, request: Message) -> Result<Vec<Reply>, Refusal> {
        let answer = self.exchange(&[request])?.pop().ok_or(Errno::EIO)?;
        answer.result.map(|()| answer.replies)
    }

    /// Asks for a list; repeats the question when the list changed while it was read.
    ///
    /// # Errors
    /// The kernel's refusal; `EINTR` when the list never came to rest.
    pub fn dump(&mut self, request: &Message) -> Result<Vec<Reply>, Refusal> {
        for _ in 0..DUMPS_MAX {
            if let Some(replies) = self.dump_once(request)? {
                return Ok(replies);
            }
        }
        Err(Errno::EINTR.into())
    }

    fn dump_once(&mut self, request: &Message) -> Result<Option<Vec<Reply>>, Refusal> {
        let sequence = self.send(std::slice::from_ref(request), NLM_F_DUMP)?;
        let mut buffer = vec![0; RECEIVE_BYTES];
        let (mut replies, mut disturbed) = (Vec::new(), false);
        loop {
            let length = self.receive(&mut buffer, MsgFlags::empty())?;
            for incoming in Incoming::of(&buffer[..length]).filter(|incoming| incoming.sequence == sequence) {
                disturbed |= incoming.flags & NLM_F_DUMP_INTR != 0;
                match incoming.acknowledgement() {
                    Some(result) => return result.map(|()| (!disturbed).then_some(replies)),
                    None => replies.push(incoming.reply()),
                }
            }
        }
    }

    /// Sends a netfilter transaction: the kernel has worked it off when the send returns, and says nothing when all is
    /// well. Answers the refusals with the index of the request they are about.
    ///
    /// # Errors
    /// The socket itself failed.
    pub fn transact(&mut self, requests: &[Message]) -> io::Result<Vec<(usize, Refusal)>> {
        socket::setsockopt(&self.fd, sockopt::RcvBufForce, &RECEIVE_QUEUE_BYTES)?;
        let first = self.send(requests, 0)?;
        let mut refusals = Vec::new();
        let mut buffer = vec![0; RECEIVE_BYTES];
        loop {
            let length = match self.receive(&mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(refusals),
                // More refusals than the queue holds; the first ones are the telling ones.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && !refusals.is_empty() => {
                    return Ok(refusals);
                }
                Err(error) => return Err(error),
            };
            for incoming in Incoming::of(&buffer[..length]) {
                let index = incoming.sequence.wrapping_sub(first) as usize;
                if let Some(Err(refusal)) = incoming.acknowledgement()
                    && index < requests.len()
                {
                    refusals.push((index, refusal));
                }
            }
        }
    }

    /// Sends `requests` in one datagram; answers the sequence number of the first.
    fn send(&mut self, requests: &[Message], flags: u16) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            request.finish(flags, self.sequence, &mut bytes);
        }
        // A transaction is one datagram, however large; the default send buffer holds about 200 KiB.
        if bytes.len() > 64 << 10 {
            socket::setsockopt(&self.fd, sockopt::SndBufForce, &(bytes.len() * 2))?;
        }
        let kernel = NetlinkAddr::new(0, 0);
        socket::sendto(self.fd.as_raw_fd(), &bytes, &kernel, MsgFlags::empty())?;
        Ok(first)
    }

    fn receive(&self, buffer: &mut [u8], flags: MsgFlags) -> io::Result<usize> {
        loop {
            match socket::recv(self.fd.as_raw_fd(), buffer, flags) {
                Err(Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

fn set_flag(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("an int is small");
    // SAFETY: setsockopt reads `length` bytes at the address of `on`, which outlives the call.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), length) };
    Ok(Errno::result(result).map(drop)?)
}

/// One message in a received datagram.
struct Incoming<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Incoming<'a> {
    fn of(mut bytes: &'a [u8]) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            let length = usize::try_from(word(bytes, 0)?).ok()?;
            let payload = bytes.get(HEADER_BYTES..length)?;
            let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
            let flags = u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?);
            let sequence = word(bytes, 8)?;
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(Self { kind, flags, sequence, payload })
        })
    }

    /// How the request ended, if this message says so.
    fn acknowledgement(&self) -> Option<Result<(), Refusal>> {
        let number = word(self.payload, 0).unwrap_or(0).cast_signed();
        match i32::from(self.kind) {
            libc::NLMSG_ERROR | libc::NLMSG_DONE if number == 0 => Some(Ok(())),
            libc::NLMSG_DONE => Some(Err(Errno::from_raw(-number).into())),
            libc::NLMSG_ERROR => Some(Err(Refusal { errno: Errno::from_raw(-number), reason: self.reason() })),
            _ => None,
        }
    }

    fn reason(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let echoed = match self.flags & NLM_F_CAPPED {
            0 => usize::try_from(word(self.payload, 4)?).ok()?.next_multiple_of(4),
            _ => HEADER_BYTES,
        };
        Attributes::of(self.payload.get(4 + echoed..)?).get(NLMSGERR_ATTR_MSG).map(text)
    }

    fn reply(&self) -> Reply {
        Reply { kind: self.kind, payload: self.payload.to_vec() }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
