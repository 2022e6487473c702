//! The one door to paths inside a container's root (openat2(2)).
//!
//! Symbolic links, `..` and absolute targets are resolved by the kernel as if the root were `/`; links of procfs that jump
//! elsewhere are refused. A path can therefore never leave the root, however the container changes it meanwhile.

use crate::call::owned;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat, mknodat};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// How often a walk is tried again when the kernel reports a concurrent rename (`EAGAIN`): each try is fresh, and a tenant
/// that wins this often is attacking.
const RACES_MAX: usize = 64;

/// How many links may lead from one to the other, as in the kernel (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// What a missing last component becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// An empty regular file.
    File,
}

/// A directory that paths cannot leave.
#[derive(Debug)]
pub struct InRoot {
    root: OwnedFd,
}

impl InRoot {
    /// Takes an open directory as the root.
    #[must_use]
    pub const fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// Opens the directory `path` of the host.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, … for `path`.
    pub fn open_host(path: &Path) -> Result<Self, Errno> {
        nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map(Self::new)
    }

    /// The root itself.
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens `path` below the root with `flags`; close-on-exec always.
    ///
    /// # Errors
    /// Those of openat2(2); `ELOOP` for links of procfs.
    pub fn open(&self, path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        walk(self.root(), path, flags, mode, resolve)
    }

    /// Opens `path` as a place: to mount on, to look at, to resolve from.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub fn place(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open(path, OFlag::O_PATH, Mode::empty())
    }

    /// Opens `path` as a place if no link is on the way: then it is where its names say.
    ///
    /// # Errors
    /// Those of openat2(2); `ELOOP` where a link is.
    pub fn place_unlinked(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let resolve =
            ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_SYMLINKS;
        walk(self.root(), path, OFlag::O_PATH, Mode::empty(), resolve)
    }

    /// The same, with its last component made as `kind` if only that is missing.
    ///
    /// # Errors
    /// Those of openat2(2), mkdirat(2) and mknodat(2); `ELOOP` where a link is.
    pub fn make_unlinked(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        match self.place_unlinked(path) {
            Err(Errno::ENOENT) => (),
            found_or_failed => return found_or_failed,
        }
        let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::EINVAL)?;
        make_in(self.place_unlinked(parent)?.as_fd(), name, kind)?;
        self.place_unlinked(path)
    }

    /// Opens `path` as a place without following a symbolic link at its end.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub fn place_nofollow(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, Mode::empty())
    }

    /// Opens the place `path`, making missing directories (0755) and, if missing, its last component as `kind`. Where a link
    /// leads to what is missing, it is made there, inside the root.
    ///
    /// # Errors
    /// Those of openat2(2), mkdirat(2) and mknodat(2).
    pub fn make(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        match self.place(path) {
            Err(Errno::ENOENT) => (),
            found_or_failed => return found_or_failed,
        }
        // Without links, so that `..` is what it says.
        let mut here = PathBuf::from("/");
        let mut ahead: Vec<OsString> = names(path).into_iter().rev().collect();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let kind = if ahead.is_empty() { kind } else { Kind::Directory };
            let Some(target) = self.make_one(&here, &name, kind)? else {
                here.push(name);
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::ELOOP);
            }
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            ahead.extend(names(&target).into_iter().rev());
        }
        self.place(&here)
    }

    /// Opens the directory that holds `path`'s last component, and that component's name.
    ///
    /// # Errors
    /// `EINVAL` when there is no last component.
    pub fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), Errno> {
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok((self.make(parent, Kind::Directory)?, name))
    }

    /// Makes `name` in `parent`, if it is missing; if it is a link, its target is what is still to be made.
    fn make_one(&self, parent: &Path, name: &OsStr, kind: Kind) -> Result<Option<PathBuf>, Errno> {
        let path = parent.join(name);
        let made = match self.place_nofollow(&path) {
            Err(Errno::ENOENT) => self.make_missing(parent, name, kind),
            found_or_failed => found_or_failed.map(Some),
        };
        match made? {
            Some(there) if is_link(there.as_fd())? => link_target(there.as_fd()).map(PathBuf::from).map(Some),
            _ => Ok(None),
        }
    }

    /// What stands there if somebody else was faster.
    fn make_missing(&self, parent: &Path, name: &OsStr, kind: Kind) -> Result<Option<OwnedFd>, Errno> {
        let directory = self.place(parent)?;
        match make_in(directory.as_fd(), name, kind) {
            Err(Errno::EEXIST) => self.place_nofollow(&parent.join(name)).map(Some),
            other => other.map(|()| None),
        }
    }
}

