//! Device files and the links beside them.

use super::copy_host;
use crate::error::{Acts, Error, Result};
use crate::mutant;
use crate::spec::{config::Device, ids};
use crate::steps;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fstat, makedev, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use skiff_sys::inroot::{InRoot, Kind};
use skiff_sys::mount::{Depth, attach};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Supplied always (runtime-spec config-linux, Default Devices): all of major 1 but the terminal.
const DEFAULTS: &[(&str, u64, u64)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];
/// Supplied always (runtime-spec runtime-linux, Dev symbolic links; `ptmx` with the default devices).
const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];
const DEVICE_MODE: u32 = 0o666;
const PERMISSIONS: u32 = 0o7777;

/// A device as meant.
#[derive(Debug, Clone)]
pub(crate) struct DeviceNode {
    path: PathBuf,
    kind: SFlag,
    number: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    /// Whether config.json asks for it; the others are supplied always.
    asked: bool,
}

/// A device of the host, copied for a container whose users may not make devices.
pub(crate) type Bound = (PathBuf, OwnedFd);

/// The default devices and `extra`, which may give one of them other rights.
///
/// # Errors
/// A device without numbers, by field path.
pub(crate) fn defaults(extra: &[Device]) -> Result<Vec<DeviceNode>> {
    let mut nodes: Vec<DeviceNode> = Vec::new();
    for (path, major, minor) in DEFAULTS {
        let number = makedev(*major, *minor);
        nodes.push(DeviceNode {
            path: path.into(),
            kind: SFlag::S_IFCHR,
            number,
            mode: DEVICE_MODE,
            uid: 0,
            gid: 0,
            asked: false,
        });
    }
    for (index, device) in extra.iter().enumerate() {
        let node = DeviceNode::check(index, device)?;
        nodes.retain(|other| other.path != node.path);
        nodes.push(node);
    }
    Ok(nodes)
}

impl DeviceNode {
    fn check(index: usize, device: &Device) -> Result<Self> {
        let field = |name: &str| format!("linux.devices[{index}].{name}");
        let kind = match device.kind.as_str() {
            "b" => SFlag::S_IFBLK,
            "c" | "u" => SFlag::S_IFCHR,
            "p" => SFlag::S_IFIFO,
            other => return Err(Error::refused(field("type"), format!("`{other}` is no kind of device file"))),
        };
        if !device.path.is_absolute() {
            return Err(Error::refused(field("path"), "is not an absolute path"));
        }
        let number =
            |value: i64, name: &str| u64::try_from(value).map_err(|_| Error::refused(field(name), "is negative"));
        Ok(Self {
            path: device.path.clone(),
            kind,
            number: match kind {
                // A FIFO has no numbers (runtime-spec config-linux, Devices).
                SFlag::S_IFIFO => 0,
                _ => makedev(number(device.major, "major")?, number(device.minor, "minor")?),
            },
            mode: device.file_mode.unwrap_or(DEVICE_MODE),
            uid: ids::checked(|| field("uid"), device.uid.unwrap_or(0))?,
            gid: ids::checked(|| field("gid"), device.gid.unwrap_or(0))?,
            asked: true,
        })
    }

    /// Copies the host's file of the same path, for a container in a user namespace: mknod(2) of a device is refused there.
    ///
    /// # Errors
    /// The host has no such device at this path.
    pub(crate) fn bound(&self, acts: &Acts) -> Result<Option<Bound>> {
        if self.kind == SFlag::S_IFIFO {
            return Ok(None);
        }
        let copied = copy_host(acts, &steps::MOUNT_SOURCE, &self.path, Depth::One)?;
        let is_it = fstat(&copied).is_ok_and(|stat| kind_of(&stat) == self.kind && stat.st_rdev == self.number);
        if is_it {
            return Ok(Some((self.path.clone(), copied)));
        }
        Err(Error::Said(format!("mount.source {}: is another device on this host", self.path.display())))
    }

    fn is_bound(&self, bound: &[Bound]) -> bool {
        bound.iter().any(|(path, _)| *path == self.path)
    }
}

