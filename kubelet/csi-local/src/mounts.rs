//! Puts volumes in their places, and takes them away.

use crate::error::{Done, During, Refusal};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Mount points at or below `root`, outer before inner (proc_pid_mountinfo(5), field 5).
pub(crate) fn below(root: &Path) -> Done<Vec<PathBuf>> {
    let root = fs::canonicalize(root).during(|| format!("resolve {}", root.display()))?;
    let table = fs::read_to_string("/proc/self/mountinfo").during(|| "read /proc/self/mountinfo".to_owned())?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    Ok(points.filter(|point| point.starts_with(&root)).collect())
}

/// Whether something is mounted exactly there.
pub(crate) fn is_mounted(at: &Path) -> Done<bool> {
    let Ok(real) = fs::canonicalize(at) else { return Ok(false) };
    Ok(below(&real)?.contains(&real))
}

/// Undoes the octal escapes of mountinfo (`\040` is a space).
fn unescape(text: &str) -> String {
    let mut out = text.to_owned();
    for (escape, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        out = out.replace(escape, plain);
    }
    out
}

/// Shows `from` at `to`, a folder or a device; what stands there already is left.
pub(crate) fn bind(from: &Path, to: &Path, read_only: bool) -> Done<()> {
    if is_mounted(to)? {
        return Ok(());
    }
    let about = || format!("bind {} to {}", from.display(), to.display());
    make_place(to, from.is_dir()).during(|| format!("create {}", to.display()))?;
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).during(about)?;
    if read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        if let Err(errno) = mount(None::<&str>, to, None::<&str>, flags, None::<&str>) {
            // One that can be written to must not be taken for one that cannot.
            release(to)?;
            return Err(errno).during(about);
        }
    }
    Ok(())
}

/// Mounts the filesystem on a device.
pub(crate) fn filesystem(device: &Path, kind: &str, to: &Path, options: &[String]) -> Done<()> {
    if is_mounted(to)? {
        return Ok(());
    }
    make_place(to, true).during(|| format!("create {}", to.display()))?;
    let mut command = std::process::Command::new("mount");
    command.args(["-t", kind]);
    if !options.is_empty() {
        command.arg("-o").arg(options.join(","));
    }
    command.arg(device).arg(to);
    crate::device::run(&mut command).map(drop)
}

fn make_place(at: &Path, folder: bool) -> io::Result<()> {
    if let Some(parent) = at.parent() {
        fs::create_dir_all(parent)?;
    }
    let made = if folder { fs::create_dir(at) } else { fs::File::create_new(at).map(drop) };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Unmounts whatever is mounted at `at`, and removes the empty place.
pub(crate) fn release(at: &Path) -> Done<()> {
    let about = || format!("unmount {}", at.display());
    loop {
        match umount2(at, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(Errno::EBUSY) => return Err(Refusal::NotNow(format!("{} is in use", at.display()))),
            Err(errno) => return Err(errno).during(about),
        }
    }
    let removed = match fs::symlink_metadata(at) {
        Ok(meta) if meta.is_dir() => fs::remove_dir(at),
        Ok(_) => fs::remove_file(at),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.during(|| format!("remove {}", at.display())),
    }
}
