//! What a container is built from, opened on the host before anyone enters the container: its root, the sources of its mounts,
//! the host's devices.

use super::copy_host;
use super::device::{Bound, DeviceNode};
use crate::cgroup::Cgroup;
use crate::error::{Acts, Error, On, Result};
use crate::init::users::{self, Maps};
use crate::mutant;
use crate::plan::{Plan, Rights};
use crate::spec::{IdMap, Mount, Owners, Spec, What};
use crate::steps;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use skiff_sys::inroot::Kind;
use skiff_sys::mount::{Change, Depth, Propagation, attr, change, map_owners};
use std::ffi::{CStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What an ordinary user's container without cgroups sees at most.
const ALL_CGROUPS: &str = "/sys/fs/cgroup";
/// Where a user namespace may not mount a filesystem because the namespace that it shows is another's, it gets the host's.
const STAND_INS: &[(&CStr, &str)] = &[(c"proc", "/proc"), (c"sysfs", "/sys"), (c"mqueue", "/dev/mqueue")];

/// Everything opened.
#[derive(Debug)]
pub(crate) struct Opened {
    /// A detached copy of the rootfs; the directory itself where the container's mounts are the runtime's.
    pub(crate) rootfs: OwnedFd,
    /// One for each mount.
    pub(crate) sources: Vec<Source>,
    /// Devices of the host, for a container that cannot make its own.
    pub(crate) devices: Vec<Bound>,
}

/// What was opened for one mount while the host was still seen with the host's rights.
#[derive(Debug)]
pub(crate) enum Source {
    /// A detached copy of the source's mounts, and what its target must be.
    Bound(OwnedFd, Kind),
    /// Detached copies of the container's cgroup directories by name; one without a name stands for the whole.
    Cgroups(Vec<(OsString, OwnedFd)>),
    /// It is made in the container; where that is refused, this takes its place.
    Fresh(Option<OwnedFd>),
    /// It is there already.
    Existing,
}

impl Opened {
    /// Opens everything for `spec`.
    ///
    /// # Errors
    /// Something does not exist.
    pub(crate) fn open(acts: &Acts, spec: &Spec, plan: &Plan, cgroup: &Cgroup) -> Result<Self> {
        let open = || Self::open_here(acts, spec, plan, cgroup);
        // An ordinary user's process is in such a place already.
        match spec.namespaces.has(libc::CLONE_NEWUSER) && plan.rights == Rights::Host {
            true => users::among_less_privileged(acts, open),
            false => open(),
        }
    }

    fn open_here(acts: &Acts, spec: &Spec, plan: &Plan, cgroup: &Cgroup) -> Result<Self> {
        let rootfs = open_rootfs(acts, spec)?;
        let mut opener = Opener { acts, spec, cgroup, users: Vec::new() };
        let sources = spec.mounts.iter().map(|mount| opener.source(mount)).collect::<Result<_>>()?;
        let bound: &[DeviceNode] = if plan.binds_devices { &plan.devices } else { &[] };
        let devices = bound.iter().filter_map(|node| node.bound(acts).transpose()).collect::<Result<_>>()?;
        Ok(Self { rootfs, sources, devices })
    }
}

fn open_rootfs(acts: &Acts, spec: &Spec) -> Result<OwnedFd> {
    if spec.namespaces.shares_mounts() {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory =
            |path: &Path| acts.step(&steps::ROOTFS_COPY, path.display(), || open(path, flags, Mode::empty()));
        let (rootfs, hosts) = (directory(&spec.rootfs)?, directory(Path::new("/"))?);
        if identity(&rootfs)? == identity(&hosts)? {
            let reason = "is the host's root: without a mount namespace the host's devices would change";
            return Err(Error::refused("root.path", reason));
        }
        return Ok(rootfs);
    }
    let rootfs = copy_host(acts, &steps::ROOTFS_COPY, &spec.rootfs, Depth::Tree)?;
    let propagation = Some(super::inwards(spec.propagation.0));
    change(rootfs.as_fd(), Change { propagation, ..Change::default() }, Depth::Tree)
        .map_err(|errno| failed(&steps::ROOTFS_COPY, &spec.rootfs, errno))?;
    Ok(rootfs)
}

/// What no other directory has.
fn identity(directory: &OwnedFd) -> Result<(u64, u64)> {
    let stat = fstat(directory).on("look at", "root")?;
    Ok((stat.st_dev, stat.st_ino))
}

struct Opener<'a> {
    acts: &'a Acts,
    spec: &'a Spec,
    cgroup: &'a Cgroup,
    /// User namespaces made for idmapped mounts so far, with their maps.
    users: Vec<(Maps<'a>, OwnedFd)>,
}

impl<'a> Opener<'a> {
    fn source(&mut self, mount: &'a Mount) -> Result<Source> {
        match &mount.what {
            What::Existing { .. } => Ok(Source::Existing),
            What::Fresh { kind, .. } => self.stand_in(kind),
            What::Bind { source, depth } => {
                let copied = copy_host(self.acts, &steps::MOUNT_SOURCE, source, *depth)?;
                if let Some(owners) = &mount.owners {
                    self.map_owners(copied.as_fd(), owners, source)?;
                }
                self.alter(copied.as_fd(), mount, source)?;
                let kind = kind_of(copied.as_fd()).map_err(|errno| failed(&steps::MOUNT_SOURCE, source, errno))?;
                Ok(Source::Bound(copied, kind))
            }
            What::Cgroups => self.cgroups(mount).map(Source::Cgroups),
        }
    }

    fn alter(&self, copied: BorrowedFd<'_>, mount: &Mount, source: &Path) -> Result<()> {
        self.acts.step(&steps::MOUNT_CHANGE, source.display(), || alter(copied, mount, Some(Propagation::Slave)))
    }

    fn stand_in(&self, kind: &CStr) -> Result<Source> {
        let stand_in = STAND_INS.iter().find(|(name, _)| *name == kind);
        let Some((_, path)) = stand_in.filter(|_| self.spec.namespaces.has(libc::CLONE_NEWUSER)) else {
            return Ok(Source::Fresh(None));
        };
        let copied = match copy_host(self.acts, &steps::MOUNT_SOURCE, Path::new(path), Depth::Tree) {
            Ok(copied) => copied,
            // A host without message queues has none to show.
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(Source::Fresh(None)),
            Err(error) => return Err(error),
        };
        let set = attr::NOSUID | attr::NODEV | attr::NOEXEC;
        let harmless = Change { set, propagation: Some(Propagation::Slave), ..Change::default() };
        self.acts.step(&steps::MOUNT_CHANGE, path, || change(copied.as_fd(), harmless, Depth::Tree))?;
        Ok(Source::Fresh(Some(copied)))
    }

    fn map_owners(&mut self, copied: BorrowedFd<'_>, owners: &'a Owners, source: &Path) -> Result<()> {
        let acts = self.acts;
        let entered = self.spec.namespaces.enter.iter().find(|(kind, _)| *kind == libc::CLONE_NEWUSER);
        let users = match (&owners.maps, entered) {
            (None, Some((_, path))) => &self.entered(path)?,
            (maps, _) => {
                let own = (&self.spec.uid_maps, &self.spec.gid_maps);
                let (uids, gids): (&'a [IdMap], &'a [IdMap]) = match maps {
                    Some((uids, gids)) => (uids, gids),
                    None => (own.0, own.1),
                };
                users(acts, &mut self.users, Maps { uids, gids })?
            }
        };
        let mapped = || map_owners(copied, users.as_fd(), owners.depth);
        acts.step(&steps::MOUNT_MAP, source.display(), mapped)
    }

    fn entered(&self, path: &Path) -> Result<OwnedFd> {
        let opened = std::fs::File::open(path);
        opened.map(OwnedFd::from).map_err(|error| {
            failed(&steps::MOUNT_MAP, path, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
        })
    }

    fn cgroups(&self, mount: &Mount) -> Result<Vec<(OsString, OwnedFd)>> {
        let mut copies = Vec::new();
        let whole = self.whole_cgroup();
        for directory in self.cgroup.directories.iter().filter(|_| whole.is_none()) {
            let copied = copy_host(self.acts, &steps::MOUNT_SOURCE, &directory.path, Depth::One)?;
            self.alter(copied.as_fd(), mount, &directory.path)?;
            copies.push((directory.controllers.join(",").into(), copied));
        }
        if let Some((path, depth)) = whole {
            let copied = copy_host(self.acts, &steps::MOUNT_SOURCE, &path, depth)?;
            self.alter(copied.as_fd(), mount, &path)?;
            if self.cgroup.directories.is_empty() && !mutant::has("CVE-2023-25809") {
                // They are the host's, not the container's: to be looked at only (CVE-2023-25809).
                let locked = Change { set: attr::RDONLY, ..Change::default() };
                self.acts.step(&steps::MOUNT_CHANGE, path.display(), || change(copied.as_fd(), locked, Depth::Tree))?;
            }
            copies.push((OsString::new(), copied));
        }
        Ok(copies)
    }

    /// What stands for all cgroups: of version 2 the container's directory, or the hierarchy when the container has no view
    /// of its own (cgroup_namespaces(7)); the host's when the container has no cgroup.
    fn whole_cgroup(&self) -> Option<(PathBuf, Depth)> {
        match self.cgroup.directories.as_slice() {
            [] => Some((ALL_CGROUPS.into(), Depth::Tree)),
            [only] if only.unified && self.spec.namespaces.has(libc::CLONE_NEWCGROUP) => {
                Some((only.path.clone(), Depth::One))
            }
            [only] if only.unified => {
                let is_unified =
                    |path: &&Path| statfs(*path).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
                let root = only.path.ancestors().take_while(is_unified).last().unwrap_or(&only.path);
                Some((root.to_owned(), Depth::One))
            }
            _ => None,
        }
    }
}

fn users<'k, 'a>(acts: &Acts, known: &'k mut Vec<(Maps<'a>, OwnedFd)>, maps: Maps<'a>) -> Result<&'k OwnedFd> {
    let index = match known.iter().position(|(other, _)| *other == maps) {
        Some(index) => index,
        None => {
            known.push((maps, users::namespace_with(acts, maps)?));
            known.len() - 1
        }
    };
    Ok(&known[index].1)
}

/// Gives a mount its attributes and its propagation. A copy of a shared mount would still be its peer: `unasked` says what
/// becomes of it without a word.
pub(super) fn alter(at: BorrowedFd<'_>, mount: &Mount, unasked: Option<Propagation>) -> std::result::Result<(), Errno> {
    let send = |propagation, depth| change(at, Change { propagation: Some(propagation), ..Change::default() }, depth);
    match unasked {
        Some(propagation) if mount.propagation.is_empty() => send(propagation, Depth::Tree)?,
        _ => mount.propagation.iter().try_for_each(|(propagation, depth)| send(*propagation, *depth))?,
    }
    if mount.change != Change::default() {
        change(at, mount.change, Depth::One)?;
    }
    if mount.change_tree != Change::default() {
        change(at, mount.change_tree, Depth::Tree)?;
    }
    Ok(())
}

/// What a mount of this can lie on.
pub(super) fn kind_of(at: BorrowedFd<'_>) -> std::result::Result<Kind, Errno> {
    let mode = SFlag::from_bits_truncate(fstat(at)?.st_mode) & SFlag::S_IFMT;
    Ok(if mode == SFlag::S_IFDIR { Kind::Directory } else { Kind::File })
}

pub(super) fn failed(step: &skiff_step::Step, path: &Path, errno: Errno) -> Error {
    Error::Failed { operation: step.id, operand: path.display().to_string(), errno }
}
