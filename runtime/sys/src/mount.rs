//! The descriptor-based mount interface (fsopen(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2)).
//!
//! Nothing here resolves a path inside a container: sources and targets are descriptors.

use crate::call::owned;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// The longest message of a filesystem that matters.
const MESSAGE_BYTES_MAX: usize = 512;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSCONFIG_CMD_RECONFIGURE: libc::c_uint = 7;
const FSPICK_CLOEXEC: libc::c_uint = 1;
const FSPICK_EMPTY_PATH: libc::c_uint = 8;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const AT_RECURSIVE: libc::c_uint = 0x8000;

/// `MOUNT_ATTR_…` bits (mount_setattr(2)).
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device files have no effect.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be executed.
    pub const NOEXEC: u64 = 0x8;
    /// The field of the access time policies.
    pub const ATIME: u64 = 0x70;
    /// Access times are not kept.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always kept.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not kept.
    pub const NODIRATIME: u64 = 0x80;
    /// Owners are mapped through a user namespace.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
    /// Everything that a remount without a word about it takes away.
    pub const ALL: u64 = RDONLY | NOSUID | NODEV | NOEXEC | NODIRATIME | NOSYMFOLLOW;
}

/// Whether a change or a copy covers the mounts below as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The one mount.
    One,
    /// And all below it.
    Tree,
}

/// How mount events travel (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// Only inwards.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and it cannot be bound elsewhere.
    Unbindable,
}

/// What to change of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Bits to set ([`attr`]).
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
    /// How events travel from now on.
    pub propagation: Option<Propagation>,
}

/// A filesystem that is being configured.
#[derive(Debug)]
pub struct Context(OwnedFd);

impl Context {
    /// Opens a context for the filesystem type `kind` (fsopen(2)).
    ///
    /// # Errors
    /// `ENODEV` for an unknown type.
    pub fn open(kind: &CStr) -> Result<Self, Errno> {
        // SAFETY: fsopen reads a terminated string, which `kind` is, and returns a new descriptor.
        unsafe { owned(libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC)) }.map(Self)
    }

    /// Opens a context for the filesystem that is mounted at `mount`, to change its own options (fspick(2)).
    ///
    /// # Errors
    /// `EINVAL` when `mount` is not the root of a mount; `EPERM` without rights over the filesystem.
    pub fn of(mount: BorrowedFd<'_>) -> Result<Self, Errno> {
        let flags = FSPICK_CLOEXEC | FSPICK_EMPTY_PATH;
        // SAFETY: fspick reads an empty terminated string and returns a new descriptor.
        unsafe { owned(libc::syscall(libc::SYS_fspick, mount.as_raw_fd(), c"".as_ptr(), flags)) }.map(Self)
    }

    /// Makes the options that were set those of a filesystem that is mounted already ([`Context::of`]).
    ///
    /// # Errors
    /// Those of the filesystem.
    pub fn reconfigure(&self) -> Result<(), Errno> {
        self.config(FSCONFIG_CMD_RECONFIGURE, std::ptr::null(), std::ptr::null())
    }

    /// Sets the option `key` to `value`.
    ///
    /// # Errors
    /// `EINVAL` when the filesystem does not take it.
    pub fn set(&self, key: &CStr, value: &CStr) -> Result<(), Errno> {
        self.config(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    /// Sets the option `key`, which has no value.
    ///
    /// # Errors
    /// `EINVAL` when the filesystem does not take it.
    pub fn flag(&self, key: &CStr) -> Result<(), Errno> {
        self.config(FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())
    }

    /// Makes the filesystem, and a mount of it with the attributes `attributes` ([`attr`]) that is attached nowhere yet.
    ///
    /// # Errors
    /// Those of the filesystem; `EPERM` where a user namespace may not mount it.
    pub fn mount(&self, attributes: u64) -> Result<OwnedFd, Errno> {
        self.config(FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
        let attributes = libc::c_uint::try_from(attributes).map_err(|_| Errno::EINVAL)?;
        // SAFETY: fsmount takes a descriptor and two numbers, and returns a new descriptor.
        unsafe { owned(libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attributes)) }
    }

    /// What the filesystem has said about all this, such as `tmpfs: Bad value for 'size'`: errno alone names no option.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let next = || {
            nix::unistd::read(&self.0, &mut buffer)
                .ok()
                .map(|count| String::from_utf8_lossy(&buffer[..count]).into_owned())
        };
        // A letter says how bad it is: `e` for errors.
        std::iter::from_fn(next).map(|line| line.trim().trim_start_matches("e ").to_owned()).collect()
    }

    fn config(&self, command: libc::c_uint, key: *const libc::c_char, value: *const libc::c_char) -> Result<(), Errno> {
        // SAFETY: the callers pass null or terminated strings that outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, 0) };
        Errno::result(result).map(drop)
    }
}

