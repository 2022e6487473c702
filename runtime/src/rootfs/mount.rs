//! The mounts of config.json.

use super::copy_host;
use super::guard::{self, Content};
use crate::cgroup::Cgroup;
use crate::error::{Acts, Error, Result};
use crate::spec::{CopyUp, Mount, What};
use crate::steps;
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use skiff_sys::inroot::{self, InRoot, Kind};
use skiff_sys::mount::{Change, Context, Depth, Propagation, attach, attr, change, copy};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What the parent opened for one mount while it still saw the host with the host's rights.
#[derive(Debug)]
pub(crate) enum Source {
    /// A detached copy of the source's mounts, and what its target must be.
    Bound(OwnedFd, Kind),
    /// Detached copies of the container's cgroup directories by name; one without a name stands for the whole.
    Cgroups(Vec<(OsString, OwnedFd)>),
    /// It is made in the container.
    Fresh,
}

/// Opens the source of `mount`.
///
/// # Errors
/// It does not exist.
pub(crate) fn prepare(acts: &Acts, mount: &Mount, cgroup: &Cgroup) -> Result<Source> {
    match &mount.what {
        What::Fresh { .. } => Ok(Source::Fresh),
        What::Bind { source, depth } => {
            let copied = copy_host(acts, &steps::MOUNT_SOURCE, source, *depth)?;
            acts.step(&steps::MOUNT_CHANGE, source.display(), || alter(copied.as_fd(), mount))?;
            let kind = kind_of(copied.as_fd()).map_err(|errno| failed(&steps::MOUNT_SOURCE, source, errno))?;
            Ok(Source::Bound(copied, kind))
        }
        What::Cgroups => {
            let whole = cgroup.directories.len() == 1 && cgroup.directories[0].unified;
            let copies = cgroup.directories.iter().map(|directory| {
                let copied = copy_host(acts, &steps::MOUNT_SOURCE, &directory.path, Depth::One)?;
                acts.step(&steps::MOUNT_CHANGE, directory.path.display(), || alter(copied.as_fd(), mount))?;
                let name = if whole { OsString::new() } else { directory.controllers.join(",").into() };
                Ok((name, copied))
            });
            Ok(Source::Cgroups(copies.collect::<Result<_>>()?))
        }
    }
}

/// A new filesystem that is asked for read-only, and in which targets of later mounts, devices and links are yet to be made:
/// podman's `/dev` of a pod's first container.
#[derive(Debug)]
pub(crate) struct StillWritable<'a>(OwnedFd, &'a Path);

impl StillWritable<'_> {
    /// Makes it read-only.
    ///
    /// # Errors
    /// Those of mount_setattr(2).
    pub(crate) fn make_readonly(&self, acts: &Acts) -> Result<()> {
        let readonly = Change { set: attr::RDONLY, ..Change::default() };
        acts.step(&steps::MOUNT_CHANGE, self.1.display(), || change(self.0.as_fd(), readonly, Depth::One))
    }
}

/// Attaches all mounts in order; what it returns is to be made read-only when nothing is to be made in it any more.
///
/// # Errors
/// One cannot be placed or attached.
pub(crate) fn attach_all<'a>(
    acts: &Acts,
    root: &InRoot,
    mounts: &'a [Mount],
    sources: &[Source],
) -> Result<Vec<StillWritable<'a>>> {
    let attached = mounts.iter().zip(sources).map(|(mount, source)| attach_one(acts, root, mount, source));
    attached.filter_map(Result::transpose).collect()
}

fn attach_one<'a>(acts: &Acts, root: &InRoot, mount: &'a Mount, source: &Source) -> Result<Option<StillWritable<'a>>> {
    let kind = if let Source::Bound(_, kind) = source { *kind } else { Kind::Directory };
    let to = &mount.destination;
    let target = acts.step(&steps::MOUNT_TARGET, to.display(), || root.make(to, kind))?;
    let content = content(mount, source).map_err(|errno| failed(&steps::MOUNT_TARGET, to, errno))?;
    let resolved = inroot::path_of(target.as_fd()).map_err(|errno| failed(&steps::MOUNT_TARGET, to, errno))?;
    guard::check(&resolved, content)?;
    match (source, &mount.what) {
        (Source::Bound(copied, _), _) => {
            acts.step(&steps::MOUNT_ATTACH, to.display(), || attach(copied.as_fd(), target.as_fd()))?;
            Ok(None)
        }
        (Source::Fresh, What::Fresh { kind, data, copy_up }) => {
            let fresh = acts.step(&steps::MOUNT_NEW, describe(mount, kind), || make(kind, data, mount))?;
            if *copy_up == CopyUp::Yes {
                copy_content(acts, target.as_fd(), fresh.as_fd(), to)?;
            }
            acts.step(&steps::MOUNT_ATTACH, to.display(), || attach(fresh.as_fd(), target.as_fd()))?;
            acts.step(&steps::MOUNT_CHANGE, to.display(), || alter(fresh.as_fd(), &writable(mount)))?;
            let is_readonly = mount.change.set & attr::RDONLY != 0;
            Ok(is_readonly.then_some(StillWritable(fresh, to)))
        }
        (Source::Cgroups(copies), _) => attach_cgroups(acts, target.as_fd(), mount, copies).map(|()| None),
        (Source::Fresh, _) => Err(Error::Said(format!("mount.source {}: was not opened", to.display()))),
    }
}

