//! Masked and read-only paths.

use crate::error::{Acts, Result};
use crate::mutant;
use crate::steps;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use skiff_sys::inroot::{InRoot, is_character_device};
use skiff_sys::mount::{Change, Context, Depth, attach, attr, change, copy};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Hides `paths`: a file behind the host's `/dev/null`, a directory behind an empty read-only tmpfs. What is missing needs
/// no hiding.
///
/// # Errors
/// One cannot be hidden.
pub(crate) fn mask_all(acts: &Acts, root: &InRoot, paths: &[PathBuf]) -> Result<()> {
    let mut covers = Covers::default();
    for path in paths {
        acts.step(&steps::PATH_MASK, path.display(), || mask(root, path, &mut covers))?;
    }
    Ok(())
}

/// What hides, once it is needed.
#[derive(Debug, Default)]
struct Covers {
    /// The host's `/dev/null`.
    null: Option<OwnedFd>,
    /// An attached empty tmpfs.
    empty: Option<OwnedFd>,
}

fn mask(root: &InRoot, path: &Path, covers: &mut Covers) -> std::result::Result<(), Errno> {
    let Some(place) = existing(root, path)? else { return Ok(()) };
    let mode = SFlag::from_bits_truncate(fstat(&place)?.st_mode) & SFlag::S_IFMT;
    if mode != SFlag::S_IFDIR {
        let null = match &mut covers.null {
            Some(null) => null,
            none => none.insert(null(root)?),
        };
        return attach(copy(null.as_fd(), Depth::One)?.as_fd(), place.as_fd());
    }
    // One tmpfs serves all: an attached mount can be copied, a detached one only on recent kernels.
    if let Some(first) = &covers.empty {
        return attach(copy(first.as_fd(), Depth::One)?.as_fd(), place.as_fd());
    }
    let context = Context::open(c"tmpfs")?;
    context.set(c"nr_inodes", c"1")?;
    let fresh = context.mount(attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)?;
    attach(fresh.as_fd(), place.as_fd())?;
    covers.empty = Some(fresh);
    Ok(())
}

/// The host's `/dev/null`, which we still see: the image's own could be a link to anything (CVE-2025-31133).
fn null(root: &InRoot) -> std::result::Result<OwnedFd, Errno> {
    if mutant::has("CVE-2025-31133") {
        return root.place(Path::new("/dev/null"));
    }
    let null = open("/dev/null", OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    if !is_character_device(null.as_fd(), 1, 3)? {
        return Err(Errno::ENODEV);
    }
    Ok(null)
}

/// Makes `paths` and all mounts below them read-only.
///
/// # Errors
/// One cannot be changed.
pub(crate) fn readonly_all(acts: &Acts, root: &InRoot, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        acts.step(&steps::PATH_READONLY, path.display(), || {
            let Some(place) = existing(root, path)? else { return Ok(()) };
            let copied = copy(place.as_fd(), Depth::Tree)?;
            change(copied.as_fd(), Change { set: attr::RDONLY, ..Change::default() }, Depth::Tree)?;
            attach(copied.as_fd(), place.as_fd())
        })?;
    }
    Ok(())
}

fn existing(root: &InRoot, path: &Path) -> std::result::Result<Option<OwnedFd>, Errno> {
    match root.place(path) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
