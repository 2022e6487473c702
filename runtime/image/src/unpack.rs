//! Unpacks one layer into a folder, in the form in which overlayfs stacks folders.
//!
//! Whiteouts of the layer (`.wh.NAME`, `.wh..wh..opq`; image-spec layer.md) become overlayfs's (character device 0:0,
//! `trusted.overlay.opaque`). A layer is unpacked by itself, without those below it, so a hard link must have its target
//! in the same layer (which layer.md asks for too).
//!
//! Every entry is hostile until shown otherwise: paths go through [`Root`], new files are made with `O_EXCL`, and nothing is
//! changed through a name that could be a link.

mod left_out;
mod node;
mod whiteout;

use crate::error::On;
use crate::inside::{self, Place, Root};
use crate::tape::{Entry, Kind, Tape};
use crate::{ImageError, inside::plain};
pub(crate) use left_out::LeftOut;
use nix::errno::Errno;
use nix::sys::stat::{SFlag, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What one layer may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of all files together.
    pub(crate) bytes_max: u64,
    /// Entries of the archive.
    pub(crate) entries_max: u64,
}

impl Limits {
    /// 32 GiB holds the largest machine-learning images; two million entries are ten times a full Debian.
    pub(crate) const GENEROUS: Self = Self { bytes_max: 32 << 30, entries_max: 2_000_000 };
}

/// What a layer came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// A layer that was unpacked.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    pub(crate) size: Size,
    pub(crate) left_out: LeftOut,
}

/// Unpacks the layer that `reader` gives (an uncompressed tar archive) into the empty folder `root`.
pub(crate) fn unpack(reader: impl Read, root: &Root, limits: Limits) -> Result<Unpacked, ImageError> {
    let mut unpacker = Unpacker::new(root, limits);
    let mut tape = Tape::new(reader);
    while let Some(entry) = tape.next_entry()? {
        unpacker.take(&entry, &mut tape)?;
    }
    whiteout::clear(root).on("remove", whiteout::PSEUDO_LINKS)?;
    unpacker.finish()
}

/// Puts one entry after the other.
pub(crate) struct Unpacker<'a> {
    root: &'a Root,
    limits: Limits,
    done: Unpacked,
    /// The folder of the previous entry: archives go folder by folder.
    last: Option<(PathBuf, File)>,
    /// Folders get their times at the end, because making files in them changes those.
    times: Vec<(PathBuf, TimeSpec)>,
}

impl<'a> Unpacker<'a> {
    pub(crate) fn new(root: &'a Root, limits: Limits) -> Self {
        Self { root, limits, done: Unpacked::default(), last: None, times: Vec::new() }
    }

    /// Puts the entry, whose data `data` gives.
    pub(crate) fn take(&mut self, entry: &Entry, data: &mut impl Read) -> Result<(), ImageError> {
        self.count(entry)?;
        self.put(entry, data)
    }

    /// What it came to, after the last entry.
    pub(crate) fn finish(self) -> Result<Unpacked, ImageError> {
        self.set_folder_times()?;
        Ok(self.done)
    }

    fn count(&mut self, entry: &Entry) -> Result<(), ImageError> {
        let size = &mut self.done.size;
        size.inodes += 1;
        // Holes cost nothing, and files of a terabyte with a few pages in them are usual (/var/log/lastlog).
        let bytes = entry.sparse.as_ref().map_or(entry.size, |data| data.iter().map(|stretch| stretch.length).sum());
        size.bytes = size.bytes.saturating_add(bytes);
        let too_large = |limit: String| Err(ImageError::TooLarge { what: "layer".into(), limit });
        if size.inodes > self.limits.entries_max {
            return too_large(format!("{} entries", self.limits.entries_max));
        }
        if size.bytes > self.limits.bytes_max {
            return too_large(format!("{} bytes", self.limits.bytes_max));
        }
        Ok(())
    }

