//! The programs that skiff carries inside itself (see `build.rs`), and how they get onto a node.

use anyhow::Context;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, stat};
use nix::sys::statvfs::{FsFlags, statvfs};
use skiff_sys::mount::{Change, Depth, Propagation, attach, attr, change, copy};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const OCI: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/skiff-oci"));
const WEB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/skiff-web"));

/// Where the carried programs stand on this node.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The OCI runtime and supervisor.
    pub(crate) oci: PathBuf,
    /// The demo image's web server.
    pub(crate) web: PathBuf,
}

impl Programs {
    /// Puts the programs into `folder`, unless they are there already.
    pub(crate) fn install(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self { oci: install(folder, "skiff-oci", OCI)?, web: install(folder, "skiff-web", WEB)? })
    }

    /// Shows the programs at the folder `at` on a read-only mount. A container can reach the OCI runtime's own file while it
    /// enters (CVE-2019-5736); where nobody can write to it, the runtime need not make such a mount for every container and
    /// start anew from there. Where this cannot be done it still does.
    pub(crate) fn shown_at(self, at: &Path) -> Self {
        let shown = self.oci.parent().map(|folder| show(folder, at));
        if let Some(Err(error)) = shown {
            tracing::warn!(
                error = skiff_client::sentence(error.as_ref()),
                "the OCI runtime protects itself at every start"
            );
            return self;
        }
        let there = |program: &Path| program.file_name().map_or_else(|| program.to_owned(), |name| at.join(name));
        Self { oci: there(&self.oci), web: there(&self.web) }
    }
}

/// Mounts `folder` at `at`, read-only, unless that has been done. Who runs from an earlier mount keeps its file.
fn show(folder: &Path, at: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(at).with_context(|| format!("create folder {}", at.display()))?;
    if is_shown(folder, at) {
        return Ok(());
    }
    while umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
    let place = |path: &Path| open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let mount = || -> nix::Result<()> {
        let shown = copy(place(folder)?.as_fd(), Depth::One)?;
        let readonly = Change { set: attr::RDONLY, propagation: Some(Propagation::Private), ..Change::default() };
        change(shown.as_fd(), readonly, Depth::One)?;
        attach(shown.as_fd(), place(at)?.as_fd())
    };
    mount().with_context(|| format!("mount {} at {}, read-only", folder.display(), at.display()))
}

fn is_shown(folder: &Path, at: &Path) -> bool {
    let file = |path: &Path| stat(path).map(|stat| (stat.st_dev, stat.st_ino));
    let is_readonly = statvfs(at).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_RDONLY));
    is_readonly && file(folder).is_ok_and(|folder| file(at) == Ok(folder))
}

/// Running supervisors hold the old file open for execution, which a write would refuse (ETXTBSY); a rename does not
/// disturb them.
fn install(folder: &Path, name: &str, content: &[u8]) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    if std::fs::read(&path).is_ok_and(|present| present == content) {
        return Ok(path);
    }
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o700).open(&temporary)?;
        file.write_all(content)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
        drop(file);
        std::fs::rename(&temporary, &path)
    };
    write().with_context(|| format!("install {}", path.display()))?;
    Ok(path)
}
