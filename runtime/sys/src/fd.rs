//! Descriptors in bulk, and paths that name a descriptor.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// Marks every descriptor from `first` on close-on-exec (close_range(2), `CLOSE_RANGE_CLOEXEC`).
///
/// # Errors
/// `ENOSYS` before Linux 5.11.
pub fn cloexec_from(first: RawFd) -> Result<(), Errno> {
    let first = libc::c_uint::try_from(first).map_err(|_| Errno::EBADF)?;
    // SAFETY: close_range takes no addresses, and with CLOEXEC it closes nothing that an owner still uses.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(result).map(drop)
}

/// Takes over a descriptor that this program was started with, such as those announced by `--preserve-fds`.
///
/// # Errors
/// `EBADF` if it is not open.
pub fn inherited(raw: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD takes no address; it only asks whether the number is open.
    Errno::result(unsafe { libc::fcntl(raw, libc::F_GETFD) })?;
    // SAFETY: it is open, and came from whoever started us, so no owner exists in this program.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// `/proc/self/fd/N`: a path for interfaces that only take paths. Only true where `/proc` is the host's.
#[must_use]
pub fn path_of(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}
