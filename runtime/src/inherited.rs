//! What a caller leaves to the programs it starts and we do not want: ignored and blocked signals, the umask, limits too narrow
//! for our own work. Whoever calls, the runtime does the same, and a container begins with what its configuration says.
//!
//! Limits are the exception: a container has those of the caller where config.json names none, as with every peer, because
//! engines set them so. They are only put aside until its program starts.
//!
//! Descriptors 0 to 2 that are closed were opened on `/dev/null` by the standard library before `main`.

use crate::error::{On, Result};
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::stat::{Mode, umask};

/// What most systems log in with.
pub(crate) const UMASK_DEFAULT: u32 = 0o022;

/// What we need: descriptors for some hundred mounts, and files of any size.
const NEEDED: &[(Resource, u64)] = &[(Resource::RLIMIT_NOFILE, 1024), (Resource::RLIMIT_FSIZE, RLIM_INFINITY)];

/// A limit: resource, soft, hard.
pub(crate) type Limit = (Resource, u64, u64);

/// Forgets signals and the umask of the caller.
///
/// # Errors
/// Those of sigaction(2).
pub(crate) fn forget() -> Result<()> {
    skiff_sys::process::forget_inherited_signals().on("reset", "signals")?;
    umask(Mode::from_bits_truncate(UMASK_DEFAULT));
    Ok(())
}

/// Lifts limits that are too narrow for us, and returns what they were.
///
/// # Errors
/// Those of getrlimit(2).
pub(crate) fn lift_limits() -> Result<Vec<Limit>> {
    let mut before = Vec::new();
    for (resource, needed) in NEEDED {
        let (soft, hard) = getrlimit(*resource).on("read limit", format!("{resource:?}"))?;
        if soft < *needed {
            lift(*resource, *needed, hard).on("lift limit", format!("{resource:?}"))?;
            before.push((*resource, soft, hard));
        }
    }
    Ok(before)
}

fn lift(resource: Resource, needed: u64, hard: u64) -> std::result::Result<(), Errno> {
    let set = |soft, hard| skiff_sys::process::set_limit(0, resource as libc::c_int, soft, hard);
    match set(needed, hard.max(needed)) {
        // An ordinary user gets as far as the hard limit; what does not suffice is told where it fails.
        Err(Errno::EPERM) => set(hard.min(needed), hard),
        result => result,
    }
}
