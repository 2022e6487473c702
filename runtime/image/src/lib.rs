//! Images: references, blobs, manifests, unpacking, overlay snapshots.
//!
//! An [`ImageStore`] is one folder. It takes images from archives, keeps each layer unpacked once, and gives containers a
//! writable overlay snapshot over an image's layers. Blocking throughout: async callers use a blocking thread.
//!
//! ```text
//! archive ─► source ─► documents ─► tape ─► unpack ─► layers ─┐
//!            (files)   (what is     (tar)   (inside)    ▲     ├─► snapshots ─► overlay mount
//!                │      in it)                  index ──│─────┘
//!                └─────────────► blobs ─────────────────┘ (made anew)
//! ```
//!
//! `pull` brings blobs from registries and has them unpacked and listed in the same way. What it leaves to others: how registries are asked
//! ([`skiff_distribution`]), and everything about running containers.
//! Images are hostile: their labels and annotations are carried to whoever asks and steer nothing here.

pub mod demo; // an image made of what the host has
mod digest; // names of content
mod error;
mod recipe; // an image of what the caller names
mod reference; // names of images

mod codec; // gzip, zstd or neither?
mod configuration; // what does an image say of itself?
mod documents; // which images does a source hold?
mod source; // where do its files lie?
mod tape; // which entries does a tar archive have?

mod inside; // where does a path lead?
mod place; // what does a builder put there?
mod unpack; // what does an entry become?
mod written; // what does an overlay's upper folder say?

mod blobs; // what was delivered?
mod disk; // how do files survive a crash?
mod index; // which images are there?
mod layers; // which layers are there?
mod seal; // are their files what they were?
mod snapshots; // what may containers write to?
mod store; // what does a caller get?
mod users; // who owns files where a container has users of its own?

mod pull; // what does a registry give?
mod push; // what does a registry get?

pub use digest::Digest;
pub use error::ImageError;
pub use place::{Content, Found, Item, Mounted, attribute};
pub use pull::{Progress, Pulled, Stage, Unwatched};
pub use recipe::Recipe;
pub use reference::Reference;
pub use skiff_distribution::{AuthFile, Credentials, Kind, Registries};
pub use snapshots::{Retired, is_being_built};
pub use store::{Detail, ImageStore, LayerDetail, NewLayer, Room, Verified};
pub use users::{IdRange, Users, outside};
pub use written::{Compression, Packing};

use std::path::PathBuf;

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…` of the configuration document.
    pub id: String,
    /// Normalised names with tags, `docker.io/library/busybox:latest`.
    pub repo_tags: Vec<String>,
    /// Normalised names with manifest digests, `docker.io/library/busybox@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Bytes of its documents and its layers as they were delivered, packed or not: what registries and other runtimes count, and
    /// never zero.
    pub size_bytes: u64,
    /// Whether it stays when room is needed.
    pub pinned: bool,
    /// The configuration document.
    pub config: oci_spec::image::ImageConfiguration,
}

/// What images that are built here are made of.
#[derive(Debug, Clone, Default)]
pub struct Builtin {
    /// The static skiff-web binary; without it the demo image cannot be built, and pull says so.
    pub web: Option<PathBuf>,
}

/// What layers, or a container's writes, occupy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// A folder of the file system they are on.
    pub at: PathBuf,
    /// Bytes of all files.
    pub bytes_used: u64,
    /// Files and folders.
    pub inodes_used: u64,
}

/// The writable overlay of one container over the layers of its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose it is.
    pub container_id: String,
    /// Of which image, `sha256:…`.
    pub image_id: String,
    /// Read-only folders, uppermost first.
    pub lower_dirs: Vec<PathBuf>,
    /// The writable folder.
    pub upper_dir: PathBuf,
    /// Scratch space of overlayfs, on the same file system as `upper_dir`.
    pub work_dir: PathBuf,
}