fn make_in(directory: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> Result<(), Errno> {
    match kind {
        Kind::Directory => mkdirat(directory, name, Mode::from_bits_truncate(0o755)),
        Kind::File => mknodat(directory, name, SFlag::S_IFREG, Mode::from_bits_truncate(0o644), 0),
    }
}

/// Opens `path` below `directory` without leaving it, crossing into another mount, or following any link: for procfs and
/// cgroup files, where each of these would be an attack (`RESOLVE_BENEATH`, `NO_XDEV`, `NO_SYMLINKS`).
///
/// # Errors
/// Those of openat2(2); `EXDEV` and `ELOOP` for an attack.
pub fn open_beneath(directory: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_XDEV
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    walk(directory, path, flags, Mode::empty(), resolve)
}

/// Whether `fd` is the character device `major`:`minor`.
///
/// # Errors
/// Those of fstat(2).
pub fn is_character_device(fd: BorrowedFd<'_>, major: u64, minor: u64) -> Result<bool, Errno> {
    let stat = fstat(fd)?;
    let is_device = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
    Ok(is_device && stat.st_rdev == nix::sys::stat::makedev(major, minor))
}

/// Where `fd` lies, as the host's procfs prints it.
///
/// # Errors
/// Those of readlink(2).
pub fn path_of(fd: BorrowedFd<'_>) -> Result<PathBuf, Errno> {
    nix::fcntl::readlink(&crate::fd::path_of(fd)).map(PathBuf::from)
}

fn walk(at: BorrowedFd<'_>, path: &Path, flags: OFlag, mode: Mode, resolve: ResolveFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(mode).resolve(resolve);
    for _ in 0..RACES_MAX {
        match openat2(at, path, how) {
            Err(Errno::EAGAIN) => (),
            result => return result,
        }
    }
    Err(Errno::EAGAIN)
}

/// Its components, `..` among them.
fn names(path: &Path) -> Vec<OsString> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

fn is_link(place: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(SFlag::from_bits_truncate(fstat(place)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK)
}

/// Reads the target of the symbolic link that `link` was opened on (`O_PATH|O_NOFOLLOW`).
///
/// # Errors
/// `EINVAL` when it is no link.
pub fn link_target(link: BorrowedFd<'_>) -> Result<OsString, Errno> {
    let mut buffer = vec![0_u8; usize::try_from(libc::PATH_MAX).unwrap_or(4096)];
    let address = buffer.as_mut_ptr().cast::<libc::c_char>();
    // SAFETY: readlinkat writes at most `buffer.len()` bytes at `address`, and reads an empty terminated string.
    let count = unsafe { libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), address, buffer.len()) };
    let count = usize::try_from(Errno::result(count)?).map_err(|_| Errno::EINVAL)?;
    buffer.truncate(count);
    Ok(OsString::from_vec(buffer))
}

/// An `O_PATH` descriptor that names nothing special: the host's `/`.
///
/// # Errors
/// Those of open(2).
pub fn host_root() -> Result<OwnedFd, Errno> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: open reads a terminated string and returns a new descriptor.
    unsafe { owned(libc::open(c"/".as_ptr(), flags).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch() -> (tempfile::TempDir, InRoot) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("root")).unwrap();
        let root = InRoot::open_host(&directory.path().join("root")).unwrap();
        (directory, root)
    }

    #[test]
    fn missing_parents_are_made_inside() {
        let (directory, root) = scratch();
        root.make(Path::new("/a/b/file"), Kind::File).unwrap();
        assert!(directory.path().join("root/a/b/file").is_file());
    }

    /// Fault O12.
    #[test]
    fn what_a_link_leads_to_is_made_inside() {
        let (directory, root) = scratch();
        let inside = |path: &str| directory.path().join("root").join(path);
        std::fs::create_dir_all(inside("a/deep/er")).unwrap();
        symlink("/usr/zone/utc", inside("a/absolute")).unwrap();
        symlink("../b/../c/file", inside("a/relative")).unwrap();
        symlink("../../../../../../d", inside("a/above")).unwrap();
        symlink("deep/er", inside("a/short")).unwrap();
        symlink("short/../beside", inside("a/through")).unwrap();
        symlink("missing", inside("a/directory")).unwrap();
        symlink("round", inside("a/round")).unwrap();
        for (path, made) in [
            ("/a/absolute", "usr/zone/utc"),
            ("/a/relative", "c/file"),
            ("/a/above", "d"),
            ("/a/through", "a/deep/beside"),
            ("/a/directory/x", "a/missing/x"),
        ] {
            root.make(Path::new(path), Kind::File).unwrap();
            assert!(inside(made).is_file(), "{path}");
        }
        assert_eq!(root.make(Path::new("/a/round"), Kind::File).err(), Some(Errno::ELOOP));
        assert!(!directory.path().join("d").exists());
    }

    #[test]
    fn links_and_dots_never_leave_the_root() {
        let (directory, root) = scratch();
        std::fs::create_dir(directory.path().join("outside")).unwrap();
        symlink("../outside", directory.path().join("root/up")).unwrap();
        symlink(directory.path().join("outside"), directory.path().join("root/abs")).unwrap();
        for path in ["/up/x", "/abs/x", "/../../outside/x", "up/../../x"] {
            let _refused_or_inside = root.make(Path::new(path), Kind::Directory);
        }
        assert_eq!(std::fs::read_dir(directory.path().join("outside")).unwrap().count(), 0);
    }

    #[test]
    fn beneath_refuses_every_link() {
        let (directory, root) = scratch();
        std::fs::write(directory.path().join("root/real"), "x").unwrap();
        symlink("real", directory.path().join("root/link")).unwrap();
        assert!(open_beneath(root.root(), Path::new("real"), OFlag::O_RDONLY).is_ok());
        assert_eq!(open_beneath(root.root(), Path::new("link"), OFlag::O_RDONLY).err(), Some(Errno::ELOOP));
        assert_eq!(open_beneath(root.root(), Path::new("../x"), OFlag::O_RDONLY).err(), Some(Errno::EXDEV));
    }
}
