//! Finds a folder or file inside a volume without leaving the volume.
//!
//! Whoever can write to a volume can put a symbolic link there, and a path that was checked is not the path that is
//! mounted a moment later (CVE-2017-1002101, CVE-2021-25741). So the kernel resolves the path below the volume's own
//! descriptor (openat2(2), `RESOLVE_BENEATH`): links that stay inside are followed, as the keys of a config map are links
//! to `..data/…`; one that leads out, an absolute one too, is refused. What was opened is bound by its descriptor.
//!
//! The reasons are for the pod's owner: they name what the pod says, never a path of the node.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// How large a file of variables may be.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How often a walk is tried again when the kernel reports a concurrent rename (`EAGAIN`): each try is fresh, and a
/// tenant that wins this often is attacking.
const RACES_MAX: usize = 64;

/// Opens `path` below `root`, which no link on the way may leave.
fn beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let inside = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(inside);
    let tries = (0..RACES_MAX).map(|_| openat2(root, path, how));
    tries.into_iter().find(|opened| !matches!(opened, Err(Errno::EAGAIN))).unwrap_or(Err(Errno::EAGAIN))
}

/// Why `path` cannot be used, for people.
fn reason(path: &Path, errno: Errno) -> String {
    let why = match errno {
        Errno::EXDEV => "leads out of the volume",
        Errno::ELOOP => "leads through links without end, or links of procfs",
        Errno::ENOENT => "leads to something that is not there",
        other => return format!("{}: {}", path.display(), other.desc()),
    };
    format!("{} {why}", path.display())
}

/// Opens `path` below `volume`, making folders that are missing.
pub(super) fn open(volume: &Path, path: &Path) -> Result<OwnedFd, String> {
    if path.is_absolute() {
        return Err(format!("{} must not be an absolute path", path.display()));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("{} must not contain '..'", path.display()));
    }
    let blame = |errno| reason(path, errno);
    let root = nix::fcntl::open(volume, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| format!("the volume cannot be opened: {}", errno.desc()))?;
    match beneath(root.as_fd(), path, OFlag::O_PATH) {
        Err(Errno::ENOENT) => make(root.as_fd(), path).map_err(blame),
        found => found.map_err(blame),
    }
}

/// The text of the file `path` below `volume`.
pub(super) fn read(volume: &Path, path: &Path) -> Result<String, String> {
    let root = nix::fcntl::open(volume, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| format!("the volume cannot be opened: {}", errno.desc()))?;
    // A pipe that a container put there must not keep us waiting.
    let opened =
        beneath(root.as_fd(), path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map_err(|errno| reason(path, errno))?;
    let file = fs::File::from(opened);
    let said = |error: io::Error| format!("it cannot be read: {error}");
    let meta = file.metadata().map_err(said)?;
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
        return Err(format!("it is not a file of at most {FILE_BYTES_MAX} bytes"));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(said)?;
    Ok(text)
}

/// Makes the folder `path` and those above it that are missing. The last one gets the volume's permission bits, so that
/// who may write to the volume may write to it, whatever our umask is.
fn make(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let (mut at, mut done, mut fresh) = (None::<OwnedFd>, PathBuf::new(), false);
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        let parent = at.as_ref().map_or(root, |folder| folder.as_fd());
        fresh = match mkdirat(parent, name, Mode::from_bits_truncate(0o777)) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(errno) => return Err(errno),
        };
        done.push(name);
        at = Some(beneath(root, &done, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?);
    }
    let made = at.ok_or(Errno::EINVAL)?;
    if fresh {
        let bits = |stat: FileStat| Mode::from_bits_truncate(stat.st_mode);
        let inherited = bits(fstat(&made)?) & Mode::S_ISGID;
        fchmod(&made, inherited | bits(fstat(root)?) & Mode::from_bits_truncate(0o777))?;
    }
    Ok(made)
}

/// Binds what `found` is to `target`, which is made for it and replaces what an earlier run bound there.
pub(super) fn bind(found: &OwnedFd, target: &Path) -> Result<(), String> {
    let blame = |operation: &'static str| move |error: io::Error| format!("{operation}: {error}");
    release(target).map_err(blame("unmount what was there before"))?;
    let stat = fstat(found).map_err(io::Error::from).map_err(blame("look at it"))?;
    let is_folder = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
    make_target(target, is_folder).map_err(blame("make a place for it"))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    mount(Some(&source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(io::Error::from)
        .map_err(blame("bind it"))
}

/// Unmounts `target` until nothing is mounted there: what is written there afterwards must not reach a volume.
fn release(target: &Path) -> io::Result<()> {
    loop {
        match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A folder or an empty file at `target`; of the other kind it may be since the last run.
fn make_target(target: &Path, is_folder: bool) -> io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::symlink_metadata(target) {
        Ok(there) if there.is_dir() == is_folder => return Ok(()),
        Ok(there) if there.is_dir() => fs::remove_dir(target)?,
        Ok(_) => fs::remove_file(target)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if is_folder { fs::create_dir(target) } else { fs::File::create_new(target).map(drop) }
}

#[cfg(test)]
#[path = "subpath_tests.rs"]
mod tests;
