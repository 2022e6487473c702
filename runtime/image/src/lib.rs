//! Images: references, blobs, manifests, unpacking, overlay snapshots.
//!
//! An [`ImageStore`] is one folder. It takes images from archives, keeps each layer unpacked once, and gives containers a
//! writable overlay snapshot over an image's layers. Blocking throughout: async callers use a blocking thread.
//!
//! What it leaves to others: pulling from registries (not implemented yet), and everything about running containers.

mod error;

pub use error::ImageError;

use std::path::{Path, PathBuf};

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…` of the configuration document.
    pub id: String,
    /// Normalised names with tags, `docker.io/library/busybox:latest`.
    pub repo_tags: Vec<String>,
    /// Normalised names with manifest digests, `docker.io/library/busybox@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Bytes of the unpacked layers.
    pub size_bytes: u64,
    /// The configuration document.
    pub config: oci_spec::image::ImageConfiguration,
}

/// What images that are built here are made of.
#[derive(Debug, Clone, Default)]
pub struct Builtin {
    /// The static skiff-web binary; without it the demo image cannot be built, and pull says so.
    pub web: Option<PathBuf>,
}

/// What the layers occupy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// A folder of the file system that holds the images.
    pub at: PathBuf,
    /// Bytes of all unpacked layers.
    pub bytes_used: u64,
    /// Files and folders of all unpacked layers.
    pub inodes_used: u64,
}

/// The writable overlay of one container over the layers of its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose it is.
    pub container_id: String,
    /// Of which image.
    pub image_id: String,
    /// Read-only folders, uppermost first.
    pub lower_dirs: Vec<PathBuf>,
    /// The writable folder.
    pub upper_dir: PathBuf,
    /// Scratch space of overlayfs, on the same file system as `upper_dir`.
    pub work_dir: PathBuf,
}

/// Images and snapshots below one folder. Cheap to clone; several processes may share the folder.
#[derive(Debug, Clone)]
pub struct ImageStore {
    dir: PathBuf,
    builtin: Builtin,
    engine: skiff_step::Engine,
}

/// The answer of what is announced here and arrives within the hour.
fn soon<T>(what: &str) -> Result<T, ImageError> {
    Err(ImageError::Unimplemented(format!("{what} is not implemented yet")))
}

impl ImageStore {
    /// Opens (and makes) the store in `dir`; cleans up what a crash left behind.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(dir: &Path, builtin: Builtin, engine: skiff_step::Engine) -> Result<Self, ImageError> {
        Ok(Self { dir: dir.to_owned(), builtin, engine })
    }

    /// Takes in the images of a docker-archive, an OCI archive or an OCI layout directory; `name` names the single image.
    ///
    /// # Errors
    /// The archive is malformed, hostile or for another platform; nothing of it is in the store then.
    pub fn import(&self, archive_or_layout: &Path, name: Option<&str>) -> Result<Vec<Image>, ImageError> {
        let _ = (archive_or_layout, name, &self.dir, &self.builtin, &self.engine);
        soon("import")
    }

    /// The image of this name, digest or id.
    ///
    /// # Errors
    /// The text is neither a reference nor an id, or the store cannot be read.
    pub fn resolve(&self, reference_or_id: &str) -> Result<Option<Image>, ImageError> {
        let _ = reference_or_id;
        soon("resolve")
    }

    /// All images, by id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        soon("list")
    }

    /// The image of this name: present, or built here (`skiff.local/demo`).
    ///
    /// # Errors
    /// Pulling from registries is not implemented.
    pub fn pull(&self, reference: &str) -> Result<Image, ImageError> {
        let _ = reference;
        soon("pull")
    }

    /// Forgets the image, and its layers unless others need them. Absent is fine.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove(&self, reference_or_id: &str) -> Result<(), ImageError> {
        let _ = reference_or_id;
        soon("remove")
    }

    /// What the layers occupy.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn usage(&self) -> Result<Usage, ImageError> {
        soon("usage")
    }

    /// Makes the container's snapshot, or gives the one it has.
    ///
    /// # Errors
    /// No such image, or the container has a snapshot of another image.
    pub fn prepare(&self, image_id: &str, container_id: &str) -> Result<Snapshot, ImageError> {
        let _ = (image_id, container_id);
        soon("prepare")
    }

    /// Mounts the container's snapshot at `at` (made if absent).
    ///
    /// # Errors
    /// No such snapshot, or the kernel refuses the overlay.
    pub fn mount(&self, container_id: &str, at: &Path) -> Result<(), ImageError> {
        let _ = (container_id, at);
        soon("mount")
    }

    /// Unmounts what is mounted at `at`; nothing there is fine.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn unmount(&self, at: &Path) -> Result<(), ImageError> {
        let _ = at;
        soon("unmount")
    }

    /// Removes the container's snapshot and its writes. Absent is fine.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn release(&self, container_id: &str) -> Result<(), ImageError> {
        let _ = container_id;
        soon("release")
    }

    /// The containers that have a snapshot.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn snapshots(&self) -> Result<Vec<String>, ImageError> {
        soon("snapshots")
    }
}
