//! Runs on from a read-only copy of our own file.
//!
//! Whoever enters a container can be reached there through `/proc/PID/exe`, and a container that opens it for writing would
//! replace the host's runtime (CVE-2019-5736). A detached mount that is read-only, reachable by no path, answers such an open
//! with EROFS. No memory is copied, unlike with a sealed memfd, which is for an ordinary user, who may not copy mounts.

use crate::error::{Acts, On, Result};
use crate::mutant;
use crate::steps;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use skiff_sys::mount::{Change, Depth, attr, change, copy};
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

const OWN_FILE: &str = "/proc/self/exe";

/// Executes this program again from the read-only copy, unless that has happened, or it lies on a read-only mount anyway.
///
/// # Errors
/// A step fails.
pub(crate) fn run_sealed(acts: &Acts) -> Result<()> {
    if is_sealed()? || mutant::has("CVE-2019-5736") {
        return Ok(());
    }
    match execute_copy(acts) {
        Ok(never) => match never {},
        Err(error) if error.errno() == Some(Errno::EPERM) => match execute_memory(acts)? {},
        Err(error) => Err(error),
    }
}

fn is_sealed() -> Result<bool> {
    let here = statvfs(OWN_FILE).on("look at", OWN_FILE)?;
    if here.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(true);
    }
    let Ok(own) = open(OWN_FILE, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) else { return Ok(false) };
    // A file that takes no seals answers EINVAL.
    let seals = fcntl(&own, FcntlArg::F_GET_SEALS).map_or(SealFlag::empty(), SealFlag::from_bits_truncate);
    Ok(seals.contains(SealFlag::F_SEAL_WRITE))
}

/// Executes a copy in memory that nobody can write to any more (memfd_create(2), F_ADD_SEALS in fcntl(2)).
fn execute_memory(acts: &Acts) -> Result<Infallible> {
    let (args, env) = words();
    acts.step_io(&steps::SELF_SEAL, "memory", || {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut memory = File::from(memfd_create(c"skiff-oci", flags)?);
        std::io::copy(&mut File::open(OWN_FILE)?, &mut memory)?;
        let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(nix::unistd::execveat(&memory, c"", &args, &env, nix::fcntl::AtFlags::AT_EMPTY_PATH)?)
    })
}

/// Arguments and environment, as they are.
fn words() -> (Vec<CString>, Vec<CString>) {
    let args: Vec<CString> = std::env::args_os().filter_map(|word| CString::new(word.into_vec()).ok()).collect();
    let pair = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        CString::new([key.into_vec(), value.into_vec()].join(&b'=')).ok()
    };
    (args, std::env::vars_os().filter_map(pair).collect())
}

fn execute_copy(acts: &Acts) -> Result<Infallible> {
    let (args, env) = words();
    acts.step(&steps::SELF_SEAL, OWN_FILE, || {
        let own = open(OWN_FILE, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let sealed = copy(own.as_fd(), Depth::One)?;
        change(sealed.as_fd(), Change { set: attr::RDONLY, ..Change::default() }, Depth::One)?;
        nix::unistd::execveat(&sealed, c"", &args, &env, nix::fcntl::AtFlags::AT_EMPTY_PATH)
    })
}
