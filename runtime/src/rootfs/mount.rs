//! The mounts of config.json, made and attached by the container's first process.

use super::guard::{self, Content};
use super::path_inside;
use super::source::{Source, alter, failed, kind_of};
use crate::error::{Acts, Error, Result};
use crate::kernfs::get;
use crate::mutant;
use crate::spec::{CopyUp, Datum, Mount, What};
use crate::steps;
use nix::errno::Errno;
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use skiff_sys::inroot::{self, InRoot, Kind};
use skiff_sys::mount::{Change, Context, Depth, attach, attr, change, copy};
use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

const PERMISSIONS: u32 = 0o7777;
/// Filesystems of every container that live on no device.
const DEVICELESS: &[&CStr] = &[c"proc", c"sysfs", c"tmpfs", c"devpts", c"mqueue"];

/// Whose `/dev` the container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dev {
    /// Its own: it gets the default devices.
    Own,
    /// A directory of the host's, in which nothing may be changed.
    Hosts,
}

/// A new filesystem that is asked for read-only, and in which targets of later mounts, devices and links are yet to be made:
/// podman's `/dev` of a pod's first container.
#[derive(Debug)]
pub(crate) struct StillWritable(OwnedFd, PathBuf);

impl StillWritable {
    /// Makes it read-only.
    ///
    /// # Errors
    /// Those of mount_setattr(2).
    pub(crate) fn make_readonly(&self, acts: &Acts) -> Result<()> {
        let readonly = Change { set: attr::RDONLY, ..Change::default() };
        acts.step(&steps::MOUNT_CHANGE, self.1.display(), || change(self.0.as_fd(), readonly, Depth::One))
    }
}

/// What came of the mounts.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) dev: Dev,
    /// To be made read-only when nothing is to be made in them any more.
    pub(crate) writable: Vec<StillWritable>,
}

/// Attaches all mounts in order.
///
/// # Errors
/// One cannot be placed or attached.
pub(crate) fn attach_all(acts: &Acts, root: &InRoot, mounts: &[Mount], sources: &[Source]) -> Result<Attached> {
    let mut attached = Attached { dev: Dev::Own, writable: Vec::new() };
    for (mount, source) in mounts.iter().zip(sources) {
        if attach_one(acts, root, mount, source, &mut attached.writable)? == Path::new("/dev") {
            attached.dev = if matches!(source, Source::Bound(..)) { Dev::Hosts } else { Dev::Own };
        }
    }
    Ok(attached)
}

/// Attaches one mount and says where it is, after all links.
fn attach_one(
    acts: &Acts,
    root: &InRoot,
    mount: &Mount,
    source: &Source,
    writable: &mut Vec<StillWritable>,
) -> Result<PathBuf> {
    let to = &mount.destination;
    if matches!(source, Source::Existing) {
        let there = acts.step(&steps::MOUNT_TARGET, to.display(), || root.place(to))?;
        let mut said = Vec::new();
        acts.step(&steps::MOUNT_CHANGE, to.display(), || remount(there.as_fd(), mount, &mut said))
            .map_err(|error| with_words(error, &said))?;
        return path_inside(root, there.as_fd()).map_err(|errno| failed(&steps::MOUNT_TARGET, to, errno));
    }
    let (target, resolved) = target(acts, root, mount, source)?;
    match (source, &mount.what) {
        (Source::Bound(copied, kind), _) => {
            let attached = acts.step(&steps::MOUNT_ATTACH, to.display(), || attach(copied.as_fd(), target.as_fd()));
            attached.map_err(|error| mismatch(error, mount, *kind, target.as_fd()))?;
        }
        (Source::Fresh(stand_in), What::Fresh { kind, data, copy_up }) => {
            let mut said = Vec::new();
            let made = acts.step(&steps::MOUNT_NEW, describe(mount, kind), || {
                make(kind, data, mount, target.as_fd(), stand_in.as_ref(), &mut said)
            });
            let made = made.map_err(|error| with_words(error, &said))?;
            if *copy_up == CopyUp::Yes {
                copy_content(acts, target.as_fd(), made.as_fd(), to)?;
            }
            acts.step(&steps::MOUNT_ATTACH, to.display(), || attach(made.as_fd(), target.as_fd()))?;
            // It was made with its attributes; only what has to do with other mounts comes after.
            if !mount.propagation.is_empty() || mount.change_tree != Change::default() {
                let later = Mount { change: Change::default(), ..mount.clone() };
                acts.step(&steps::MOUNT_CHANGE, to.display(), || alter(made.as_fd(), &later, None))?;
            }
            if mount.change.set & attr::RDONLY != 0 {
                writable.push(StillWritable(made, to.clone()));
            }
        }
        (Source::Cgroups(copies), _) => attach_cgroups(acts, target.as_fd(), mount, copies)?,
        (Source::Fresh(_) | Source::Existing, _) => {
            return Err(Error::Said(format!("mount.source {}: was not opened", to.display())));
        }
    }
    Ok(resolved)
}

/// The place to mount on, made when it is missing, and its path after all links.
fn target(acts: &Acts, root: &InRoot, mount: &Mount, source: &Source) -> Result<(OwnedFd, PathBuf)> {
    let kind = if let Source::Bound(_, kind) = source { *kind } else { Kind::Directory };
    let to = &mount.destination;
    if mount.is_fresh(c"proc") || mount.is_fresh(c"sysfs") {
        guard::check_is_no_link(root, to)?;
    }
    let failed = |errno| failed(&steps::MOUNT_TARGET, to, errno);
    let (target, resolved) = acts.step(&steps::MOUNT_TARGET, to.display(), || make_target(root, to, kind))?;
    let resolved = resolved.map_or_else(|| path_inside(root, target.as_fd()).map_err(failed), Ok)?;
    guard::check(&resolved, || content(mount, source).map_err(failed))?;
    Ok((target, resolved))
}

