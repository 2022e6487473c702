//! A folder as a world of its own: every path is resolved by the kernel inside it.
//!
//! openat2(2) with `RESOLVE_IN_ROOT` takes the folder for `/`: `..`, absolute links and links of any length end inside,
//! whatever else happens on the file system meanwhile. The last component is never followed. Children are made, changed
//! and removed relative to their parent's descriptor.

use crate::ImageError;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How deep removing descends; a path of PATH_MAX cannot name more folders.
const DEPTH_MAX: u32 = 2048;
/// Overlayfs reads a folder so marked as hiding the folders below it (kernel, overlayfs.rst, "whiteouts and opaque directories").
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// A folder that is `/` to everything resolved through it.
pub(crate) struct Root(File);

/// A folder inside a root, and a name in it.
pub(crate) struct Place {
    pub(crate) parent: File,
    pub(crate) name: OsString,
}

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Root {
    /// Opens the folder itself.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        openat(AT_FDCWD, path, FOLDER | OFlag::O_NOFOLLOW, Mode::empty()).map(|fd| Self(fd.into()))
    }

    /// A folder that is open already.
    pub(crate) fn of(folder: File) -> Self {
        Self(folder)
    }

    /// The root's own descriptor.
    pub(crate) fn folder(&self) -> &File {
        &self.0
    }

    /// Opens a folder at `path`, following links inside the root.
    pub(crate) fn open_folder(&self, path: &Path) -> Result<File, Errno> {
        if path.as_os_str().is_empty() {
            return Ok(openat(&self.0, ".", FOLDER, Mode::empty())?.into());
        }
        // No mounts belong into a root, and magic links (of a procfs someone mounted there) lead out of it.
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        openat2(&self.0, path, OpenHow::new().flags(FOLDER).resolve(resolve)).map(File::from)
    }

    /// Opens a folder at `path`, making what is missing of it, each folder with mode 0755.
    pub(crate) fn make_folder(&self, path: &Path) -> Result<File, Errno> {
        match self.open_folder(path) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            opened => return opened,
        }
        let mut opened = self.open_folder(Path::new(""))?;
        let mut walked = PathBuf::new();
        for name in path.iter() {
            walked.push(name);
            opened = match self.open_folder(&walked) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => make_child_folder(&opened, name)?,
                found => found?,
            };
        }
        Ok(opened)
    }

    /// Opens a regular file for reading; no link anywhere on the way counts.
    pub(crate) fn open_file(&self, path: &Path) -> Result<File, Errno> {
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        // Opening a FIFO would wait for a writer without O_NONBLOCK.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = File::from(openat2(&self.0, path, OpenHow::new().flags(flags).resolve(resolve))?);
        match file.metadata() {
            Ok(about) if about.is_file() => Ok(file),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Makes `name`, which does not lead to a folder. A whiteout there gives way: the folder then hides what lies below it.
fn make_child_folder(parent: &File, name: &OsStr) -> Result<File, Errno> {
    let hides = match look(parent, name)? {
        Some(about) if is_whiteout(&about) => true,
        Some(_) => return Err(Errno::ENOTDIR),
        None => false,
    };
    if hides {
        unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?;
    }
    mkdirat(parent, name, Mode::from_bits_truncate(0o755))?;
    let made = open_child_folder(parent, name)?;
    // mkdirat(2) obeys the umask of whoever runs us.
    nix::sys::stat::fchmod(&made, Mode::from_bits_truncate(0o755))?;
    if hides {
        make_opaque(&made)?;
    }
    Ok(made)
}

/// Opens the folder `name` of `parent`, following no link.
pub(crate) fn open_child_folder(parent: &File, name: &OsStr) -> Result<File, Errno> {
    openat(parent, name, FOLDER | OFlag::O_NOFOLLOW, Mode::empty()).map(File::from)
}

/// What `name` is, or that it is not there.
pub(crate) fn look(parent: &File, name: &OsStr) -> Result<Option<FileStat>, Errno> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(about) => Ok(Some(about)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The file type bits.
pub(crate) fn file_type(about: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(about.st_mode & SFlag::S_IFMT.bits())
}

/// Whether overlayfs takes it for "removed": a character device 0:0.
pub(crate) fn is_whiteout(about: &FileStat) -> bool {
    file_type(about) == SFlag::S_IFCHR && about.st_rdev == 0
}

/// Makes a whiteout.
pub(crate) fn make_whiteout(parent: &File, name: &OsStr) -> Result<(), Errno> {
    mknodat(parent, name, SFlag::S_IFCHR, Mode::empty(), 0)
}

/// Marks a folder as hiding the folders below it.
pub(crate) fn make_opaque(folder: &File) -> Result<(), Errno> {
    set_xattr(folder, OPAQUE, b"y")
}

/// Sets an extended attribute of an open file or folder.
pub(crate) fn set_xattr(file: &File, name: &str, value: &[u8]) -> Result<(), Errno> {
    let set = xattr::FileExt::set_xattr(file, name, value);
    set.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// Removes `name` with everything in it; links are removed, not followed.
pub(crate) fn remove(parent: &File, name: &OsStr, about: &FileStat) -> Result<(), Errno> {
    remove_to_depth(parent, name, about, DEPTH_MAX)
}

fn remove_to_depth(parent: &File, name: &OsStr, about: &FileStat, depth: u32) -> Result<(), Errno> {
    if file_type(about) != SFlag::S_IFDIR {
        return unlinkat(parent, name, UnlinkatFlags::NoRemoveDir);
    }
    let left = depth.checked_sub(1).ok_or(Errno::ELOOP)?;
    let folder = open_child_folder(parent, name)?;
    for child in children(&folder)? {
        if let Some(about) = look(&folder, &child)? {
            remove_to_depth(&folder, &child, &about, left)?;
        }
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

/// Names in a folder, as the kernel gives them.
pub(crate) fn children(folder: &File) -> Result<Vec<OsString>, Errno> {
    let mut dir = Dir::openat(folder, ".", FOLDER, Mode::empty())?;
    let mut names = Vec::new();
    for child in dir.iter() {
        let name = OsStr::from_bytes(child?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// A path of an archive as plain components: no leading slash, no `.`. A `..` takes back the component before it, by its text
/// alone, as every other reader has it; one that leads out and over-long names are refused.
pub(crate) fn plain(path: &[u8]) -> Result<PathBuf, ImageError> {
    let refuse = |reason: &str| Err(ImageError::malformed(String::from_utf8_lossy(path), reason));
    let mut plain = PathBuf::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if plain.pop() => {}
            b".." => return refuse("a path in a layer may not lead out of it by `..`"),
            name if name.len() > 255 => return refuse("a component is longer than 255 bytes"),
            name => plain.push(OsStr::from_bytes(name)),
        }
    }
    Ok(plain)
}
