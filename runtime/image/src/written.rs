//! What was written over an image, as a layer: the upper folder of an overlay to a tar archive.
//!
//! Overlayfs's marks (kernel, overlayfs.rst, "whiteouts and opaque directories") become image-spec's (layer.md, "Whiteouts"). Entries come by name, and say
//! nothing that differs between two machines which wrote the same: no names of users, no times within a second.

use crate::error::On;
use crate::inside::{OPAQUE, Root, is_whiteout};
use crate::{Digest, ImageError};
use flate2::write::GzEncoder;
use nix::errno::Errno;
use nix::sys::stat::{FileStat, lstat, major, minor};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Overlayfs keeps its notes under this name.
const OVERLAY: &str = "trusted.overlay.";
/// A folder that was renamed, whose content is still under its old name: nothing that a layer could say.
const REDIRECT: &str = "trusted.overlay.redirect";
/// Under which extended attributes travel (star, GNU tar, Go).
const PAX: &str = "SCHILY.xattr.";

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// What every registry and every engine reads.
    Gzip,
    /// Faster and smaller; engines since about 2020 read it.
    Zstd,
}

/// How a layer is written.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    /// How it is packed.
    pub compression: Compression,
    /// No file is younger, in seconds since the epoch (reproducible-builds.org, SOURCE_DATE_EPOCH).
    pub time_max: Option<i64>,
}

/// Writes the layer of `upper` over `lower` (uppermost first) to the new file `to`. The digest of the unpacked archive; none if nothing was written.
pub(crate) fn pack(upper: &Path, lower: &[PathBuf], to: &Path, packing: Packing) -> Result<Option<Digest>, ImageError> {
    let lower = lower.iter().map(|path| Root::open(path).on("open", path)).collect::<Result<Vec<_>, _>>()?;
    let file = File::options().write(true).create_new(true).open(to).on("create", to)?;
    let hashing =
        Hashing { hash: Sha256::new(), out: Packed::over(BufWriter::new(file), packing.compression).on("create", to)? };
    let mut packer = Packer {
        upper,
        lower,
        time_max: packing.time_max,
        links: HashMap::new(),
        tape: Builder::new(hashing),
        entries: 0,
    };
    packer.folder(Path::new(""))?;
    let entries = packer.entries;
    let Hashing { hash, out } = packer.tape.into_inner().on("write", to)?;
    out.finish().on("write", to)?;
    Ok((entries > 0).then(|| Digest::of_hash(hash)))
}

struct Packer<'a> {
    upper: &'a Path,
    lower: Vec<Root>,
    time_max: Option<i64>,
    /// First names of files that have several, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    tape: Builder<Hashing>,
    entries: u64,
}

