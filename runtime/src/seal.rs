//! Runs on from a read-only copy of our own file.
//!
//! Whoever enters a container can be reached there through `/proc/PID/exe`, and a container that opens it for writing would
//! replace the host's runtime (CVE-2019-5736). A detached mount that is read-only, reachable by no path, answers such an open
//! with EROFS. No memory is copied, unlike with a sealed memfd.

use crate::error::{Acts, On, Result};
use crate::steps;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use skiff_sys::mount::{Change, Depth, attr, change, copy};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

const OWN_FILE: &str = "/proc/self/exe";

/// Executes this program again from the read-only copy, unless that has happened, or it lies on a read-only mount anyway.
///
/// # Errors
/// A step fails.
pub(crate) fn run_sealed(acts: &Acts) -> Result<()> {
    let here = statvfs(OWN_FILE).on("look at", OWN_FILE)?;
    if here.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(());
    }
    match execute_copy(acts)? {}
}

fn execute_copy(acts: &Acts) -> Result<Infallible> {
    let args: Vec<CString> = std::env::args_os().filter_map(|word| CString::new(word.into_vec()).ok()).collect();
    let pair = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        CString::new([key.into_vec(), value.into_vec()].join(&b'=')).ok()
    };
    let env: Vec<CString> = std::env::vars_os().filter_map(pair).collect();
    acts.step(&steps::SELF_SEAL, OWN_FILE, || {
        let own = open(OWN_FILE, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let sealed = copy(own.as_fd(), Depth::One)?;
        change(sealed.as_fd(), Change { set: attr::RDONLY, ..Change::default() }, Depth::One)?;
        nix::unistd::execveat(&sealed, c"", &args, &env, nix::fcntl::AtFlags::AT_EMPTY_PATH)
    })
}
