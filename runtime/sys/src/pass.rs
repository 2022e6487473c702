//! Passing open files between processes over unix sockets, and telling a terminal its size.
//!
//! What it leaves to others: the words that travel beside the descriptors.

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// How many descriptors one message may carry: stdin, stdout, stderr and a terminal.
pub const PASSED_FDS_MAX: usize = 4;

/// Sends `bytes` with `fds` attached to their first byte (unix(7), `SCM_RIGHTS`); returns how many bytes went.
///
/// # Errors
/// Those of sendmsg(2); `EINVAL` for more than [`PASSED_FDS_MAX`] descriptors.
pub fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    if fds.len() > PASSED_FDS_MAX {
        return Err(Errno::EINVAL);
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)
}

/// Receives bytes and the descriptors that came with them; the descriptors are close-on-exec. Zero bytes: the end.
///
/// # Errors
/// Those of recvmsg(2); `EMSGSIZE` if more descriptors came than [`PASSED_FDS_MAX`].
pub fn recv_with_fds(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = cmsg_space!([RawFd; PASSED_FDS_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just installed these descriptors for this message, and nobody else knows them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    // The kernel closes what did not fit, but a request without its descriptors must not be obeyed.
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, fds))
}

/// Tells the terminal behind `master` its size (ioctl_tty(2), `TIOCSWINSZ`); its foreground group gets SIGWINCH.
///
/// # Errors
/// `ENOTTY` when `master` is no terminal.
pub fn set_window_size(master: BorrowedFd<'_>, columns: u16, rows: u16) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize from the address, which outlives the call.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_arrives_with_its_bytes() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send_with_fds(left.as_fd(), b"hello", &[writer.as_fd()]).unwrap();
        drop(writer);

        let mut buffer = [0; 16];
        let (count, mut fds) = recv_with_fds(right.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..count], fds.len()), (&b"hello"[..], 1));
        std::fs::File::from(fds.remove(0)).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn too_many_descriptors_are_refused_before_sending() {
        let (left, _right) = UnixStream::pair().unwrap();
        let fds = vec![left.as_fd(); PASSED_FDS_MAX + 1];
        assert_eq!(send_with_fds(left.as_fd(), b"x", &fds), Err(Errno::EINVAL));
    }

    #[test]
    fn only_terminals_have_a_size() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(set_window_size(reader.as_fd(), 80, 24), Err(Errno::ENOTTY));
    }
}
