//! Makes one file, folder, link or device, and gives it owner, attributes, mode and time, in the order that keeps them.

use super::LeftOut;
use crate::inside::{self, Place};
use crate::tape::{Entry, Kind, Stretch};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, futimens, makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, symlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;

/// The entry's time.
pub(super) fn mtime(entry: &Entry) -> TimeSpec {
    TimeSpec::new(entry.mtime, entry.mtime_nanos.into())
}

/// Whether an attribute may be kept. The others would steer the host: overlayfs's own, which can redirect a folder to another, and
/// everything that only the host may say (trusted; security except file capabilities); or mean nothing to Linux.
fn is_harmless(name: &str) -> bool {
    name == "security.capability"
        || name.starts_with("system.posix_acl_")
        || (name.starts_with("user.") && !name.starts_with("user.overlay."))
}

/// Owner, attributes and mode of an open file or folder.
pub(super) fn describe(file: &File, entry: &Entry, left_out: &mut LeftOut) -> Result<(), Errno> {
    // chown(2) clears setuid bits and file capabilities, so it comes first and the mode last.
    fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    for (name, value) in &entry.xattrs {
        let set = if is_harmless(name) { inside::set_xattr(file, name, value) } else { Err(Errno::EOPNOTSUPP) };
        match set {
            // Not every file system has every attribute.
            Err(Errno::EOPNOTSUPP) => left_out.note(name, entry),
            set => set?,
        }
    }
    fchmod(file, Mode::from_bits_truncate(entry.mode))
}

/// Makes the folder unless it is there, and describes it.
pub(super) fn folder(parent: &File, name: &OsStr, entry: &Entry, left_out: &mut LeftOut) -> Result<File, Errno> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o700)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    let folder = inside::open_child_folder(parent, name)?;
    describe(&folder, entry, left_out)?;
    Ok(folder)
}

/// Makes anything but a folder or a hard link.
pub(super) fn make(entry: &Entry, place: &Place, data: &mut impl Read, left_out: &mut LeftOut) -> io::Result<()> {
    match entry.kind {
        Kind::File => return file(entry, place, data, left_out),
        Kind::Symlink => symlink(entry, place)?,
        _ => special(entry, place)?,
    }
    // Links and devices have no place for them (xattr(7)).
    entry.xattrs.iter().for_each(|(name, _)| left_out.note(name, entry));
    Ok(())
}

fn file(entry: &Entry, place: &Place, data: &mut impl Read, left_out: &mut LeftOut) -> io::Result<()> {
    // With O_EXCL the kernel makes a new file or fails: it can neither follow a link nor open what is there.
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(&place.parent, place.name.as_os_str(), flags, Mode::from_bits_truncate(0o600))?);
    let whole = [Stretch { offset: 0, length: entry.size }];
    for stretch in entry.sparse.as_deref().unwrap_or(&whole) {
        file.seek(SeekFrom::Start(stretch.offset))?;
        let copied = io::copy(&mut data.by_ref().take(stretch.length), &mut file)?;
        if copied != stretch.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if entry.sparse.is_some() {
        file.set_len(entry.size)?;
    }
    describe(&file, entry, left_out)?;
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

/// Links `to` to the file at `from`; a symbolic link there is linked itself, not followed. What the entry says about the file
/// (owner, mode, attributes) was said with its first name: a file has these once.
pub(super) fn hardlink(from: &Place, to: &Place) -> Result<(), Errno> {
    match inside::look(&from.parent, &from.name)? {
        // Linking a whiteout would make another one.
        Some(about) if inside::is_whiteout(&about) => return Err(Errno::ENOENT),
        _ => {}
    }
    linkat(&from.parent, from.name.as_os_str(), &to.parent, to.name.as_os_str(), AtFlags::empty())
}
