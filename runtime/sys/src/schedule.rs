//! How the kernel treats this process: processor time, disk time, processors, memory nodes, personality.

use nix::errno::Errno;

/// What sched_setattr(2) takes; numbers as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `SCHED_…`
    pub policy: u32,
    /// `SCHED_FLAG_…`
    pub flags: u64,
    /// -20 to 19, for the policies that share.
    pub nice: i32,
    /// 1 to 99, for the real-time policies.
    pub priority: u32,
    /// Nanoseconds, for deadlines; like the two that follow.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// `struct sched_attr` in its first size, which every kernel takes (sched_setattr(2)).
#[repr(C)]
struct Raw {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets how this process is scheduled (sched_setattr(2)).
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE or beyond RLIMIT_RTPRIO; `EINVAL` for an unknown policy or flag; `EBUSY` when a deadline
/// cannot be kept.
pub fn set_scheduler(wanted: &Attributes) -> Result<(), Errno> {
    let size = u32::try_from(size_of::<Raw>()).map_err(|_| Errno::E2BIG)?;
    let Attributes { policy, flags, nice, priority, runtime, deadline, period } = *wanted;
    let raw = Raw { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the kernel reads `size` bytes at the address, which are ours until the call returns.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const raw, 0) }).map(drop)
}

/// Sets the class (1: real time, 2: best effort, 3: idle) and level (0 to 7) of this process's disk requests
/// (ioprio_set(2)).
///
/// # Errors
/// `EPERM` for real time without CAP_SYS_ADMIN or CAP_SYS_NICE; `EINVAL` for other numbers.
pub fn set_io_priority(class: u8, level: u8) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: u32 = 13;
    // The kernel drops what is above three bits: 9 would be 1, real time.
    if class > 7 {
        return Err(Errno::EINVAL);
    }
    let value = (u32::from(class) << CLASS_SHIFT) | u32::from(level);
    // SAFETY: three numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}

/// Lets this process run on the processors whose bits are set in `mask` (sched_setaffinity(2)).
///
/// # Errors
/// `EINVAL` when none of them is there or allowed.
pub fn set_affinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `size_of_val(mask)` bytes of the slice.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) }).map(drop)
}

/// Sets from which nodes this process gets memory: `mode` is an `MPOL_…` number with `MPOL_F_…` bits (set_mempolicy(2)).
///
/// # Errors
/// `EINVAL` for unknown modes and for nodes that are not there.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel takes one bit less than it is told (set_mempolicy(2), BUGS of maxnode).
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let address = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the kernel reads at most `bits - 1` bits of the slice, and nothing at null with zero bits.
    Errno::result(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, address, bits) }).map(drop)
}

/// Sets the execution domain (personality(2)).
///
/// # Errors
/// `EINVAL` when the kernel does not know it.
pub fn set_personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: one number; nothing that runs here depends on what it changes (uname(2), address layout of later programs).
    Errno::result(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(domain)) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_has_already_may_be_set_again() {
        let every = [u64::MAX; 16];
        set_affinity(&every).unwrap();
        set_scheduler(&Attributes::default()).unwrap();
        set_io_priority(2, 4).unwrap();
        set_personality(0).unwrap();
        match set_memory_policy(0, &[]) {
            Ok(()) | Err(Errno::ENOSYS) => (),
            Err(errno) => panic!("{errno}"),
        }
    }

    #[test]
    fn the_kernel_refuses_what_is_not_there() {
        assert_eq!(set_affinity(&[0; 16]), Err(Errno::EINVAL));
        assert_eq!(set_io_priority(9, 0), Err(Errno::EINVAL));
        assert_eq!(set_scheduler(&Attributes { policy: 77, ..Attributes::default() }), Err(Errno::EINVAL));
    }
}