impl Packer<'_> {
    fn folder(&mut self, path: &Path) -> Result<(), ImageError> {
        let at = self.upper.join(path);
        let names = fs::read_dir(&at).on("list", &at)?.map(|entry| Ok(entry?.file_name()));
        let mut names = names.collect::<io::Result<Vec<OsString>>>().on("list", &at)?;
        names.sort_unstable();
        for name in names {
            self.entry(&path.join(name))?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path) -> Result<(), ImageError> {
        let at = self.upper.join(path);
        let about = lstat(&at).on("look at", &at)?;
        let kind = about.st_mode & nix::libc::S_IFMT;
        if is_whiteout(&about) {
            return self.mark(&beside(path, &[b".wh.", path.file_name().unwrap_or_default().as_bytes()].concat()));
        }
        if kind == nix::libc::S_IFSOCK {
            // A socket without its process is nothing.
            return Ok(());
        }
        self.attributes(&at, path)?;
        let mut header = self.header(&about);
        self.entries += 1;
        match kind {
            nix::libc::S_IFDIR => {
                header.set_entry_type(EntryType::Directory);
                self.tape.append_data(&mut header, folder_name(path), io::empty()).on("write", path)?;
                if self.is_opaque(&at, path)? {
                    self.mark(&path.join(".wh..wh..opq"))?;
                }
                self.folder(path)
            }
            nix::libc::S_IFLNK => {
                header.set_entry_type(EntryType::Symlink);
                let target = fs::read_link(&at).on("read link", &at)?;
                self.tape.append_link(&mut header, path, target).on("write", path)
            }
            nix::libc::S_IFREG => self.file(&at, path, &about, header),
            _ => self.device(path, kind, &about, header),
        }
    }

    fn header(&self, about: &FileStat) -> Header {
        let mut header = Header::new_gnu();
        header.set_mode(about.st_mode & 0o7777);
        header.set_uid(about.st_uid.into());
        header.set_gid(about.st_gid.into());
        let time = self.time_max.map_or(about.st_mtime, |most| about.st_mtime.min(most));
        header.set_mtime(u64::try_from(time).unwrap_or(0));
        header.set_size(0);
        header
    }

    fn file(&mut self, at: &Path, path: &Path, about: &FileStat, mut header: Header) -> Result<(), ImageError> {
        if about.st_nlink > 1 {
            if let Some(first) = self.links.get(&(about.st_dev, about.st_ino)) {
                header.set_entry_type(EntryType::Link);
                return self.tape.append_link(&mut header, path, first).on("write", path);
            }
            self.links.insert((about.st_dev, about.st_ino), path.to_owned());
        }
        let file = File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(at).on("open", at)?;
        let size = u64::try_from(about.st_size).unwrap_or(0);
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        self.tape.append_data(&mut header, path, io::Read::take(file, size)).on("write", path)
    }

    fn device(&mut self, path: &Path, kind: u32, about: &FileStat, mut header: Header) -> Result<(), ImageError> {
        header.set_entry_type(match kind {
            nix::libc::S_IFIFO => EntryType::Fifo,
            nix::libc::S_IFBLK => EntryType::Block,
            _ => EntryType::Char,
        });
        let number = |part: u64| u32::try_from(part).unwrap_or(0);
        let numbers = header
            .set_device_major(number(major(about.st_rdev)))
            .and_then(|()| header.set_device_minor(number(minor(about.st_rdev))));
        numbers.on("describe", path)?;
        self.tape.append_data(&mut header, path, io::empty()).on("write", path)
    }

    /// An empty file whose name says something of the layers below.
    fn mark(&mut self, path: &Path) -> Result<(), ImageError> {
        let mut header = plain(EntryType::Regular, 0);
        self.entries += 1;
        self.tape.append_data(&mut header, path, io::empty()).on("write", path)
    }

    /// Whether the folder hides something: the kernel also marks new folders, where there is nothing to hide.
    fn is_opaque(&self, at: &Path, path: &Path) -> Result<bool, ImageError> {
        let marked = xattr::get(at, OPAQUE).on("read the attributes of", at)?;
        if marked.is_none_or(|value| value != b"y") {
            return Ok(false);
        }
        for root in &self.lower {
            match root.open_folder(path) {
                Ok(_) => return Ok(true),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(errno) => return Err(errno).on("look at", path),
            }
        }
        Ok(false)
    }

    /// Extended attributes go before the entry that has them.
    fn attributes(&mut self, at: &Path, path: &Path) -> Result<(), ImageError> {
        let names = match xattr::list(at) {
            // Links and some filesystems have none.
            Err(_) => return Ok(()),
            Ok(names) => names,
        };
        let mut found = Vec::new();
        for name in names {
            let Some(name) = name.to_str() else { continue };
            if name == REDIRECT {
                let why =
                    "it was renamed within the image in a way that no layer can say: copy it, and remove the old one";
                return Err(ImageError::malformed(path.to_string_lossy(), why));
            }
            let is_of_image =
                name.starts_with("user.") || name == "security.capability" || name.starts_with("system.posix_acl_");
            if name.starts_with(OVERLAY) || name.starts_with("user.overlay.") || !is_of_image {
                continue;
            }
            if let Some(value) = xattr::get(at, name).on("read the attributes of", at)? {
                found.push((format!("{PAX}{name}"), value));
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        found.sort_unstable();
        let records: Vec<u8> = found.iter().flat_map(|(name, value)| record(name, value)).collect();
        let mut header = plain(EntryType::XHeader, records.len() as u64);
        self.tape.append_data(&mut header, "PaxHeaders/entry", records.as_slice()).on("write", path)
    }
}

/// The header of what is no file of the image.
fn plain(kind: EntryType, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes);
    header
}

/// `LENGTH KEY=VALUE\n`, the length's own digits included (POSIX pax).
fn record(name: &str, value: &[u8]) -> Vec<u8> {
    let rest = name.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", name.as_bytes(), b"=", value, b"\n"].concat()
}

fn beside(path: &Path, name: &[u8]) -> PathBuf {
    path.with_file_name(std::ffi::OsStr::from_bytes(name))
}

fn folder_name(path: &Path) -> PathBuf {
    // Others write a slash behind folders.
    let mut name = path.as_os_str().to_owned();
    name.push("/");
    name.into()
}

/// The archive's digest is that of what is unpacked of it.
struct Hashing {
    hash: Sha256,
    out: Packed,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

enum Packed {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

impl Packed {
    fn over(file: BufWriter<File>, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(file),
            // Without a time and a name in its header, which differ.
            Compression::Gzip => {
                Self::Gzip(Box::new(flate2::GzBuilder::new().write(file, flate2::Compression::default())))
            }
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(file, 0)?),
        })
    }

    fn finish(self) -> io::Result<()> {
        let mut file = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        file.flush()
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{Kind, Tape};
    use nix::sys::stat::{Mode, SFlag, mknod};

    type Attributes = Vec<(String, Vec<u8>)>;

    fn entries(of: &Path) -> Vec<(String, Kind, Attributes)> {
        let mut tape = Tape::new(File::open(of).unwrap());
        std::iter::from_fn(|| tape.next_entry().unwrap())
            .map(|entry| (String::from_utf8(entry.path).unwrap(), entry.kind, entry.xattrs))
            .collect()
    }

    #[test]
    fn marks_of_overlayfs_become_those_of_layers_and_our_own_reader_takes_them() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (upper, lower, to) = (dir.path().join("upper"), dir.path().join("lower"), dir.path().join("to"));
        for folder in [upper.join("d"), upper.join("new"), lower.join("d")] {
            fs::create_dir_all(folder).unwrap();
        }
        mknod(&upper.join("gone"), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
        xattr::set(upper.join("d"), OPAQUE, b"y").unwrap();
        xattr::set(upper.join("new"), OPAQUE, b"y").unwrap();
        fs::write(upper.join("f"), "text").unwrap();
        fs::hard_link(upper.join("f"), upper.join("g")).unwrap();
        xattr::set(upper.join("f"), "user.note", b"1").unwrap();
        let packing = Packing { compression: Compression::None, time_max: Some(7) };
        assert!(pack(&upper, &[lower], &to, packing).unwrap().is_some());
        let names: Vec<(String, Kind)> = entries(&to).into_iter().map(|(name, kind, _)| (name, kind)).collect();
        let expected = [
            (".wh.gone", Kind::File),
            ("d/", Kind::Directory),
            ("d/.wh..wh..opq", Kind::File),
            ("f", Kind::File),
            ("g", Kind::Hardlink),
            ("new/", Kind::Directory),
        ];
        let mut sorted = names.clone();
        sorted.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(sorted, expected.map(|(name, kind)| (name.to_owned(), kind)));
        let of_f = entries(&to).into_iter().find(|(name, ..)| name == "f").unwrap().2;
        assert_eq!(of_f, [("user.note".to_owned(), b"1".to_vec())]);
    }
}
