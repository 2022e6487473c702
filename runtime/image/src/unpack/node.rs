//! Makes one file, folder, link or device, and gives it owner, attributes, mode and time, in the order that keeps them.

use crate::ImageError;
use crate::inside::{self, Place};
use crate::tape::{Entry, Kind};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, futimens, makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, symlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The entry's time.
pub(super) fn mtime(entry: &Entry) -> TimeSpec {
    TimeSpec::new(entry.mtime, entry.mtime_nanos.into())
}

/// Refuses attributes that would steer the host: overlayfs's own, which can redirect a folder to another, and everything else
/// that only the host may say (trusted, security except file capabilities).
pub(super) fn check_xattrs(entry: &Entry, path: &Path) -> Result<(), ImageError> {
    let harmless = |name: &str| {
        name == "security.capability"
            || name.starts_with("system.posix_acl_")
            // A label of the host's SELinux policy, which we do not have; skipped, as containerd does.
            || name == "security.selinux"
            || (name.starts_with("user.") && !name.starts_with("user.overlay."))
    };
    let on_a_file = matches!(entry.kind, Kind::File | Kind::Directory);
    match entry.xattrs.iter().find(|(name, _)| !harmless(name) || !on_a_file) {
        Some((name, _)) => {
            let reason = format!("the extended attribute `{name}` has no place there");
            Err(ImageError::malformed(path.to_string_lossy(), reason))
        }
        None => Ok(()),
    }
}

/// Owner, attributes and mode of an open file or folder.
pub(super) fn describe(file: &File, entry: &Entry) -> Result<(), Errno> {
    // chown(2) clears setuid bits and file capabilities, so it comes first and the mode last.
    fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| name != "security.selinux") {
        inside::set_xattr(file, name, value)?;
    }
    fchmod(file, Mode::from_bits_truncate(entry.mode))
}

/// Makes the folder unless it is there, and describes it.
pub(super) fn folder(parent: &File, name: &OsStr, entry: &Entry) -> Result<File, Errno> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o700)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    let folder = inside::open_child_folder(parent, name)?;
    describe(&folder, entry)?;
    Ok(folder)
}

/// Makes anything but a folder or a hard link.
pub(super) fn make(entry: &Entry, place: &Place, data: &mut impl Read) -> io::Result<()> {
    match entry.kind {
        Kind::File => file(entry, place, data),
        Kind::Symlink => Ok(symlink(entry, place)?),
        _ => Ok(special(entry, place)?),
    }
}

fn file(entry: &Entry, place: &Place, data: &mut impl Read) -> io::Result<()> {
    // With O_EXCL the kernel makes a new file or fails: it can neither follow a link nor open what is there.
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(&place.parent, place.name.as_os_str(), flags, Mode::from_bits_truncate(0o600))?);
    let copied = io::copy(data, &mut file)?;
    if copied != entry.size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    describe(&file, entry)?;
    Ok(futimens(&file, &mtime(entry), &mtime(entry))?)
}

fn symlink(entry: &Entry, place: &Place) -> Result<(), Errno> {
    symlinkat(OsStr::from_bytes(&entry.link), &place.parent, place.name.as_os_str())?;
    own_and_date(entry, place)
}

/// Devices and FIFOs. A device made here is inert: snapshots are mounted nodev, and the store's folders are root's alone.
fn special(entry: &Entry, place: &Place) -> Result<(), Errno> {
    let (major, minor) = entry.device;
    let (kind, device) = match entry.kind {
        // Character device 0:0 would be a whiteout of our own making.
        Kind::CharDevice if (major, minor) == (0, 0) => return Err(Errno::EINVAL),
        Kind::CharDevice => (SFlag::S_IFCHR, makedev(major.into(), minor.into())),
        Kind::BlockDevice => (SFlag::S_IFBLK, makedev(major.into(), minor.into())),
        _ => (SFlag::S_IFIFO, 0),
    };
    mknodat(&place.parent, place.name.as_os_str(), kind, Mode::from_bits_truncate(0o600), device)?;
    own_and_date(entry, place)?;
    // We made it a moment ago in a folder of ours, so following a link is not possible here.
    let mode = Mode::from_bits_truncate(entry.mode);
    fchmodat(&place.parent, place.name.as_os_str(), mode, FchmodatFlags::FollowSymlink)
}

fn own_and_date(entry: &Entry, place: &Place) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    fchownat(&place.parent, place.name.as_os_str(), uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let time = mtime(entry);
    utimensat(&place.parent, place.name.as_os_str(), &time, &time, UtimensatFlags::NoFollowSymlink)
}

/// Links `to` to the file at `from`; a symbolic link there is linked itself, not followed.
pub(super) fn hardlink(from: &Place, to: &Place) -> Result<(), Errno> {
    match inside::look(&from.parent, &from.name)? {
        // Linking a whiteout would make another one.
        Some(about) if inside::is_whiteout(&about) => return Err(Errno::ENOENT),
        _ => {}
    }
    linkat(&from.parent, from.name.as_os_str(), &to.parent, to.name.as_os_str(), AtFlags::empty())
}
