//! Files put into a mounted snapshot, as a builder does: the same door as layers', so no path leads out of it.

use crate::error::On;
use crate::inside::Root;
use crate::tape::{Entry, Kind};
use crate::unpack::{Limits, Unpacker};
use crate::{ImageError, codec};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is put at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A folder; one that is there keeps what is in it.
    Folder,
    /// The bytes of this file of the host, which is no link.
    File(PathBuf),
    /// A symbolic link that leads there.
    Link(PathBuf),
}

/// A file, a folder or a link to be put into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where, from the image's root.
    pub path: PathBuf,
    /// What.
    pub content: Content,
    /// Whose.
    pub owner: (u32, u32),
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// Extended attributes.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// What stands at a path of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A folder, or a link to one.
    Folder,
    /// Something else.
    Other,
}

/// An extended attribute of a file of the host, if it has it.
#[must_use]
pub fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    xattr::get(path, name).ok().flatten()
}

/// A mounted snapshot.
pub struct Mounted {
    root: Root,
}

impl Mounted {
    /// The snapshot that is mounted at this folder.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn at(folder: &Path) -> Result<Self, ImageError> {
        Ok(Self { root: Root::open(folder).on("open", folder)? })
    }

    /// What stands at the path, links followed inside.
    ///
    /// # Errors
    /// The kernel refuses to look.
    pub fn find(&self, path: &Path) -> Result<Found, ImageError> {
        match self.root.open_folder(relative(path)) {
            Ok(_) => Ok(Found::Folder),
            Err(Errno::ENOENT) => Ok(Found::Nothing),
            Err(Errno::ENOTDIR) => Ok(Found::Other),
            Err(errno) => Err(errno).on("look at", path),
        }
    }

    /// A small file's bytes, links followed inside; none if there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or is larger than `bytes_max`.
    pub fn read(&self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).resolve(resolve);
        let file = match openat2(self.root.folder(), relative(path), how) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
            Err(errno) => return Err(errno).on("open", path),
        };
        if !file.metadata().on("look at", path)?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).on("read", path)?;
        if bytes.len() as u64 > bytes_max {
            let limit = format!("{bytes_max} bytes");
            return Err(ImageError::TooLarge { what: path.to_string_lossy().into_owned(), limit });
        }
        Ok(Some(bytes))
    }

    /// Puts the items there, in their order. What stands in the way goes; folders on the way are made.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn put(&self, items: &[Item]) -> Result<(), ImageError> {
        let mut unpacker = Unpacker::new(&self.root, Limits::GENEROUS);
        for item in items {
            let (kind, size, mut data): (_, _, Box<dyn Read>) = match &item.content {
                Content::Folder => (Kind::Directory, 0, Box::new(io::empty())),
                Content::Link(_) => (Kind::Symlink, 0, Box::new(io::empty())),
                Content::File(from) => {
                    let file =
                        File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(from).on("open", from)?;
                    let size = file.metadata().on("look at", from)?.len();
                    (Kind::File, size, Box::new(file))
                }
            };
            unpacker.take(&entry(item, kind, size), &mut data)?;
        }
        unpacker.finish().map(drop)
    }

    /// Unpacks the archive into the folder at `path`, which is made; none if the file is no tar archive, packed or not.
    ///
    /// # Errors
    /// The archive is malformed, or something cannot be written.
    pub fn unpack(&self, archive: &Path, path: &Path) -> Result<bool, ImageError> {
        if !is_archive(archive)? {
            return Ok(false);
        }
        let folder = Root::of(self.root.make_folder(relative(path)).on("make folder", path)?);
        let file = BufReader::new(File::open(archive).on("open", archive)?);
        let plain = codec::decompress(file, || archive.display().to_string())?;
        crate::unpack::unpack(BufReader::with_capacity(1 << 16, plain), &folder, Limits::GENEROUS)?;
        Ok(true)
    }
}

/// Whether the first block of what is in the file is a tar header, by its checksum's name for it.
fn is_archive(archive: &Path) -> Result<bool, ImageError> {
    let mut start = [0_u8; 512];
    let file = BufReader::new(File::open(archive).on("open", archive)?);
    let Ok(mut plain) = codec::decompress(file, || archive.display().to_string()) else { return Ok(false) };
    Ok(plain.read_exact(&mut start).is_ok() && start[257..].starts_with(b"ustar"))
}

fn entry(item: &Item, kind: Kind, size: u64) -> Entry {
    let link = match &item.content {
        Content::Link(to) => to.as_os_str().as_bytes().to_vec(),
        _ => Vec::new(),
    };
    Entry {
        path: relative(&item.path).as_os_str().as_bytes().to_vec(),
        link,
        kind,
        mode: item.mode & 0o7777,
        uid: item.owner.0,
        gid: item.owner.1,
        mtime: item.mtime,
        mtime_nanos: 0,
        size,
        sparse: None,
        device: (0, 0),
        xattrs: item.xattrs.clone(),
    }
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
