//! Making processes (clone3(2)).

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Which of the two processes we are after [`clone`].
#[derive(Debug)]
pub enum Cloned {
    /// The new one.
    Child,
    /// The old one.
    Parent(Born),
}

/// The new process, seen from the old one.
#[derive(Debug)]
pub struct Born {
    /// Its number in our pid namespace.
    pub pid: libc::pid_t,
    /// Its descriptor; close-on-exec.
    pub pidfd: OwnedFd,
}

/// Whose child the new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kin {
    /// Ours.
    Child,
    /// Our parent's (`CLONE_PARENT`).
    Sibling,
}

/// Clones this process like fork(2), with the new namespaces in `namespaces` (`CLONE_NEW…` bits), in the cgroup v2
/// directory `cgroup` if one is given (`CLONE_INTO_CGROUP`, Linux 5.7).
///
/// # Errors
/// Those of clone3(2).
///
/// # Safety
/// The caller's program must have one thread only: the child gets a copy of its memory in which the locks of other threads
/// would stay held for ever.
pub unsafe fn clone(namespaces: libc::c_int, cgroup: Option<BorrowedFd<'_>>, kin: Kin) -> Result<Cloned, Errno> {
    let mut pidfd: RawFd = -1;
    let namespaces = u64::try_from(namespaces).map_err(|_| Errno::EINVAL)?;
    let args = arguments(namespaces, cgroup, kin, &raw mut pidfd);
    let size = size_of::<libc::clone_args>();
    // SAFETY: clone3 reads `size` bytes at `args` and writes one descriptor to `pidfd`, both on our stack until the call
    // returns; without CLONE_VM the child gets its own copy of that stack. The caller promises a single thread.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: with CLONE_PIDFD the kernel has just stored a new descriptor there.
    Ok(Cloned::Parent(Born { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
}

fn arguments(namespaces: u64, cgroup: Option<BorrowedFd<'_>>, kin: Kin, pidfd: *mut RawFd) -> libc::clone_args {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut flags = namespaces | libc::CLONE_PIDFD as u64;
    // clone(2): with CLONE_PARENT the exit signal is the caller's own, and clone3 refuses another one.
    let mut exit_signal = libc::SIGCHLD as u64;
    if kin == Kin::Sibling {
        flags |= libc::CLONE_PARENT as u64;
        exit_signal = 0;
    }
    if cgroup.is_some() {
        flags |= INTO_CGROUP;
    }
    libc::clone_args {
        flags,
        pidfd: pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |fd| u64::try_from(fd.as_raw_fd()).unwrap_or(0)),
    }
}

/// Ends this process at once, running no destructors: for the child of a clone, whose memory is a copy.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes a number and does not return.
    unsafe { libc::_exit(code) }
}
