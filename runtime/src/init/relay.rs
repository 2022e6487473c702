//! A helper that enters or makes namespaces in an order that one clone cannot have, and clones the first process from there,
//! as its own sibling.

use super::child::become_root;
use super::handshake::{ChildEnd, FromChild, FromParent};
use crate::error::{Acts, On, Result};
use crate::plan::Plan;
use crate::spec::Offset;
use crate::steps;
use nix::sched::{CloneFlags, unshare};
use skiff_sys::namespace::NEWTIME;
use skiff_sys::process::{Cloned, Kin, exit_now};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Where a time namespace takes its offsets, until somebody lives in it (time_namespaces(7)).
const OFFSETS: &str = "/proc/self/timens_offsets";

/// What the relay goes through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) joins: &'a [Join],
    pub(crate) offsets: &'a [Offset],
}

/// A namespace to enter: kind, path, open file.
pub(crate) type Join = (libc::c_int, PathBuf, OwnedFd);

/// Goes the route and clones. Returns in the new process only; the relay itself ends.
///
/// What cannot be done is told to the parent.
pub(crate) fn pass_through(acts: &Acts, route: Route<'_>, end: &ChildEnd) {
    match go(acts, route, end) {
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

fn go(acts: &Acts, route: Route<'_>, end: &ChildEnd) -> Result<Cloned> {
    let Route { plan, joins, offsets } = route;
    // Opened first: a process that has changed users may not open its own (proc_pid_timens_offsets belongs to root then), and
    // the kernel asks for the opener's rights.
    let clocks = if offsets.is_empty() { None } else { Some(open_offsets()?) };
    make(acts, plan.before, end)?;
    for (kind, path, fd) in joins {
        acts.step(&steps::NS_JOIN, path.display(), || skiff_sys::namespace::enter(fd.as_fd(), *kind))?;
        if *kind == libc::CLONE_NEWUSER {
            become_root()?;
        }
    }
    make(acts, plan.after, end)?;
    if let Some(mut clocks) = clocks {
        for offset in offsets {
            let line = offset.render();
            acts.step_io(&steps::NS_OFFSET, line.trim_end(), || clocks.write_all(line.as_bytes()))?;
        }
    }
    // Not into a cgroup: the relay may be in a user namespace that has no rights over it. The parent sees to that.
    super::parent::clone_one(acts, plan.clone, None, Kin::Sibling)
}

fn open_offsets() -> Result<File> {
    File::options().write(true).open(OFFSETS).on(steps::NS_OFFSET.id, OFFSETS)
}

/// Makes namespaces of `kinds` for this process and its children; the parent maps the users.
fn make(acts: &Acts, kinds: libc::c_int, end: &ChildEnd) -> Result<()> {
    if kinds & libc::CLONE_NEWUSER != 0 {
        acts.step(&steps::NS_UNSHARE, "user", || unshare(CloneFlags::CLONE_NEWUSER))?;
        end.tell(&FromChild::Unshared)?;
        end.await_word(&FromParent::Mapped)?;
        become_root()?;
    }
    if kinds & NEWTIME != 0 {
        acts.step(&steps::NS_UNSHARE, "time", skiff_sys::namespace::unshare_time)?;
    }
    Ok(())
}

/// Opens namespace files for entering.
///
/// # Errors
/// One does not exist.
pub(crate) fn open_all(paths: &[(libc::c_int, PathBuf)]) -> Result<Vec<Join>> {
    let open = |(kind, path): &(libc::c_int, PathBuf)| {
        let file = File::open(path).on(steps::NS_JOIN.id, path.display())?;
        Ok((*kind, path.clone(), file.into()))
    };
    paths.iter().map(open).collect()
}
