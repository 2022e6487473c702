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
/// Those of clone3(2); `EBUSY` when the program has several threads: the child would get a copy of its memory in which the
/// locks of the others stay held for ever.
pub fn clone(namespaces: libc::c_int, cgroup: Option<BorrowedFd<'_>>, kin: Kin) -> Result<Cloned, Errno> {
    if !is_single_threaded()? {
        return Err(Errno::EBUSY);
    }
    let mut pidfd: RawFd = -1;
    let namespaces = u64::try_from(namespaces).map_err(|_| Errno::EINVAL)?;
    let args = arguments(namespaces, cgroup, kin, &raw mut pidfd);
    let size = size_of::<libc::clone_args>();
    // SAFETY: clone3 reads `size` bytes at `args` and writes one descriptor to `pidfd`, both on our stack until the call
    // returns; without CLONE_VM the child gets its own copy of that stack. There is one thread, checked above.
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

/// The kernel's count of links of `task` is two and one for each thread (proc_pid_task(5)).
fn is_single_threaded() -> Result<bool, Errno> {
    Ok(nix::sys::stat::stat("/proc/self/task")?.st_nlink == 3)
}

/// Ends this process at once, running no destructors: for the child of a clone, whose memory is a copy.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Sets a resource limit of the process `pid` (prlimit(2)); `resource` is a `RLIMIT_…` constant.
///
/// # Errors
/// `EPERM` for raising the hard limit without CAP_SYS_RESOURCE; `EINVAL` when soft is above hard.
pub fn set_limit(pid: libc::pid_t, resource: libc::c_int, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: prlimit reads one rlimit64 from the address, which outlives the call; null means the old one is not wanted.
    let result = unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, std::ptr::null_mut::<libc::rlimit64>())
    };
    Errno::result(result).map(drop)
}

/// Gives all signals their first meaning, whatever the caller has made of them: what was ignored or blocked would stay so, here
/// and in every program that we start. What this program handles or ignores itself stays: handlers, and SIGPIPE.
///
/// # Errors
/// Those of sigaction(2) and sigprocmask(2).
pub fn forget_inherited_signals() -> Result<(), Errno> {
    use nix::sys::signal::SigSet;
    SigSet::empty().thread_set_mask()?;
    let ours = [libc::SIGKILL, libc::SIGSTOP, libc::SIGPIPE];
    (1..=SIGNAL_MAX).filter(|signal| !ours.contains(signal)).try_for_each(default_unless_handled)
}

/// The kernel's own call: the C library keeps two signals for itself, which may be ignored like all others.
fn default_unless_handled(signal: libc::c_int) -> Result<(), Errno> {
    let change = |new: *const KernelAction, old: *mut KernelAction| {
        // SAFETY: rt_sigaction reads and writes one struct of the kernel's layout, or nothing where the address is null.
        // Neither action that we pass runs code of ours that was not there before.
        Errno::result(unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, new, old, size_of_val(&KernelAction::DEFAULT.mask))
        })
    };
    let mut before = KernelAction::DEFAULT;
    let default = KernelAction::DEFAULT;
    change(&raw const default, &raw mut before)?;
    if ![libc::SIG_DFL, libc::SIG_IGN].contains(&before.handler) {
        change(&raw const before, std::ptr::null_mut())?;
    }
    Ok(())
}

/// `struct kernel_sigaction` of x86-64 and arm64 as the C libraries have it (rt_sigaction in sigaction(2)).
#[repr(C)]
struct KernelAction {
    handler: libc::sighandler_t,
    flags: libc::c_ulong,
    restorer: usize,
    mask: u64,
}

impl KernelAction {
    const DEFAULT: Self = Self { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
}

/// The last signal number (`_NSIG`, signal(7)).
const SIGNAL_MAX: libc::c_int = 64;

/// Gives signals their first meaning back before execve(2): nothing blocked, and SIGPIPE, which Rust's runtime ignores, not
/// ignored (both would be inherited).
///
/// # Errors
/// Those of sigaction(2) and sigprocmask(2).
pub fn reset_signals() -> Result<(), Errno> {
    use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
    // SAFETY: the default disposition runs no code of ours.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    SigSet::empty().thread_set_mask()
}