/// A copy, attached nowhere, of the mount that `at` lies on, with `at` as its root (open_tree(2), `OPEN_TREE_CLONE`).
///
/// # Errors
/// `EINVAL` when it is unbindable or belongs to another mount namespace.
pub fn copy(at: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd, Errno> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint | libc::AT_EMPTY_PATH as libc::c_uint | below(depth);
    // SAFETY: open_tree reads an empty terminated string and returns a new descriptor.
    unsafe { owned(libc::syscall(libc::SYS_open_tree, at.as_raw_fd(), c"".as_ptr(), flags)) }
}

/// Attaches the detached `mount` on top of `at` (move_mount(2)).
///
/// # Errors
/// `ENOTDIR` when one is a directory and the other is not.
pub fn attach(mount: BorrowedFd<'_>, at: BorrowedFd<'_>) -> Result<(), Errno> {
    let (empty, flags) = (c"".as_ptr(), MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    // SAFETY: move_mount reads two empty terminated strings.
    let result = unsafe { libc::syscall(libc::SYS_move_mount, mount.as_raw_fd(), empty, at.as_raw_fd(), empty, flags) };
    Errno::result(result).map(drop)
}

/// Changes the attributes or the propagation of the mount whose root is `mount` (mount_setattr(2)).
///
/// # Errors
/// `EINVAL` when `mount` is not the root of a mount; `EPERM` for bits locked by another user namespace.
pub fn change(mount: BorrowedFd<'_>, change: Change, depth: Depth) -> Result<(), Errno> {
    let clear_atime = if change.set & attr::ATIME != 0 { attr::ATIME } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear | clear_atime,
        propagation: change.propagation.map_or(0, bits),
        userns_fd: 0,
    };
    set_attributes(mount, &attributes, depth)
}

/// Maps the owners of all files seen through `mount` by the user namespace `users` (an idmapped mount).
///
/// # Errors
/// `EINVAL` when the filesystem cannot, or `mount` is attached already.
pub fn map_owners(mount: BorrowedFd<'_>, users: BorrowedFd<'_>, depth: Depth) -> Result<(), Errno> {
    let userns_fd = u64::try_from(users.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    let attributes = libc::mount_attr { attr_set: attr::IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    set_attributes(mount, &attributes, depth)
}

fn set_attributes(mount: BorrowedFd<'_>, attributes: &libc::mount_attr, depth: Depth) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH as libc::c_uint | below(depth);
    let size = size_of::<libc::mount_attr>();
    // SAFETY: mount_setattr reads an empty terminated string and `size` bytes at `attributes`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size,
        )
    };
    Errno::result(result).map(drop)
}

const fn below(depth: Depth) -> libc::c_uint {
    match depth {
        Depth::One => 0,
        Depth::Tree => AT_RECURSIVE,
    }
}

const fn bits(propagation: Propagation) -> u64 {
    match propagation {
        Propagation::Shared => libc::MS_SHARED,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Unbindable => libc::MS_UNBINDABLE,
    }
}