fn writable(mount: &Mount) -> Mount {
    let mut writable = mount.clone();
    writable.change.set &= !attr::RDONLY;
    writable
}

fn describe(mount: &Mount, kind: &CString) -> String {
    format!("{} at {}", kind.to_string_lossy(), mount.destination.display())
}

fn content(mount: &Mount, source: &Source) -> std::result::Result<Content, Errno> {
    let is_procfs = match source {
        Source::Bound(copied, _) => fstatfs(copied)?.filesystem_type() == PROC_SUPER_MAGIC,
        Source::Fresh => mount.is_procfs(),
        Source::Cgroups(_) => false,
    };
    Ok(if is_procfs { Content::Procfs } else { Content::Other })
}

fn make(kind: &CString, data: &[(CString, Option<CString>)], mount: &Mount) -> std::result::Result<OwnedFd, Errno> {
    let context = Context::open(kind)?;
    for (key, value) in data {
        match value {
            Some(value) => context.set(key, value)?,
            None => context.flag(key)?,
        }
    }
    // Read-only comes last: what is copied up, and what is made below, must be written first.
    context.mount(mount.change.set & !attr::RDONLY)
}

/// Gives a mount its attributes and its propagation. A copy of a shared mount would still be its peer: without a word about
/// it, events come in and none go out.
fn alter(at: BorrowedFd<'_>, mount: &Mount) -> std::result::Result<(), Errno> {
    let (propagation, depth) = mount.propagation.unwrap_or((Propagation::Slave, Depth::Tree));
    change(at, Change { propagation: Some(propagation), ..Change::default() }, depth)?;
    if mount.change != Change::default() {
        change(at, mount.change, Depth::One)?;
    }
    if mount.change_tree != Change::default() {
        change(at, mount.change_tree, Depth::Tree)?;
    }
    Ok(())
}

fn kind_of(at: BorrowedFd<'_>) -> std::result::Result<Kind, Errno> {
    let mode = SFlag::from_bits_truncate(fstat(at)?.st_mode) & SFlag::S_IFMT;
    Ok(if mode == SFlag::S_IFDIR { Kind::Directory } else { Kind::File })
}

/// A small tmpfs with one directory per hierarchy and a link per controller that shares one (cgroups(7), version 1), or
/// the one directory of version 2.
fn attach_cgroups(acts: &Acts, target: BorrowedFd<'_>, mount: &Mount, copies: &[(OsString, OwnedFd)]) -> Result<()> {
    let to = mount.destination.display();
    if let [(name, copied)] = copies
        && name.is_empty()
    {
        return acts.step(&steps::MOUNT_ATTACH, to, || attach(copied.as_fd(), target));
    }
    let base = acts.step(&steps::MOUNT_NEW, &to, || {
        let context = Context::open(c"tmpfs")?;
        context.set(c"mode", c"755")?;
        context.mount(attr::NOSUID | attr::NODEV | attr::NOEXEC)
    })?;
    acts.step(&steps::MOUNT_ATTACH, &to, || attach(base.as_fd(), target))?;
    for (name, copied) in copies {
        let place = Path::new(name);
        acts.step(&steps::MOUNT_ATTACH, format!("{to}/{}", place.display()), || {
            nix::sys::stat::mkdirat(&base, place, Mode::from_bits_truncate(0o755))?;
            let inner = inroot::open_beneath(base.as_fd(), place, nix::fcntl::OFlag::O_PATH)?;
            attach(copied.as_fd(), inner.as_fd())?;
            link_controllers(base.as_fd(), place)
        })?;
    }
    acts.step(&steps::MOUNT_CHANGE, to, || change(base.as_fd(), mount.change, Depth::One))
}

fn link_controllers(base: BorrowedFd<'_>, place: &Path) -> std::result::Result<(), Errno> {
    let name = place.to_string_lossy();
    if !name.contains(',') {
        return Ok(());
    }
    name.split(',').try_for_each(|controller| nix::unistd::symlinkat(place, base, controller))
}

/// Copies what the image has at the target into the new filesystem, as a detached copy of the mount below it shows it.
fn copy_content(acts: &Acts, target: BorrowedFd<'_>, fresh: BorrowedFd<'_>, to: &Path) -> Result<()> {
    acts.step_io(&steps::MOUNT_COPY_UP, to.display(), || {
        let covered = copy(target, Depth::One)?;
        copy_tree(&skiff_sys::fd::path_of(covered.as_fd()), &skiff_sys::fd::path_of(fresh))
    })
}

/// Both are on filesystems of their own that nobody else can reach yet; links are copied, never followed.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, meta, to) = (entry.file_type()?, entry.metadata()?, to.join(entry.file_name()));
        if kind.is_symlink() {
            symlink(std::fs::read_link(entry.path())?, &to)?;
        } else if kind.is_dir() {
            std::fs::create_dir(&to)?;
            copy_tree(&entry.path(), &to)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &to)?;
        } else {
            continue;
        }
        lchown(&to, Some(meta.uid()), Some(meta.gid()))?;
        if !kind.is_symlink() {
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(meta.mode()))?;
        }
    }
    Ok(())
}

fn failed(step: &skiff_step::Step, path: &Path, errno: Errno) -> Error {
    Error::Failed { operation: step.id, operand: path.display().to_string(), errno }
}
