//! The programs that skiff carries inside itself (see `build.rs`), and how they get onto a node.

use anyhow::Context;
use std::io::Write;
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
