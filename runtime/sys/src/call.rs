//! Turning raw results of system calls into owned values.

use nix::errno::Errno;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The descriptor that a system call has just returned.
///
/// # Safety
/// `result` must be the direct result of a call that returns a new descriptor nobody else knows, or a negative number.
pub(crate) unsafe fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let raw = Errno::result(result)?;
    let raw = RawFd::try_from(raw).map_err(|_| Errno::EBADF)?;
    // SAFETY: the caller promises that `raw` was just returned as a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
