//! Where an image comes from: a tar archive (perhaps compressed) or a folder, seen as files by name.

use crate::ImageError;
use crate::codec::{AtMost, Codec, MAGIC_BYTES, decompress};
use crate::error::On;
use crate::inside::{Root, plain};
use crate::tape::{Kind, Tape};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of an archive, decompressed: eight of the largest layers we unpack.
const ARCHIVE_BYTES_MAX: u64 = 256 << 30;
/// Files of an archive: an image has at most some hundred layers, and an archive some hundred images.
const ARCHIVE_FILES_MAX: usize = 200_000;
/// docker-archive names layers twice through one symbolic link.
const LINK_HOPS_MAX: usize = 4;

/// Files by name.
pub(crate) enum Source {
    /// An OCI layout.
    Folder(Root),
    /// A docker-archive or OCI archive.
    Archive {
        /// Uncompressed.
        file: File,
        /// What is in it.
        members: HashMap<PathBuf, Member>,
    },
}

/// A file of an archive.
pub(crate) enum Member {
    /// Its bytes in the archive.
    Data { offset: u64, size: u64 },
    /// The file it stands for.
    Link(PathBuf),
}

impl Source {
    /// Opens `path`; a compressed archive is first decompressed into `scratch`.
    pub(crate) fn open(path: &Path, scratch: &Path) -> Result<Self, ImageError> {
        if path.is_dir() {
            return Ok(Self::Folder(Root::open(path).on("open", path)?));
        }
        let file = plain_file(path, scratch)?;
        let members = index(&file)?;
        Ok(Self::Archive { file, members })
    }

    /// The bytes of a file, or that there is none of this name.
    pub(crate) fn find(&self, name: &Path) -> Result<Option<Box<dyn Read + '_>>, ImageError> {
        match self {
            Self::Folder(root) => match root.open_file(name) {
                Ok(file) => Ok(Some(Box::new(file))),
                Err(nix::errno::Errno::ENOENT) => Ok(None),
                Err(errno) => Err(errno).on("open", name),
            },
            Self::Archive { file, members } => Ok(match locate(members, name)? {
                Some((offset, size)) => Some(Box::new(Section { file, offset, end: offset + size })),
                None => None,
            }),
        }
    }

    /// How many bytes a file has, or that there is none of this name.
    pub(crate) fn size(&self, name: &Path) -> Result<Option<u64>, ImageError> {
        match self {
            Self::Folder(root) => match root.open_file(name) {
                Ok(file) => Ok(Some(file.metadata().on("stat", name)?.len())),
                Err(nix::errno::Errno::ENOENT) => Ok(None),
                Err(errno) => Err(errno).on("open", name),
            },
            Self::Archive { members, .. } => Ok(locate(members, name)?.map(|(_, size)| size)),
        }
    }

    /// The bytes of a file that must be there.
    pub(crate) fn read(&self, name: &Path) -> Result<Box<dyn Read + '_>, ImageError> {
        self.find(name)?.ok_or_else(|| ImageError::malformed(name.to_string_lossy(), "it is missing from the archive"))
    }
}

fn plain_file(path: &Path, scratch: &Path) -> Result<File, ImageError> {
    let mut file = File::open(path).on("open", path)?;
    let mut magic = Vec::new();
    (&mut file).take(MAGIC_BYTES as u64).read_to_end(&mut magic).on("read", path)?;
    file.seek(SeekFrom::Start(0)).on("rewind", path)?;
    let what = || path.display().to_string();
    if Codec::of(&magic, what)? == Codec::Plain {
        return Ok(file);
    }
    let plain_path = scratch.join("archive.tar");
    let mut plain =
        File::options().read(true).write(true).create_new(true).open(&plain_path).on("create", &plain_path)?;
    let decoder = decompress(BufReader::new(file), what)?;
    std::io::copy(&mut AtMost::new(decoder, ARCHIVE_BYTES_MAX), &mut plain).on("decompress", path)?;
    plain.seek(SeekFrom::Start(0)).on("rewind", &plain_path)?;
    Ok(plain)
}

fn index(file: &File) -> Result<HashMap<PathBuf, Member>, ImageError> {
    let mut tape = Tape::new(BufReader::with_capacity(1 << 16, file));
    let mut members = HashMap::new();
    while let Some(entry) = tape.next_entry()? {
        let path = plain(&entry.path)?;
        if entry.sparse.is_some() {
            let reason =
                "it is a file with holes, which has no place in an image archive: pack it without (`tar --sparse`)";
            return Err(ImageError::malformed(path.to_string_lossy(), reason));
        }
        let member = match entry.kind {
            Kind::File => Member::Data { offset: tape.position(), size: entry.size },
            Kind::Symlink => Member::Link(beside(&path, &entry.link)?),
            Kind::Hardlink => Member::Link(plain(&entry.link)?),
            _ => continue,
        };
        if members.len() == ARCHIVE_FILES_MAX {
            return Err(ImageError::TooLarge { what: "archive".into(), limit: format!("{ARCHIVE_FILES_MAX} files") });
        }
        if members.insert(path.clone(), member).is_some() {
            return Err(ImageError::malformed(path.to_string_lossy(), "two files of the archive have this name"));
        }
    }
    Ok(members)
}

/// Where a symbolic link beside it leads, by its text alone; out of the archive is nowhere.
fn beside(path: &Path, link: &[u8]) -> Result<PathBuf, ImageError> {
    let refuse = || ImageError::malformed(path.to_string_lossy(), "its link leads out of the archive");
    if link.starts_with(b"/") {
        return Err(refuse());
    }
    let mut led = path.parent().unwrap_or(Path::new("")).to_owned();
    for part in link.split(|&byte| byte == b'/') {
        match part {
            b".." if led.pop() => {}
            b".." => return Err(refuse()),
            part => led.push(plain(part)?),
        }
    }
    Ok(led)
}

fn locate(members: &HashMap<PathBuf, Member>, name: &Path) -> Result<Option<(u64, u64)>, ImageError> {
    let mut name = name;
    for _hop in 0..=LINK_HOPS_MAX {
        match members.get(name) {
            Some(Member::Data { offset, size }) => return Ok(Some((*offset, *size))),
            Some(Member::Link(target)) => name = target,
            None => return Ok(None),
        }
    }
    Err(ImageError::malformed(name.to_string_lossy(), "too many links in the archive"))
}

/// A stretch of the archive.
struct Section<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
