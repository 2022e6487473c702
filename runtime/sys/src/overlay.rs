//! Overlay mounts of many layers, made detached and attached afterwards.
//!
//! mount(2) takes options of one page, which forty layers fill; the mount API (fsopen, fsconfig, fsmount, move_mount; Linux
//! 5.2, `lowerdir+` since 6.8) takes the layers one by one. Kernels without `lowerdir+` get the page.

use crate::mount::{Depth, map_owners};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::mkdir;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

// linux/mount.h; the libc crate has no names for these.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const MOUNT_ATTR_NODEV: libc::c_uint = 4;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
/// What mount(2) copies of its options: a page, the last byte a NUL.
const OPTIONS_BYTES_MAX: usize = 4095;

/// The folders of an overlay.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// Read-only layers, uppermost first, at least one.
    pub lower: &'a [PathBuf],
    /// The writable layer.
    pub upper: &'a Path,
    /// Scratch space on the file system of `upper`.
    pub work: &'a Path,
    /// Whether what is written must survive the machine.
    pub durability: Durability,
}

/// What becomes of writes when the machine loses power (kernel, overlayfs.rst, "Volatile mount").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// fsync(2) does what it says, and unmounting carries the whole file system of the upper layer to the disk.
    Synced,
    /// Neither. The kernel marks the scratch space (`work/incompat/volatile`), and refuses to mount it again with the mark.
    Volatile,
}

/// Why an overlay could not be mounted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("overlay: {operation}: {errno}{}{log}", if log.is_empty() { "" } else { ": " })]
pub struct OverlayError {
    /// The system call and its operand.
    pub operation: String,
    /// Why it failed.
    pub errno: Errno,
    /// What the kernel told this mount alone (fsopen(2), "message retrieval").
    pub log: String,
}

impl Overlay<'_> {
    /// Mounts the overlay at `at`, without devices.
    ///
    /// # Errors
    /// The call that failed, with the kernel's own words where it gives them.
    pub fn mount(&self, at: &Path) -> Result<(), OverlayError> {
        match self.make() {
            Ok(mount) => attach(&mount, at),
            // The kernel knows no `lowerdir+`.
            Err(error) if error.errno == Errno::EINVAL && error.operation.contains("lowerdir+") => {
                self.mount_by_page(at)
            }
            Err(error) => Err(error),
        }
    }

    /// Mounts the overlay at `at` with mount(2), whose options must fit in a page.
    ///
    /// # Errors
    /// `E2BIG` if they do not; otherwise what mount(2) says.
    pub fn mount_by_page(&self, at: &Path) -> Result<(), OverlayError> {
        let failed =
            |errno| OverlayError { operation: format!("mount at {}", at.display()), errno, log: String::new() };
        let options = self.page();
        if options.len() > OPTIONS_BYTES_MAX {
            return Err(failed(Errno::E2BIG));
        }
        mount(Some("overlay"), at, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_slice())).map_err(failed)
    }

    /// The same for containers with users of their own: a file of a lower layer belongs there to whom `users`, a user namespace, maps
    /// its owner. The upper layer holds what these users write, as the host knows them, so it is not mapped.
    ///
    /// # Errors
    /// `EINVAL` when the layers' file system cannot be mapped (mount_setattr(2)); what [`Overlay::mount`] says.
    pub fn mount_for(&self, users: BorrowedFd<'_>, at: &Path) -> Result<(), OverlayError> {
        // The kernel takes lower layers from the caller's mounts. A thread gets mounts of its own for that, which end with it: the
        // overlay has copies (overlayfs.rst), and nothing is left behind if we are killed meanwhile.
        let made = std::thread::scope(|scope| scope.spawn(|| self.make_mapped(users, at)).join());
        let ended = |_| Err(OverlayError { operation: "map layers".into(), errno: Errno::EIO, log: String::new() });
        attach(&made.unwrap_or_else(ended)?, at)
    }

    /// Makes the overlay over mapped copies of the layers, which are attached below `at` in mounts of this thread's own: they go with the
    /// thread. For a thread that ends afterwards.
    fn make_mapped(&self, users: BorrowedFd<'_>, at: &Path) -> Result<OwnedFd, OverlayError> {
        let failed = |what: &str, errno| OverlayError { operation: what.to_owned(), errno, log: String::new() };
        unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| failed("unshare mounts", errno))?;
        let nothing = None::<&str>;
        let slave = mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing);
        slave.map_err(|errno| failed("part mounts", errno))?;
        let folder = mount(Some("layers"), at, Some("tmpfs"), MsFlags::empty(), Some("mode=700"));
        folder.map_err(|errno| failed("mount tmpfs", errno))?;
        let mapped = self.lower.iter().enumerate().map(|(index, layer)| {
            let place = at.join(index.to_string());
            map_layer(layer, users, &place)
                .map_err(|errno| failed(&format!("map the owners of {}", layer.display()), errno))?;
            Ok(place)
        });
        let mapped = mapped.collect::<Result<Vec<_>, _>>()?;
        Overlay { lower: &mapped, ..*self }.make()
    }

    fn page(&self) -> Vec<u8> {
        let lower: Vec<&[u8]> = self.lower.iter().map(|path| path.as_os_str().as_bytes()).collect();
        let (upper, work) = (self.upper.as_os_str().as_bytes(), self.work.as_os_str().as_bytes());
        let last: &[u8] = if self.durability == Durability::Volatile { b",volatile" } else { b"" };
        [b"lowerdir=", lower.join(&b':').as_slice(), b",upperdir=", upper, b",workdir=", work, last].concat()
    }

    fn make(&self) -> Result<OwnedFd, OverlayError> {
        let context = fsopen()?;
        for layer in self.lower {
            set(&context, "lowerdir+", layer)?;
        }
        set(&context, "upperdir", self.upper)?;
        set(&context, "workdir", self.work)?;
        if self.durability == Durability::Volatile {
            set_flag(&context, c"volatile")?;
        }
        create(&context)?;
        fsmount(&context)
    }
}

