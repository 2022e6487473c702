//! What an unpacked layer is, in one digest: names, kinds, owners, modes and contents, so that what a disk lost or changed is found
//! before it is executed.
//!
//! Nobody but root writes there, so contents need no more than a checksum against accidents (CRC-32); the list of them is digested.
//! Pages of zeros count by their place alone: holes and written zeros are the same.

use crate::error::On;
use crate::inside::{OPAQUE, Root, children, file_type, look, open_child_folder};
use crate::{Digest, ImageError};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::{Whence, lseek};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Zeros are skipped by pages.
const PAGE: usize = 4096;
/// Pages read at once.
const PAGES: usize = 64;

/// What a folder came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) digest: Digest,
    /// Bytes on the disk, as `du` counts them.
    pub(crate) disk_bytes: u64,
}

/// Reads everything below `root`.
pub(crate) fn of(root: &Path) -> Result<Seal, ImageError> {
    let folder = Root::open(root).on("open", root)?;
    let mut walk = Walk { hash: Sha256::new(), disk_bytes: 0, linked: HashMap::new(), buffer: vec![0; PAGE * PAGES] };
    walk.tree(folder.folder()).on("read every file of", root)?;
    Ok(Seal { digest: Digest::of_hash(walk.hash), disk_bytes: walk.disk_bytes })
}

struct Walk {
    hash: Sha256,
    disk_bytes: u64,
    /// Checksums of files with several names, by inode.
    linked: HashMap<u64, u32>,
    buffer: Vec<u8>,
}

impl Walk {
    /// Goes down and up with one open folder: a layer may be deeper than descriptors or the stack reach.
    fn tree(&mut self, root: &File) -> Result<(), Errno> {
        let mut folder = root.try_clone().map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        let mut left = vec![self.names(&folder)?];
        while let Some(names) = left.last_mut() {
            let Some(name) = names.pop() else {
                // Names cannot be empty: the end of a folder.
                self.hash.update(0_u32.to_le_bytes());
                left.pop();
                if !left.is_empty() {
                    folder = open_child_folder(&folder, OsStr::new(".."))?;
                }
                continue;
            };
            let about = look(&folder, &name)?.ok_or(Errno::ENOENT)?;
            self.entry(&folder, &name, &about)?;
            if file_type(&about) == SFlag::S_IFDIR {
                folder = open_child_folder(&folder, &name)?;
                left.push(self.names(&folder)?);
            }
        }
        Ok(())
    }

    /// What is in a folder, the first last.
    fn names(&mut self, folder: &File) -> Result<Vec<OsString>, Errno> {
        let opaque = xattr::FileExt::get_xattr(folder, OPAQUE).ok().flatten().is_some();
        self.hash.update([u8::from(opaque)]);
        let mut names = children(folder)?;
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(names)
    }

    fn entry(&mut self, folder: &File, name: &OsStr, about: &FileStat) -> Result<(), Errno> {
        self.part(name.as_bytes());
        for number in [about.st_mode, about.st_uid, about.st_gid] {
            self.hash.update(number.to_le_bytes());
        }
        if about.st_nlink < 2 || file_type(about) == SFlag::S_IFDIR || !self.linked.contains_key(&about.st_ino) {
            self.disk_bytes += u64::try_from(about.st_blocks).unwrap_or(0) * 512;
        }
        match file_type(about) {
            SFlag::S_IFDIR => {}
            SFlag::S_IFREG => {
                let sum = self.file(folder, name, about)?;
                self.hash.update(about.st_size.to_le_bytes());
                self.hash.update(sum.to_le_bytes());
            }
            SFlag::S_IFLNK => self.part(readlinkat(folder, name)?.as_bytes()),
            _ => self.hash.update(about.st_rdev.to_le_bytes()),
        }
        Ok(())
    }

    fn part(&mut self, bytes: &[u8]) {
        self.hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.hash.update(bytes);
    }

    fn file(&mut self, folder: &File, name: &OsStr, about: &FileStat) -> Result<u32, Errno> {
        if let Some(sum) = self.linked.get(&about.st_ino) {
            return Ok(*sum);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = File::from(openat(folder, name, flags, Mode::empty())?);
        let sum = checksum(&file, &mut self.buffer)?;
        if about.st_nlink > 1 {
            self.linked.insert(about.st_ino, sum);
        }
        Ok(sum)
    }
}

/// Of a file's pages that are not zero, and where they are.
fn checksum(file: &File, buffer: &mut [u8]) -> Result<u32, Errno> {
    let mut sum = crc32fast::Hasher::new();
    let mut at = 0_u64;
    loop {
        // Files of a terabyte with a few pages in them are usual (/var/log/lastlog): the kernel skips what is not there.
        at = match lseek(file, i64::try_from(at).unwrap_or(i64::MAX), Whence::SeekData) {
            Ok(data) => u64::try_from(data).unwrap_or(at) / PAGE as u64 * PAGE as u64,
            Err(Errno::ENXIO) => return Ok(sum.finalize()),
            // A filesystem without holes.
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => at,
            Err(errno) => return Err(errno),
        };
        let filled = fill(file, buffer, at)?;
        if filled == 0 {
            return Ok(sum.finalize());
        }
        for (index, page) in buffer[..filled].chunks(PAGE).enumerate() {
            if page.iter().any(|&byte| byte != 0) {
                sum.update(&(at + (index * PAGE) as u64).to_le_bytes());
                sum.update(page);
            }
        }
        at += filled as u64;
    }
}

fn fill(file: &File, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
        }
    }
    Ok(filled)
}

/// What the kernel calls this run of the machine: another one has lost whatever was not on the disk.
pub(crate) fn boot() -> String {
    let mut text = String::new();
    // Without it every start of the program counts as one of the machine: nothing is trusted that should not be.
    let _unknown = File::open("/proc/sys/kernel/random/boot_id").and_then(|mut file| file.read_to_string(&mut text));
    if text.is_empty() { format!("process {}", std::process::id()) } else { text.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn any_change_shows_and_holes_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), [7; 10_000]).unwrap();
        fs::write(root.join("zeros"), [0; 20_000]).unwrap();
        fs::hard_link(root.join("a/file"), root.join("a/same")).unwrap();
        symlink("file", root.join("a/link")).unwrap();
        let seal = of(root).unwrap();
        assert_eq!(of(root).unwrap().digest, seal.digest);
        assert!(seal.disk_bytes >= 10_000 && seal.disk_bytes < 200_000, "{}", seal.disk_bytes);
        let holes = File::create(root.join("zeros")).unwrap();
        holes.set_len(20_000).unwrap();
        assert_eq!(of(root).unwrap().digest, seal.digest, "zeros that are not there are zeros");
        let changed = |change: &dyn Fn(), back: &dyn Fn(), what: &str| {
            change();
            assert_ne!(of(root).unwrap().digest, seal.digest, "{what}");
            back();
            assert_eq!(of(root).unwrap().digest, seal.digest, "{what}, undone");
        };
        let file = root.join("a/file");
        let flip = |byte: u8| {
            fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&[byte], 9_999).unwrap();
        };
        changed(&|| flip(8), &|| flip(7), "a byte");
        changed(&|| fs::create_dir(root.join("c")).unwrap(), &|| fs::remove_dir(root.join("c")).unwrap(), "a folder");
        let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        let seal_of_mode = of(root).unwrap().digest;
        mode(0o755);
        assert_ne!(of(root).unwrap().digest, seal_of_mode, "a mode");
        mode(0o644);
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(5_000).unwrap();
        assert_ne!(of(root).unwrap().digest, seal_of_mode, "a length");
    }
}
