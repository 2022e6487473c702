//! The container's file tree, built by its first process before it enters it.
//!
//! Everything is placed through one door ([`InRoot`]) and attached by descriptor, so nothing that the image or another
//! container does to a path meanwhile can redirect it. Sources on the host were opened by the parent, before the clone.

mod device;
mod guard;
mod mask;
mod mount;
mod source;

pub(crate) use device::{DeviceNode, defaults, links, make_all};
pub(crate) use mask::{mask_all, readonly_all};
pub(crate) use mount::{Attached, Dev, StillWritable, attach_all};
pub(crate) use source::Opened;

use crate::error::{Acts, On, Result};
use crate::mutant;
use crate::steps;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::unistd::{chdir, fchdir, pivot_root};
use skiff_sys::inroot::{self, InRoot};
use skiff_sys::mount::{Change, Depth, Propagation, attach, attr, change, copy};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// proc_pid_mountinfo(5). Names with white space are written with backslashes there and not found: they go with what they
/// are mounted on, or stay.
const OWN_MOUNTS: &str = "/proc/self/mountinfo";

/// Copies the mount tree at `path` of the host, attached nowhere.
///
/// # Errors
/// The path cannot be opened.
pub(crate) fn copy_host(acts: &Acts, step: &skiff_step::Step, path: &Path, depth: Depth) -> Result<OwnedFd> {
    use nix::fcntl::{OFlag, open};
    acts.step(step, path.display(), || {
        let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
        match copy(place.as_fd(), depth) {
            // In a user namespace, mounts below that came from the host must come along: they may cover something
            // (mount_namespaces(7), restrictions).
            Err(Errno::EINVAL) if depth == Depth::One => copy(place.as_fd(), Depth::Tree),
            result => result,
        }
    })
}

/// Cuts this mount namespace off: the host's mounts arrive at most, none of ours leave.
///
/// # Errors
/// Those of mount_setattr(2).
pub(crate) fn isolate(acts: &Acts, propagation: Propagation) -> Result<()> {
    let inwards = inwards(propagation);
    acts.step(&steps::ROOTFS_ISOLATE, "/", || {
        let root = skiff_sys::inroot::host_root()?;
        change(root.as_fd(), Change { propagation: Some(inwards), ..Change::default() }, Depth::Tree)
    })
}

/// How events of the host reach a container whose root is to be `propagation`.
const fn inwards(propagation: Propagation) -> Propagation {
    match propagation {
        Propagation::Private | Propagation::Unbindable => Propagation::Private,
        Propagation::Slave | Propagation::Shared => Propagation::Slave,
    }
}

/// Attaches the rootfs at `path`, where createContainer hooks look for it, and returns the door to it. Where users of the
/// container may not go to `path`, it is attached on top of `/`; the process itself stays below it, in the host's tree, until
/// [`pivot`].
///
/// # Errors
/// Those of move_mount(2).
pub(crate) fn attach_root(acts: &Acts, rootfs: OwnedFd, path: &Path) -> Result<InRoot> {
    use nix::fcntl::{OFlag, open};
    acts.step(&steps::ROOTFS_ATTACH, path.display(), || {
        let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty());
        let place = place.or_else(|_| skiff_sys::inroot::host_root())?;
        attach(rootfs.as_fd(), place.as_fd())
    })?;
    Ok(InRoot::new(rootfs))
}

/// Where `place` is in the container, after all links.
fn path_inside(root: &InRoot, place: BorrowedFd<'_>) -> std::result::Result<PathBuf, Errno> {
    let (root, place) = (inroot::path_of(root.root())?, inroot::path_of(place)?);
    match place.strip_prefix(&root) {
        Ok(inside) => Ok(Path::new("/").join(inside)),
        Err(_) if mutant::has("CVE-2021-30465") => Ok(place),
        Err(_) => Err(Errno::EXDEV),
    }
}

/// Makes the rootfs `/` and drops the host's tree.
///
/// # Errors
/// Those of pivot_root(2).
pub(crate) fn pivot(acts: &Acts, root: &InRoot, path: &Path) -> Result<()> {
    acts.step(&steps::ROOTFS_PIVOT, path.display(), || {
        fchdir(root.root())?;
        // With both names the same, the old root ends up on top of the new one, and needs no directory of its own
        // (pivot_root(2), Notes).
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")
    })
}

/// How the container's root becomes `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// By pivot_root(2): nothing of the host's tree is left.
    Pivot,
    /// By chroot(2), for a host that runs from its first ramdisk, which can be neither moved nor unmounted
    /// (`--no-pivot`). Who has CAP_SYS_CHROOT inside can get out of it again, into what is left: the bare ramdisk.
    Chroot,
}

/// Makes the rootfs `/` without pivot_root(2).
///
/// # Errors
/// Those of move_mount(2), umount2(2) and chroot(2).
pub(crate) fn chroot(acts: &Acts, root: &InRoot, path: &Path) -> Result<()> {
    // Who enters the mount namespace later arrives at whatever lies on top of its root (mount_namespaces(7)); and what
    // stays where the bundle has it would go with the host's mounts.
    acts.step(&steps::ROOTFS_ATTACH, "/", || attach(root.root(), skiff_sys::inroot::host_root()?.as_fd()))?;
    let table = std::fs::read_to_string(OWN_MOUNTS).on("read", OWN_MOUNTS)?;
    acts.step(&steps::ROOTFS_CHROOT, path.display(), || {
        // Paths still lead into the host's tree here; what is mounted on the new root has no path.
        for place in table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|place| *place != "/") {
            match umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                // Mounts on mounts went with those below them; in a user namespace the host's are locked.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => (),
                Err(errno) => return Err(errno),
            }
        }
        change_root(root.root())
    })
}

/// Makes the directory `root`, which is `path` on the host, `/` of this process in a mount namespace that it shares with the
/// host. Who has CAP_SYS_CHROOT inside can get out of it again.
///
/// # Errors
/// Those of chroot(2).
pub(crate) fn confine(acts: &Acts, root: BorrowedFd<'_>, path: &Path) -> Result<()> {
    acts.step(&steps::ROOTFS_CHROOT, path.display(), || change_root(root))
}

fn change_root(root: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    fchdir(root)?;
    nix::unistd::chroot(".")?;
    chdir("/")
}

/// Makes `/` read-only.
///
/// # Errors
/// Those of mount_setattr(2).
pub(crate) fn make_readonly(acts: &Acts, root: &InRoot) -> Result<()> {
    let readonly = Change { set: attr::RDONLY, ..Change::default() };
    acts.step(&steps::ROOTFS_READONLY, "/", || {
        if mutant::has("CVE-2026-115521") {
            // The mistake: the root is named by its descriptor in a /proc that may be the image's.
            let name = skiff_sys::fd::path_of(root.root());
            return change(root.place(&name)?.as_fd(), readonly, Depth::One);
        }
        change(root.root(), readonly, Depth::One)
    })
}

/// Lets mount events travel to and from the container's root as configured.
///
/// # Errors
/// Those of mount_setattr(2).
pub(crate) fn propagate(root: BorrowedFd<'_>, (propagation, depth): (Propagation, Depth)) -> Result<()> {
    // Slave and private hold already since isolate().
    if matches!(propagation, Propagation::Slave | Propagation::Private) {
        return Ok(());
    }
    change(root, Change { propagation: Some(propagation), ..Change::default() }, depth).on("set propagation of", "/")
}