    fn put(&mut self, entry: &Entry, data: &mut impl Read) -> Result<(), ImageError> {
        let path = plain(&entry.path)?;
        if whiteout::is_bookkeeping(&path, entry) {
            return Ok(());
        }
        let Some(place) = self.place(&path)? else {
            return self.put_root(entry);
        };
        match whiteout::meaning(&path, entry)? {
            Some(whiteout) => self.put_whiteout(&whiteout, &place, &path),
            None => self.put_node(entry, &place, &path, data),
        }
    }

    /// The parent folder, made if missing, and the last name; none for the root itself.
    fn place(&mut self, path: &Path) -> Result<Option<Place>, ImageError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        whiteout::check_parents(parent)?;
        let parent = self.folder(parent).on("open the folder of", path)?;
        Ok(Some(Place { parent, name: name.to_owned() }))
    }

    fn folder(&mut self, path: &Path) -> std::io::Result<File> {
        if let Some((last, folder)) = &self.last
            && last == path
        {
            return folder.try_clone();
        }
        let folder = self.root.make_folder(path)?;
        self.last = Some((path.to_owned(), folder.try_clone()?));
        Ok(folder)
    }

    /// The entry `./` describes the folder that everything is in.
    fn put_root(&mut self, entry: &Entry) -> Result<(), ImageError> {
        if entry.kind != Kind::Directory {
            return Err(ImageError::malformed("layer", "its root is not a folder"));
        }
        node::describe(self.root.folder(), entry, &mut self.done.left_out).on("describe", "/")?;
        self.times.push((PathBuf::new(), node::mtime(entry)));
        Ok(())
    }

    fn put_whiteout(&mut self, whiteout: &whiteout::Whiteout, place: &Place, path: &Path) -> Result<(), ImageError> {
        match whiteout {
            whiteout::Whiteout::Opaque => inside::make_opaque(&place.parent).on("make opaque the folder of", path),
            whiteout::Whiteout::Name(name) => whiteout::put(&place.parent, name).on("white out", path),
        }
    }

    fn put_node(&mut self, entry: &Entry, place: &Place, path: &Path, data: &mut impl Read) -> Result<(), ImageError> {
        let hides = self.make_room(entry, place).on("replace", path)?;
        if entry.kind == Kind::Directory {
            let left_out = &mut self.done.left_out;
            let folder = node::folder(&place.parent, &place.name, entry, left_out).on("make folder", path)?;
            self.times.push((path.to_owned(), node::mtime(entry)));
            return if hides { inside::make_opaque(&folder).on("make opaque", path) } else { Ok(()) };
        }
        match entry.kind {
            Kind::Hardlink => self.link(entry, place, path),
            _ => node::make(entry, place, data, &mut self.done.left_out).on("make", path),
        }
    }

    /// Removes what the entry replaces. Whether that was a whiteout: a folder in its place hides what lies below.
    fn make_room(&mut self, entry: &Entry, place: &Place) -> Result<bool, Errno> {
        let Some(present) = inside::look(&place.parent, &place.name)? else { return Ok(false) };
        let both_folders = entry.kind == Kind::Directory && inside::file_type(&present) == SFlag::S_IFDIR;
        if both_folders {
            return Ok(false);
        }
        // The remembered folder may be inside what goes.
        self.last = None;
        inside::remove(&place.parent, &place.name, &present)?;
        Ok(inside::is_whiteout(&present))
    }

    fn link(&self, entry: &Entry, place: &Place, path: &Path) -> Result<(), ImageError> {
        let target = plain(&entry.link)?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(ImageError::malformed(path.to_string_lossy(), "a hard link to the root"));
        };
        let parent = self.root.open_folder(parent).on("open the folder of the hard link's target", &target)?;
        let from = Place { parent, name: OsString::from(name) };
        node::hardlink(&from, place).on("link (targets must be in the same layer)", path)
    }

    fn set_folder_times(&self) -> Result<(), ImageError> {
        for (path, mtime) in self.times.iter().rev() {
            // A later entry may have replaced the folder; then there is nothing to set.
            let set = match self.root.open_folder(path) {
                Ok(folder) => utimensat(&folder, ".", mtime, mtime, UtimensatFlags::NoFollowSymlink),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(()),
                Err(errno) => Err(errno),
            };
            set.on("set the time of", path)?;
        }
        Ok(())
    }
}
