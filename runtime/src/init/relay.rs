//! A helper that enters namespaces and clones the first process from there, as its own sibling.

use super::child::become_root;
use super::handshake::{ChildEnd, FromChild};
use crate::error::{Acts, On, Result};
use crate::steps;
use skiff_sys::process::{Cloned, Kin, exit_now};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Enters `joins` in order and clones with `namespaces`. Returns in the new process only; the relay itself ends.
///
/// A namespace that cannot be entered, or a failed clone, is told to the parent.
pub(crate) fn pass_through(
    acts: &Acts,
    joins: &[(libc::c_int, PathBuf, OwnedFd)],
    namespaces: libc::c_int,
    end: &ChildEnd,
) {
    match enter_and_clone(acts, joins, namespaces) {
        Ok(Cloned::Child) => (),
        Ok(Cloned::Parent(born)) => {
            let told = end.tell(&FromChild::Born(born.pid));
            exit_now(i32::from(told.is_err()));
        }
        Err(error) => {
            // If the parent has gone, nobody is left to be told.
            let _nobody_listens = end.tell(&FromChild::Failed(error.to_string()));
            exit_now(1);
        }
    }
}

fn enter_and_clone(acts: &Acts, joins: &[(libc::c_int, PathBuf, OwnedFd)], namespaces: libc::c_int) -> Result<Cloned> {
    for (kind, path, fd) in joins {
        acts.step(&steps::NS_JOIN, path.display(), || skiff_sys::namespace::enter(fd.as_fd(), *kind))?;
        if *kind == libc::CLONE_NEWUSER {
            become_root()?;
        }
    }
    // Not into the cgroup: in the user namespace that was just entered nobody has a right to it. The parent sees to that.
    super::parent::clone_one(acts, namespaces, None, Kin::Sibling)
}

/// Opens namespace files for entering.
///
/// # Errors
/// One does not exist.
pub(crate) fn open_all(paths: &[(libc::c_int, PathBuf)]) -> Result<Vec<(libc::c_int, PathBuf, OwnedFd)>> {
    let open = |(kind, path): &(libc::c_int, PathBuf)| {
        let file = std::fs::File::open(path).on(steps::NS_JOIN.id, path.display())?;
        Ok((*kind, path.clone(), file.into()))
    };
    paths.iter().map(open).collect()
}
