//! How much room a volume takes on its disk.
//!
//! Whoever writes to the volume can move folders and links about while it is being read. So each folder is opened with
//! openat2(2) below the volume's own, which follows no link and enters no other filesystem; what vanishes on the way
//! counts as nothing. A path longer than PATH_MAX cannot be opened so: that is an error, not nothing.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// stat(2) counts blocks of this size, whatever the filesystem's own is.
const BLOCK_BYTES: u64 = 512;

/// The bytes that `volume` takes, each file once however many names it has, as `du -x` counts; 0 if it is not there.
pub(crate) fn bytes(volume: &Path) -> io::Result<u64> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = match nix::fcntl::open(volume, flags | OFlag::O_NOFOLLOW, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(0),
        opened => opened?,
    };
    let inside = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(flags).resolve(inside);
    let (mut seen, mut total) = (HashSet::new(), 0);
    let mut folders = vec![PathBuf::from(".")];
    while let Some(folder) = folders.pop() {
        let opened = match openat2(&root, &folder, how) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => continue,
            opened => opened?,
        };
        for entry in fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()))? {
            let entry = entry?;
            // Of the entry itself, relative to the open folder: fstatat(2) without following.
            let meta = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                meta => meta?,
            };
            if meta.nlink() == 1 || meta.is_dir() || seen.insert((meta.dev(), meta.ino())) {
                total += meta.blocks() * BLOCK_BYTES;
            }
            if meta.is_dir() {
                folders.push(folder.join(entry.file_name()));
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_links_lead_nowhere() {
        let parent = tempfile::tempdir().unwrap();
        let volume = parent.path().join("v");
        assert_eq!(bytes(&volume).unwrap(), 0, "not there");
        fs::create_dir_all(volume.join("a/b")).unwrap();
        let empty = bytes(&volume).unwrap();
        fs::write(parent.path().join("outside"), vec![1; 4 << 20]).unwrap();
        std::os::unix::fs::symlink(parent.path(), volume.join("out")).unwrap();
        fs::write(volume.join("a/b/big"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(volume.join("a/b/big"), volume.join("again")).unwrap();
        let full = bytes(&volume).unwrap();
        assert!((1 << 20..2 << 20).contains(&(full - empty)), "{empty} {full}");
    }

    #[test]
    fn holes_take_no_room() {
        let volume = tempfile::tempdir().unwrap();
        let before = bytes(volume.path()).unwrap();
        fs::File::create(volume.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        assert!(bytes(volume.path()).unwrap() - before < 1 << 20);
    }
}
