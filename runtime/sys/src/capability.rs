//! Capabilities of this process (capabilities(7)), as sets of bits.

use nix::errno::Errno;

/// linux/capability.h: sets of 64 bits, in two halves.
const VERSION_3: u32 = 0x2008_0522;

/// The three sets that are changed together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// What is checked.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What may be kept over execve(2) by a file that says so.
    pub inheritable: u64,
}

/// For each half: effective, permitted, inheritable.
type Data = [[u32; 3]; 2];

/// Reads those of this process (capget(2)).
///
/// # Errors
/// The kernel knows no version 3 (before Linux 2.6.26).
pub fn get() -> Result<Sets, Errno> {
    let header = [VERSION_3, 0];
    let mut data: Data = [[0; 3]; 2];
    // SAFETY: capget(2) reads a header of two and writes data of six 32-bit words.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    let [effective, permitted, inheritable] =
        [0, 1, 2].map(|set| u64::from(data[1][set]) << 32 | u64::from(data[0][set]));
    Ok(Sets { effective, permitted, inheritable })
}

/// Gives this process `sets`, all at once (capset(2)).
///
/// # Errors
/// `EPERM` for what it may not have.
pub fn set(sets: Sets) -> Result<(), Errno> {
    let header = [VERSION_3, 0];
    let low = |bits: u64| (bits & u64::from(u32::MAX)) as u32;
    let all = [sets.effective, sets.permitted, sets.inheritable];
    let data: Data = [all.map(low), all.map(|bits| low(bits >> 32))];
    // SAFETY: capset(2) reads a header of two and data of six 32-bit words.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// Takes `capability` out of the bounding set, unless it is not there. One that the kernel does not know nobody has.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
pub fn unbound(capability: u8) -> Result<(), Errno> {
    // To look costs a tenth of what it costs to take away what is not there.
    match prctl(libc::PR_CAPBSET_READ, capability.into(), 0) {
        Ok(0) | Err(Errno::EINVAL) => Ok(()),
        Ok(_) => prctl(libc::PR_CAPBSET_DROP, capability.into(), 0).map(drop),
        Err(errno) => Err(errno),
    }
}

/// Makes `capabilities` the ambient set.
///
/// # Errors
/// `EPERM` for one that is not both permitted and inheritable.
pub fn set_ambient(capabilities: u64) -> Result<(), Errno> {
    match prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0) {
        // Before Linux 4.3 there is none.
        Err(Errno::EINVAL) if capabilities == 0 => return Ok(()),
        result => result?,
    };
    let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
    (0..u64::BITS)
        .filter(|bit| capabilities >> bit & 1 == 1)
        .try_for_each(|bit| prctl(libc::PR_CAP_AMBIENT, raise, bit.into()).map(drop))
}

fn prctl(option: libc::c_int, second: libc::c_ulong, third: libc::c_ulong) -> Result<libc::c_int, Errno> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: these options take numbers.
    Errno::result(unsafe { libc::prctl(option, second, third, NONE, NONE) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_what_proc_says() {
        let sets = get().unwrap();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        for (name, bits) in [("CapEff", sets.effective), ("CapPrm", sets.permitted), ("CapInh", sets.inheritable)] {
            assert!(status.contains(&format!("{name}:\t{bits:016x}\n")), "{name} {bits:x} in {status}");
        }
        // What it has already, everybody may take.
        set(sets).unwrap();
        assert_eq!(get().unwrap(), sets);
    }

    #[test]
    fn what_the_kernel_does_not_know_is_bound_already() {
        unbound(63).unwrap();
    }
}