/// Which of the two is a directory: the kernel says only that both must be, or neither.
fn mismatch(error: Error, mount: &Mount, kind: Kind, target: BorrowedFd<'_>) -> Error {
    let What::Bind { source, .. } = &mount.what else { return error };
    if kind_of(target).is_ok_and(|there| there == kind) {
        return error;
    }
    let (is, is_not) = match kind {
        Kind::Directory => ("is a directory", "is a file"),
        Kind::File => ("is a file", "is a directory"),
    };
    let (from, to) = (source.display(), mount.destination.display());
    Error::Said(format!("{error}: the source {from} {is}, and what the container has at {to} {is_not}"))
}

/// What the filesystem itself said names the option.
fn with_words(error: Error, said: &[String]) -> Error {
    if said.is_empty() { error } else { Error::Said(format!("{error}: {}", said.join("; "))) }
}

/// `path` as the kernel would print it, if it names nothing but files below one another.
fn plain(path: &Path) -> Option<PathBuf> {
    let is_name = |part: &Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    path.components().all(|part| is_name(&part)).then(|| path.components().collect())
}

fn describe(mount: &Mount, kind: &CString) -> String {
    format!("{} at {}", kind.to_string_lossy(), mount.destination.display())
}

fn content(mount: &Mount, source: &Source) -> std::result::Result<Content, Errno> {
    let is_procfs = match source {
        Source::Bound(copied, _) => fstatfs(copied)?.filesystem_type() == PROC_SUPER_MAGIC,
        Source::Fresh(_) => mount.is_fresh(c"proc"),
        Source::Cgroups(_) | Source::Existing => false,
    };
    Ok(if is_procfs { Content::Procfs } else { Content::Other })
}

fn make(
    kind: &CStr,
    data: &[Datum],
    mount: &Mount,
    target: BorrowedFd<'_>,
    stand_in: Option<&OwnedFd>,
    said: &mut Vec<String>,
) -> std::result::Result<OwnedFd, Errno> {
    let made = Context::open(kind).and_then(|context| {
        let made = configure(&context, kind, data, mount, target);
        if made.is_err() {
            *said = context.said();
        }
        made
    });
    match (made, stand_in) {
        // Another user namespace owns what it would show.
        (Err(Errno::EPERM), Some(stand_in)) => {
            // It has mounts of the host below it, which must not stay writable (CVE-2023-25809).
            change(stand_in.as_fd(), Change { propagation: None, ..mount.change }, Depth::Tree)?;
            stand_in.try_clone().map_err(|_| Errno::EMFILE)
        }
        (made, _) => made,
    }
}

fn configure(
    context: &Context,
    kind: &CStr,
    data: &[Datum],
    mount: &Mount,
    target: BorrowedFd<'_>,
) -> std::result::Result<OwnedFd, Errno> {
    if kind == c"tmpfs" && !data.iter().any(|(key, _)| key.as_c_str() == c"mode") {
        // As with runc: /tmp of the image stays sticky when a tmpfs covers it.
        let mode = CString::new(format!("{:o}", fstat(target)?.st_mode & PERMISSIONS)).map_err(|_| Errno::EINVAL)?;
        context.set(c"mode", &mode)?;
    }
    set_all(context, data)?;
    // Read-only is a matter of the mount, but a device may be read-only itself, and its filesystem must know.
    if mount.change.set & attr::RDONLY != 0 && !DEVICELESS.contains(&kind) && needs_device(kind) {
        context.flag(c"ro")?;
    }
    // Read-only comes last: what is copied up, and what is made below, must be written first.
    context.mount(mount.change.set & !attr::RDONLY)
}

/// The place `to` inside the root, made when it is missing, and its path after all links where there are none.
fn make_target(root: &InRoot, to: &Path, kind: Kind) -> std::result::Result<(OwnedFd, Option<PathBuf>), Errno> {
    if mutant::has("CVE-2021-30465") {
        // The mistake: the host resolves the links of the image.
        let path = skiff_sys::fd::path_of(root.root()).join(to.strip_prefix("/").unwrap_or(to));
        std::fs::create_dir_all(&path).map_err(|_| Errno::EIO)?;
        let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
        return nix::fcntl::open(&path, flags, Mode::empty()).map(|target| (target, None));
    }
    // Nearly always; and then the kernel need not be asked where it is.
    if let (Some(path), Ok(target)) = (plain(to), root.make_unlinked(to, kind)) {
        return Ok((target, Some(path)));
    }
    root.make(to, kind).map(|target| (target, None))
}

/// Whether filesystems of this type live on devices (proc_filesystems(5): those without `nodev`).
fn needs_device(kind: &CStr) -> bool {
    let known = get(Path::new("/proc/filesystems")).unwrap_or_default();
    known.lines().any(|line| line.strip_prefix('\t').is_some_and(|name| name.as_bytes() == kind.to_bytes()))
}

fn set_all(context: &Context, data: &[Datum]) -> std::result::Result<(), Errno> {
    data.iter().try_for_each(|(key, value)| match value {
        Some(value) => context.set(key, value),
        None => context.flag(key),
    })
}

/// Changes what is mounted at `there` already.
fn remount(there: BorrowedFd<'_>, mount: &Mount, said: &mut Vec<String>) -> std::result::Result<(), Errno> {
    if let What::Existing { data } = &mount.what
        && !data.is_empty()
    {
        let context = Context::of(there)?;
        if let Err(errno) = set_all(&context, data).and_then(|()| context.reconfigure()) {
            *said = context.said();
            return Err(errno);
        }
    }
    alter(there, mount, None)
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
