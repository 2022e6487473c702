//! Gives a volume's files to the pod's group (Kubernetes, fsGroup).
//!
//! Each folder is opened below the volume without following links and without entering another filesystem, because whoever wrote to the
//! volume may have put anything there.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, fchownat};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What members of the group may do: read and write, and look into folders; what is made in a folder belongs to the group, too.
const FILE: u32 = 0o660;
const READ_ONLY_FILE: u32 = 0o440;
const FOLDER: u32 = 0o2110;

/// When the files are looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Each time.
    Always,
    /// If the volume's own folder is not as it would be left (`OnRootMismatch`).
    Mismatch,
}

/// Gives all below `volume` to `group`.
pub(super) fn give(volume: &Path, group: u32, read_only: bool, when: When) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(volume, flags | OFlag::O_NOFOLLOW, Mode::empty())?;
    let stat = fstat(root.as_fd())?;
    let bits = if read_only { READ_ONLY_FILE } else { FILE } | FOLDER;
    if when == When::Mismatch && stat.st_gid == group && stat.st_mode & bits == bits {
        return Ok(());
    }
    let inside = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(flags).resolve(inside);
    let thing = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(inside);
    let mut folders = vec![PathBuf::from(".")];
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        let opened = match openat2(&root, &folder, how) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => continue,
            opened => opened?,
        };
        for entry in fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()))? {
            let path = folder.join(entry?.file_name());
            // What a name leads to may change at any moment: what is looked at, changed and given away is one open thing.
            let found = match openat2(&root, &path, thing) {
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => continue,
                found => found?,
            };
            let stat = fstat(found.as_fd())?;
            match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFDIR => folders.push(path),
                SFlag::S_IFLNK => owner(&found, group)?,
                _ => set(&found, group, stat.st_mode | (bits & !FOLDER))?,
            }
        }
        all.push(folder);
    }
    // Folders last, and the volume's own after all others: its owner says that everything below is done.
    for folder in all.into_iter().rev() {
        let opened = match openat2(&root, &folder, how) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => continue,
            opened => opened?,
        };
        let mode = fstat(opened.as_fd())?.st_mode;
        set(&opened, group, mode | bits)?;
    }
    Ok(())
}

fn owner(of: &OwnedFd, group: u32) -> io::Result<()> {
    Ok(fchownat(of, Path::new(""), None, Some(Gid::from_raw(group)), AtFlags::AT_EMPTY_PATH)?)
}

fn set(of: &OwnedFd, group: u32, mode: u32) -> io::Result<()> {
    owner(of, group)?;
    // fchmod(2) takes no O_PATH descriptor; its link in procfs leads to the open thing itself. The change of owner has taken setgid away.
    let link = format!("/proc/self/fd/{}", of.as_raw_fd());
    fs::set_permissions(link, fs::Permissions::from_mode(mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn files_and_folders_go_to_the_group_and_links_lead_nowhere() {
        let parent = tempfile::tempdir().unwrap();
        let (volume, outside) = (parent.path().join("v"), parent.path().join("outside"));
        fs::create_dir_all(volume.join("a/b")).unwrap();
        fs::write(volume.join("a/b/file"), "").unwrap();
        fs::write(&outside, "").unwrap();
        fs::set_permissions(volume.join("a/b/file"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&outside, volume.join("link")).unwrap();
        let own = fs::metadata(&volume).unwrap().gid();
        give(&volume, own, false, When::Always).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&volume.join("a/b/file")), 0o660);
        assert_eq!(mode(&volume.join("a/b")) & 0o2770, 0o2770);
        assert_eq!(mode(&outside), 0o600, "no link is followed");
        fs::set_permissions(volume.join("a/b/file"), fs::Permissions::from_mode(0o600)).unwrap();
        give(&volume, own, false, When::Mismatch).unwrap();
        assert_eq!(mode(&volume.join("a/b/file")), 0o600, "its folder says that all is done");
    }
}
