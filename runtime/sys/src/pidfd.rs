//! Processes by descriptor: immune to reuse of their numbers.

use crate::call::owned;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Opens the process `pid` (pidfd_open(2)); close-on-exec.
///
/// # Errors
/// `ESRCH` when there is none.
pub fn open(pid: libc::pid_t) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open takes two numbers and returns a new descriptor.
    unsafe { owned(libc::syscall(libc::SYS_pidfd_open, pid, 0)) }
}

/// Sends `signal` (pidfd_send_signal(2)). Takes a number because real-time signals have no name in nix.
///
/// # Errors
/// `ESRCH` when it has ended, `EINVAL` for a number that is no signal.
pub fn send(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> Result<(), Errno> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means what kill(2) would have sent.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) };
    Errno::result(result).map(drop)
}

/// Sends SIGKILL.
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn kill(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    send(pidfd, Signal::SIGKILL as libc::c_int)
}

/// Takes a copy of the descriptor `number` of the process (pidfd_getfd(2)); close-on-exec.
///
/// # Errors
/// `EBADF` when it has none, `EPERM` when we may not look into it (ptrace(2)).
pub fn copy_fd(pidfd: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_getfd takes three numbers and returns a new descriptor.
    unsafe { owned(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0)) }
}
