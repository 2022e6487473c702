//! Volumes that show an image's files: a root file system like a container's, of which the container sees a folder and can
//! write nothing (CRI v1, `Mount.image`).
//!
//! ```text
//!  containers/<id>/images/<index>     where the image of the index-th mount is
//! ```

use crate::disk::ContainerRecord;
use crate::error::{CriError, During};
use crate::sandbox::blocking;
use crate::state::Service;
use nix::errno::Errno;
use skiff_image::Users;
use skiff_proto::cri::v1::ContainerConfig;
use skiff_sys::inroot::{self, InRoot};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Between a container's id and the number of a mount, in the name of a snapshot.
const MARK: &str = "-image-";

/// The snapshot of a container's mount.
fn snapshot(container: &str, index: &str) -> String {
    format!("{container}{MARK}{index}")
}

/// The container that a snapshot belongs to.
pub(crate) fn owner(snapshot: &str) -> &str {
    snapshot.split_once(MARK).map_or(snapshot, |(container, _)| container)
}

impl Service {
    /// Says of each image that a volume shows which one it is: that one is mounted, and the container's status tells it.
    pub(crate) async fn resolve_image_volumes(
        self: &Arc<Self>,
        mut config: ContainerConfig,
    ) -> Result<ContainerConfig, CriError> {
        let service = self.clone();
        blocking(move || {
            for spec in config.mounts.iter_mut().filter_map(|mount| mount.image.as_mut()) {
                let image = service.images.resolve(&spec.image)?;
                let image = image.ok_or_else(|| CriError::NotFound { kind: "image", id: spec.image.clone() })?;
                spec.image_ref = image.id;
            }
            Ok(config)
        })
        .await
    }

    /// Mounts the images that the container's volumes show, and makes the mounts name what they show.
    pub(crate) fn mount_image_volumes(
        &self,
        container: &str,
        mut config: ContainerConfig,
        users: Option<&Users>,
        correlation: Option<&str>,
    ) -> Result<ContainerConfig, CriError> {
        let root = self.disk.folder::<ContainerRecord>(container).join("images");
        for (index, mount) in config.mounts.iter_mut().enumerate() {
            let Some(wanted) = mount.image.take() else { continue };
            let (index, at) = (index.to_string(), root.join(index.to_string()));
            fs::create_dir_all(&at).during(|| format!("make folder {}", at.display()))?;
            self.images.mount(&wanted.image_ref, &snapshot(container, &index), &at, users, correlation)?;
            // An overlay shows owners as its layers do, and cannot be mapped a second time.
            (mount.uid_mappings, mount.gid_mappings) = (Vec::new(), Vec::new());
            let inner = std::mem::take(&mut mount.image_sub_path);
            let shown = inside(&at, &inner).map_err(|errno| {
                let place = &mount.container_path;
                CriError::Invalid(format!("mount at {place}: image_sub_path `{inner}`: {}", errno.desc()))
            })?;
            mount.host_path = shown.to_string_lossy().into_owned();
            mount.readonly = true;
        }
        Ok(config)
    }

    /// Unmounts the images of a container's volumes; those that are not there are fine.
    pub(crate) fn unmount_image_volumes(&self, container: &str) -> Result<(), CriError> {
        self.of_image_volumes(container).try_for_each(|at| Ok(self.images.unmount(&at)?))
    }

    /// Takes the images of a container's volumes away, which are not mounted any more; those that are not there are fine.
    pub(crate) fn release_image_volumes(&self, container: &str) -> Result<(), CriError> {
        self.of_image_volumes(container).try_for_each(|at| {
            let index = at.file_name().unwrap_or_default().to_string_lossy();
            Ok(self.images.release_soon(&snapshot(container, &index))?)
        })
    }

    /// Where they are shown.
    fn of_image_volumes(&self, container: &str) -> impl Iterator<Item = PathBuf> {
        let root = self.disk.folder::<ContainerRecord>(container).join("images");
        fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path())
    }
}

/// The file or folder `path` of the image that is mounted at `root`. Links lead to where they would lead in the image, not
/// to what the node has there. Nobody writes to the image, so the path stays what it was found to be.
fn inside(root: &Path, path: &str) -> Result<PathBuf, Errno> {
    if path.is_empty() {
        return Ok(root.to_owned());
    }
    let found = InRoot::open_host(root)?.place(Path::new(path))?;
    inroot::path_of(found.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_to_where_the_image_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        symlink("/usr/bin", root.join("bin")).unwrap();
        assert_eq!(inside(&root, "bin").unwrap(), root.join("usr/bin"));
        assert_eq!(inside(&root, "../../usr").unwrap(), root.join("usr"));
        assert_eq!(inside(&root, "").unwrap(), root);
        assert_eq!(inside(&root, "none"), Err(Errno::ENOENT));
    }

    #[test]
    fn a_snapshot_names_its_container() {
        assert_eq!(owner(&snapshot("abc", "3")), "abc");
        assert_eq!(owner("abc"), "abc");
    }
}
