//! Installing a compiled system call filter (seccomp(2)).

use nix::errno::Errno;
use std::os::fd::RawFd;

/// One instruction of classic BPF, in the kernel's layout (linux/filter.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// How far to jump when the comparison holds.
    pub jump_true: u8,
    /// How far when it does not.
    pub jump_false: u8,
    /// Operand.
    pub k: u32,
}

/// The longest program the kernel takes (`BPF_MAXINSNS`).
pub const INSTRUCTIONS_MAX: usize = 4096;

/// Installs `program` for this thread, with the `SECCOMP_FILTER_FLAG_…` bits in `flags`. Returns the listener's descriptor
/// (close-on-exec) if they hold `SECCOMP_FILTER_FLAG_NEW_LISTENER`. From here on this process may do only what the filter lets it.
///
/// # Errors
/// `EACCES` without no_new_privs and without CAP_SYS_ADMIN; `EINVAL` for a program the kernel refuses; `EBUSY` when there is
/// a listener already.
pub fn install(program: &[Instruction], flags: libc::c_ulong) -> Result<Option<RawFd>, Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    // The kernel only reads; sock_filter has the layout of Instruction, which repr(C) fixes.
    let filter = program.as_ptr().cast_mut().cast::<libc::sock_filter>();
    let program = libc::sock_fprog { len, filter };
    // SAFETY: the kernel copies `len` instructions from `filter`; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    let result = Errno::result(result)?;
    let listens = flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0;
    Ok(listens.then(|| RawFd::try_from(result)).transpose().unwrap_or_default())
}