/// Shows `layer` at `place`, which is made, as `users` see it: a detached copy is mapped and then attached, because a mount that is
/// attached cannot be mapped any more (mount_setattr(2)).
fn map_layer(layer: &Path, users: BorrowedFd<'_>, place: &Path) -> Result<(), Errno> {
    let opened = |path: &Path| open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let copied = crate::mount::copy(opened(layer)?.as_fd(), Depth::One)?;
    map_owners(copied.as_fd(), users, Depth::One)?;
    mkdir(place, Mode::S_IRWXU)?;
    crate::mount::attach(copied.as_fd(), opened(place)?.as_fd())
}

fn fsopen() -> Result<OwnedFd, OverlayError> {
    // SAFETY: fsopen(2) reads the NUL-terminated constant and nothing else.
    let result = unsafe { libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), FSOPEN_CLOEXEC) };
    owned(result).map_err(|errno| OverlayError { operation: "fsopen".into(), errno, log: String::new() })
}

fn set(context: &OwnedFd, key: &str, value: &Path) -> Result<(), OverlayError> {
    let failed = |errno| failure(context, format!("fsconfig {key}={}", value.display()), errno);
    let key_text = CString::new(key).map_err(|_| failed(Errno::EINVAL))?;
    let value_text = CString::new(value.as_os_str().as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
    let (key, value) = (key_text.as_ptr(), value_text.as_ptr());
    // SAFETY: both strings are NUL-terminated and live until the call returns; the context is open.
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_SET_STRING, key, value, 0) };
    Errno::result(result).map(drop).map_err(failed)
}

fn set_flag(context: &OwnedFd, key: &CStr) -> Result<(), OverlayError> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the key is NUL-terminated and lives until the call returns, FSCONFIG_SET_FLAG takes no value (fsconfig(2)); the
    // context is open.
    let result =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_SET_FLAG, key.as_ptr(), none, 0) };
    let operation = || format!("fsconfig {}", key.to_string_lossy());
    Errno::result(result).map(drop).map_err(|errno| failure(context, operation(), errno))
}

fn create(context: &OwnedFd) -> Result<(), OverlayError> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: FSCONFIG_CMD_CREATE takes null for key and value (fsconfig(2)); the context is open.
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0) };
    Errno::result(result).map(drop).map_err(|errno| failure(context, "fsconfig create".into(), errno))
}

fn fsmount(context: &OwnedFd) -> Result<OwnedFd, OverlayError> {
    // SAFETY: fsmount(2) takes numbers only; the context is open.
    let result = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV) };
    owned(result).map_err(|errno| failure(context, "fsmount".into(), errno))
}

fn attach(mount: &OwnedFd, at: &Path) -> Result<(), OverlayError> {
    let failed =
        |errno| OverlayError { operation: format!("move_mount to {}", at.display()), errno, log: String::new() };
    let to = CString::new(at.as_os_str().as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
    let (from, here) = (mount.as_raw_fd(), libc::AT_FDCWD);
    // SAFETY: the empty path and the target are NUL-terminated and live until the call returns; the mount is open.
    let result =
        unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), here, to.as_ptr(), MOVE_MOUNT_F_EMPTY_PATH) };
    Errno::result(result).map(drop).map_err(failed)
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just returned this descriptor to us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The error, with the messages that wait in the context; each read gives one, ENODATA ends them.
fn failure(context: &OwnedFd, operation: String, errno: Errno) -> OverlayError {
    let mut messages = Vec::new();
    if let Ok(mut reader) = context.try_clone().map(File::from) {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            messages.push(String::from_utf8_lossy(&buffer[..count]).trim_end().to_owned());
        }
    }
    OverlayError { operation, errno, log: messages.join("; ") }
}
