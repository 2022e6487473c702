//! Who is who in a user namespace: its maps, written by this process or by the setuid helpers that may; and namespaces that
//! exist for their maps only (idmapped mounts).

use super::handshake;
use crate::error::{Acts, Error, On, Result};
use crate::plan::Rights;
use crate::spec::IdMap;
use crate::steps;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getgid, getuid};
use skiff_sys::process::{Cloned, Kin, exit_now};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

/// Both maps of a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Maps<'a> {
    pub(crate) uids: &'a [IdMap],
    pub(crate) gids: &'a [IdMap],
}

/// Writes the maps of the user namespace that `pid` has just made.
///
/// # Errors
/// The kernel, or the helper on its behalf, refuses them.
pub(super) fn map(acts: &Acts, pid: i32, maps: Maps<'_>, rights: Rights) -> Result<()> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    for (name, map, own) in [("uid", maps.uids, uid), ("gid", maps.gids, gid)] {
        if rights == Rights::Host {
            write(acts, pid, name, map)?;
        } else if matches!(map, [one] if one.outside == own && one.count == 1) {
            // Who may give up groups could gain what is denied to them (user_namespaces(7), setgroups).
            if name == "gid" {
                let file = format!("/proc/{pid}/setgroups");
                acts.step_io(&steps::NS_MAP_USERS, &file, || fs::write(&file, "deny"))?;
            }
            write(acts, pid, name, map)?;
        } else {
            by_helper(acts, pid, name, map)?;
        }
    }
    Ok(())
}

fn write(acts: &Acts, pid: i32, name: &str, map: &[IdMap]) -> Result<()> {
    let file = format!("/proc/{pid}/{name}_map");
    acts.step_io(&steps::NS_MAP_USERS, &file, || fs::write(&file, IdMap::render(map)))
}

/// An ordinary user may map others' ids only as far as /etc/subuid gives them, which newuidmap(1) checks.
fn by_helper(acts: &Acts, pid: i32, name: &str, map: &[IdMap]) -> Result<()> {
    let helper = format!("new{name}map");
    let numbers = map.iter().flat_map(|one| [one.inside, one.outside, one.count]);
    let mut command = Command::new(&helper);
    command.arg(pid.to_string()).args(numbers.map(|number| number.to_string()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let done = acts.step_io(&steps::NS_MAP_USERS, &helper, || command.output()).map_err(|error| {
        Error::refused(format!("linux.{name}Mappings"), format!("more than one's own id needs the helper: {error}"))
    })?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(Error::refused(format!("linux.{name}Mappings"), format!("{helper}: {}: {said}", done.status)))
}

/// A user namespace with these maps in which nobody lives: for owners of an idmapped mount (mount_setattr(2)).
///
/// # Errors
/// The kernel refuses the maps.
pub(crate) fn namespace_with(acts: &Acts, maps: Maps<'_>) -> Result<OwnedFd> {
    let (parent_end, child_end) = handshake::pair()?;
    let born = match super::parent::clone_one(acts, libc::CLONE_NEWUSER, None, Kin::Child)? {
        Cloned::Child => {
            drop(parent_end);
            // It lives until the runtime has opened its namespace, or has ended.
            let _only_its_end_counts = child_end.await_word(&handshake::FromParent::HooksRan);
            exit_now(0)
        }
        Cloned::Parent(born) => born,
    };
    drop(child_end);
    let opened = map(acts, born.pid, maps, Rights::Host).and_then(|()| {
        let path = format!("/proc/{}/ns/user", born.pid);
        Ok(fs::File::open(&path).on("open", path)?.into())
    });
    drop(parent_end);
    let _may_have_ended = skiff_sys::pidfd::kill(born.pidfd.as_fd());
    let _reaped = waitpid(Pid::from_raw(born.pid), None);
    opened
}
