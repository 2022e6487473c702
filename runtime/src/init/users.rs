//! Who is who in a user namespace: its maps, written by this process or by the setuid helpers that may; and namespaces that
//! exist for their maps only (idmapped mounts).

use super::handshake;
use crate::error::{Acts, Error, On, Result};
use crate::plan::Rights;
use crate::spec::IdMap;
use crate::steps;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, chroot, fchdir, getgid, getuid};
use skiff_sys::namespace::enter;
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
    without_people(acts, libc::CLONE_NEWUSER, "user", |pid| map(acts, pid, maps, Rights::Host))
}

/// Runs `action` in a copy of the host's mount namespace that belongs to less privileged users. Mounts that are copied there
/// keep what the host forbids on them, whoever is root of the container that gets them (mount_namespaces(7), restrictions).
///
/// # Errors
/// Those of `action`; the way there or back fails.
pub(crate) fn among_less_privileged<T>(acts: &Acts, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let (host, own) = (Place::here()?, open_namespace("/proc/self/ns/mnt")?);
    let copied = without_people(acts, libc::CLONE_NEWUSER | libc::CLONE_NEWNS, "mnt", |_| Ok(()))?;
    acts.step(&steps::NS_JOIN, "a copy of the mounts", || enter(copied.as_fd(), libc::CLONE_NEWNS))?;
    // Who runs in a chroot(2) would find other files here than the paths mean: setns(2) leads out of it.
    let result = Place::here().and_then(|here| here.is_same_file(&host)).and_then(|is_same| match is_same {
        true => action(),
        false => {
            Err(Error::refused("linux.namespaces", "a container with users of its own cannot be made in a chroot"))
        }
    });
    let returned = acts.step(&steps::NS_JOIN, "the host's mounts", || enter(own.as_fd(), libc::CLONE_NEWNS));
    // Root and working directory are the host's again in any case: also a copy that cannot be left is left by path.
    let taken = host.take();
    returned.and(taken).and(result)
}

/// A root and a working directory, which setns(2) to a mount namespace changes.
struct Place {
    root: OwnedFd,
    directory: OwnedFd,
}

impl Place {
    fn here() -> Result<Self> {
        let open = |path| open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).on("open", path);
        Ok(Self { root: open("/")?, directory: open(".")? })
    }

    fn is_same_file(&self, other: &Self) -> Result<bool> {
        let (one, two) = (fstat(&self.root).on("stat", "/")?, fstat(&other.root).on("stat", "/")?);
        Ok((one.st_dev, one.st_ino) == (two.st_dev, two.st_ino))
    }

    fn take(&self) -> Result<()> {
        fchdir(&self.root).and_then(|()| chroot(".")).and_then(|()| fchdir(&self.directory)).on("return to", "/")
    }
}

fn open_namespace(path: &str) -> Result<OwnedFd> {
    Ok(fs::File::open(path).on("open", path)?.into())
}

/// New namespaces in which nobody lives, after `prepare` had a pid in them; that of `kind` is returned.
fn without_people(
    acts: &Acts,
    kinds: libc::c_int,
    kind: &str,
    prepare: impl FnOnce(i32) -> Result<()>,
) -> Result<OwnedFd> {
    let (parent_end, child_end) = handshake::pair()?;
    let born = match super::parent::clone_one(acts, kinds, None, Kin::Child)? {
        Cloned::Child => {
            drop(parent_end);
            // It lives until the runtime has opened its namespace, or has ended.
            let _only_its_end_counts = child_end.await_word(&handshake::FromParent::HooksRan);
            exit_now(0)
        }
        Cloned::Parent(born) => born,
    };
    drop(child_end);
    let opened = prepare(born.pid).and_then(|()| open_namespace(&format!("/proc/{}/ns/{kind}", born.pid)));
    drop(parent_end);
    let _may_have_ended = skiff_sys::pidfd::kill(born.pidfd.as_fd());
    let _reaped = waitpid(Pid::from_raw(born.pid), None);
    opened
}
