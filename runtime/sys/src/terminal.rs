//! Pseudoterminals by descriptor (ioctl_tty(2), pty(7)).

use crate::call::owned;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Unlocks the pair behind `master` and opens its other end, without a path that somebody could replace (`TIOCGPTPEER`).
///
/// # Errors
/// `ENOTTY` when `master` is no pseudoterminal.
pub fn peer(master: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int from the address, which outlives the call.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value and returns a new descriptor.
    unsafe { owned(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags).into()) }
}

/// Makes `terminal` the controlling terminal of this session leader (`TIOCSCTTY`).
///
/// # Errors
/// `EPERM` when we lead no session or it is taken.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a number by value; 0 never steals.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Columns and rows of `terminal` (`TIOCGWINSZ`).
///
/// # Errors
/// `ENOTTY` when it is none.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<(u16, u16), Errno> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills one winsize at the address, which outlives the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_col, size.ws_row))
}
