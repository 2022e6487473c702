//! Programs that decide about device access in a cgroup of version 2 (bpf(2)).
//!
//! Loading and attaching, nothing else: what a program says is its maker's business.

use crate::call::owned;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// One instruction, in the kernel's layout (`struct bpf_insn`, linux/bpf.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Class, operation and whether it takes a register or a number.
    pub code: u8,
    /// The register it works on in the lower four bits, the one it takes from in the upper.
    pub registers: u8,
    /// Of a load or a jump.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

impl Instruction {
    /// Puts one together; registers are 0 to 10.
    #[must_use]
    pub const fn new(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Self {
        Self { code, registers: to | from << 4, offset, immediate }
    }
}

/// The longest name a program can have (`BPF_OBJ_NAME_LEN`), with its end.
const NAME_BYTES: usize = 16;
/// The most programs the kernel attaches to one group in one way (`BPF_CGROUP_MAX_PROGS`).
const PROGRAMS_MAX: usize = 64;
/// How often a load is tried that a signal interrupts (`EAGAIN`).
const LOAD_TRIES_MAX: u32 = 5;

/// Commands and constants of linux/bpf.h.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_BYTES],
}

/// Those for `BPF_PROG_ATTACH`.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

/// Those for `BPF_PROG_QUERY`, to its end: Linux 6.17 writes the last one whatever size it is told.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    link_ids: u64,
    link_flags: u64,
    revision: u64,
}

/// Those for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    program: u32,
    info_bytes: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to the name.
#[repr(C)]
#[derive(Default)]
struct Info {
    before_name: [u64; 8],
    name: [u8; NAME_BYTES],
}

/// # Safety
/// `attributes` must be what `command` expects, with addresses that are valid for as long as the call takes.
unsafe fn bpf<T>(command: libc::c_int, attributes: *mut T) -> libc::c_long {
    // SAFETY: the kernel reads and writes at most `size_of::<T>()` bytes there; the rest is the caller's promise.
    unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Hands `program` to the kernel under `name` (at most 15 letters, digits, `_` and `.`).
///
/// # Errors
/// `EPERM` without CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN; `EINVAL` for a program that the verifier refuses.
pub fn load_device_program(program: &[Instruction], name: &CStr) -> Result<OwnedFd, Errno> {
    let mut load = Load {
        program_type: TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    let bytes = name.to_bytes_with_nul();
    load.name.get_mut(..bytes.len()).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(bytes);
    for _ in 0..LOAD_TRIES_MAX {
        // SAFETY: `instructions` and `license` point to a borrowed slice and a constant, which outlive the call; there is no
        // log. The result is a new descriptor, close-on-exec.
        match unsafe { owned(bpf(PROG_LOAD, &raw mut load)) } {
            Err(Errno::EAGAIN) => (),
            result => return result,
        }
    }
    Err(Errno::EAGAIN)
}

/// Attaches `program` to the directory `cgroup`, beside others or in the place of `replaced`, at once: there is no moment
/// without either.
///
/// # Errors
/// `EBADF` for a directory that is none of version 2, `ENOENT` when `replaced` is not attached.
pub fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, replaced: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut attach = Attach {
        target: raw(cgroup),
        program: raw(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        flags: if replaced.is_some() { ALLOW_MULTI | REPLACE } else { ALLOW_MULTI },
        replaced: replaced.map_or(0, raw),
    };
    // SAFETY: there are only numbers in it.
    Errno::result(unsafe { bpf(PROG_ATTACH, &raw mut attach) }).map(drop)
}

/// The program called `name` that is attached to the directory `cgroup`, if there is one. Programs that we may not open are
/// not ours.
///
/// # Errors
/// `EBADF` for a directory that is none of version 2.
pub fn attached(cgroup: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
    let mut ids = [0_u32; PROGRAMS_MAX];
    let mut query = Query {
        target: raw(cgroup),
        attach_type: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(PROGRAMS_MAX).map_err(|_| Errno::E2BIG)?,
        ..Query::default()
    };
    // SAFETY: the kernel writes at most `count` numbers to `ids`, which has that many and outlives the call.
    Errno::result(unsafe { bpf(PROG_QUERY, &raw mut query) })?;
    for id in ids.iter().take(query.count as usize) {
        let mut by_id = [*id, 0];
        // SAFETY: there are only numbers in it; the result is a new descriptor, close-on-exec.
        let program = match unsafe { owned(bpf(PROG_GET_FD_BY_ID, &raw mut by_id)) } {
            // Detached since we asked, or not for us.
            Err(Errno::ENOENT | Errno::EPERM | Errno::EACCES) => continue,
            result => result?,
        };
        if name_of(&program)? == name.to_bytes() {
            return Ok(Some(program));
        }
    }
    Ok(None)
}

fn name_of(program: &OwnedFd) -> Result<Vec<u8>, Errno> {
    use std::os::fd::AsFd;
    let mut info = Info::default();
    let info_bytes = u32::try_from(size_of::<Info>()).map_err(|_| Errno::E2BIG)?;
    let mut get = GetInfo { program: raw(program.as_fd()), info_bytes, info: (&raw mut info) as u64 };
    // SAFETY: the kernel writes at most `info_bytes` to `info`, which is that large and outlives the call. Its list counts
    // are zero, so it writes nowhere else.
    Errno::result(unsafe { bpf(OBJ_GET_INFO_BY_FD, &raw mut get) })?;
    Ok(info.name.into_iter().take_while(|byte| *byte != 0).collect())
}