/// Makes `nodes`, or attaches the host's where `bound` has them.
///
/// # Errors
/// One cannot be made.
pub(crate) fn make_all(acts: &Acts, root: &InRoot, nodes: &[DeviceNode], bound: &[Bound]) -> Result<()> {
    for (path, copied) in bound {
        acts.step(&steps::DEVICE_CREATE, path.display(), || {
            attach(copied.as_fd(), root.make(path, Kind::File)?.as_fd())
        })?;
    }
    let mut parents = Parents { root, last: None };
    for node in nodes.iter().filter(|node| !node.is_bound(bound)) {
        acts.step(&steps::DEVICE_CREATE, node.path.display(), || make(&mut parents, node))?;
    }
    Ok(())
}

fn make(parents: &mut Parents<'_>, node: &DeviceNode) -> std::result::Result<(), Errno> {
    let root = parents.root;
    let (parent, name) = parents.of(&node.path)?;
    let make = || mknodat(parent, name, node.kind, Mode::from_bits_truncate(node.mode), node.number);
    match make() {
        // runtime-spec config-linux, Devices: a file that is not the asked device is an error.
        Err(Errno::EEXIST) if is_there(root, node)? => (),
        Err(Errno::EEXIST) if mutant::has("CVE-2025-31133") => return Ok(()),
        Err(Errno::EEXIST) if !node.asked => {
            // The image has something else in the place of a default device. Nobody has seen it yet.
            unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?;
            make()?;
        }
        result => result?,
    }
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// Whether the device stands there already, with whatever rights: it then gets the asked ones.
fn is_there(root: &InRoot, node: &DeviceNode) -> std::result::Result<bool, Errno> {
    let place = root.place_nofollow(&node.path)?;
    let stat = fstat(&place)?;
    if kind_of(&stat) != node.kind || (node.kind != SFlag::S_IFIFO && stat.st_rdev != node.number) {
        return Ok(false);
    }
    if stat.st_mode & PERMISSIONS != node.mode {
        let mode = Mode::from_bits_truncate(node.mode);
        nix::sys::stat::fchmodat(AT_FDCWD, &skiff_sys::fd::path_of(place.as_fd()), mode, FchmodatFlags::FollowSymlink)?;
    }
    Ok(true)
}

fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Directories that get devices and links: mostly the same one again.
struct Parents<'a> {
    root: &'a InRoot,
    last: Option<(PathBuf, OwnedFd)>,
}

impl Parents<'_> {
    /// The directory that gets `path`, and its name there.
    fn of<'p>(&mut self, path: &'p Path) -> std::result::Result<(BorrowedFd<'_>, &'p OsStr), Errno> {
        let directory = path.parent().ok_or(Errno::EINVAL)?;
        if self.last.as_ref().is_none_or(|(last, _)| last != directory) {
            self.last = Some((directory.to_owned(), parent_of(self.root, path)?.0));
        }
        let (_, parent) = self.last.as_ref().ok_or(Errno::EINVAL)?;
        Ok((parent.as_fd(), path.file_name().ok_or(Errno::EINVAL)?))
    }
}

fn parent_of<'p>(root: &InRoot, path: &'p Path) -> std::result::Result<(OwnedFd, &'p OsStr), Errno> {
    if mutant::has("CVE-2026-41579") {
        // The mistake: the host resolves a /dev of the image.
        let (parent, name) = (path.parent().ok_or(Errno::EINVAL)?, path.file_name().ok_or(Errno::EINVAL)?);
        let host = skiff_sys::fd::path_of(root.root()).join(parent.strip_prefix("/").unwrap_or(parent));
        return Ok((std::fs::File::open(host).map_err(|_| Errno::ENOENT)?.into(), name));
    }
    root.parent(path)
}

/// Makes the links that programs expect in `/dev`.
///
/// # Errors
/// One cannot be made.
pub(crate) fn links(acts: &Acts, root: &InRoot) -> Result<()> {
    let mut parents = Parents { root, last: None };
    for (path, target) in LINKS {
        acts.step(&steps::DEVICE_LINK, path, || link(&mut parents, Path::new(path), target))?;
    }
    Ok(())
}

fn link(parents: &mut Parents<'_>, path: &Path, target: &str) -> std::result::Result<(), Errno> {
    let (parent, name) = parents.of(path)?;
    match symlinkat(target, parent, name) {
        // A device file in place of ptmx would be the host's terminals; anything else there is the image's choice.
        Err(Errno::EEXIST) if target == "pts/ptmx" => {
            unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?;
            symlinkat(target, parent, name)
        }
        Err(Errno::EEXIST) => Ok(()),
        result => result,
    }
}
