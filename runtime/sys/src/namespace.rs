//! Entering namespaces (setns(2)).

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `CLONE_NEWTIME`, which libc types as unsigned.
pub const NEWTIME: libc::c_int = 0x80;

/// Enters the namespace behind `fd`, which must be of the one kind in `kind` (a `CLONE_NEW…` constant).
///
/// # Errors
/// Those of setns(2); `EINVAL` when the kind differs.
pub fn enter(fd: BorrowedFd<'_>, kind: libc::c_int) -> Result<(), Errno> {
    // SAFETY: setns takes a descriptor and a number; changing our own namespaces does not touch memory.
    Errno::result(unsafe { libc::setns(fd.as_raw_fd(), kind) }).map(drop)
}

/// Enters several namespaces of the process behind `pidfd` at once (Linux 5.8): all or none.
///
/// # Errors
/// Those of setns(2).
pub fn enter_all(pidfd: BorrowedFd<'_>, kinds: libc::c_int) -> Result<(), Errno> {
    enter(pidfd, kinds)
}

/// Makes a time namespace for the children of this process, which itself stays where it is (`CLONE_NEWTIME`; nix has no
/// name for it).
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN, `EINVAL` when the kernel has no time namespaces.
pub fn unshare_time() -> Result<(), Errno> {
    // SAFETY: unshare takes a number; a namespace for children does not touch this process's memory.
    Errno::result(unsafe { libc::unshare(NEWTIME) }).map(drop)
}

/// Sets the NIS domain name of this UTS namespace (setdomainname(2)).
///
/// # Errors
/// `EINVAL` when it is too long, `EPERM` without rights over the namespace.
pub fn set_domain_name(name: &str) -> Result<(), Errno> {
    // SAFETY: the kernel reads `len` bytes at the address of `name`, which outlives the call.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}
