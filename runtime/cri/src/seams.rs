//! What the service needs of images and networks: two small traits, so that tests can put fakes behind them.

use crate::error::CriError;
use futures::future::BoxFuture;
use skiff_image::{Credentials, Image, ImageError, ImageStore, Pulled, Unwatched, Usage, Users};
use skiff_net::{Attached, PodNetwork, PodNetworks};
use std::path::Path;
use std::sync::Arc;

/// Images and snapshots; blocking but for pulls, as [`ImageStore`] is, so calls belong on a thread that may wait.
///
/// An implementation is safe to call from several threads, and each call can be repeated: what is already so is no error.
/// A container's id names its snapshot until [`Images::release`]; while it is held, its image's layers stay, whatever
/// [`Images::remove`] takes away.
pub trait Images: Send + Sync + 'static {
    /// The image with this reference, id or digest; `None` if there is none.
    fn resolve(&self, reference_or_id: &str) -> Result<Option<Image>, ImageError>;
    /// All images, in no particular order.
    fn list(&self) -> Result<Vec<Image>, ImageError>;
    /// Makes sure that the image is what its name stands for now, wherever the name points to; with the caller's credentials for that
    /// registry. It goes on when the caller has gone, and whoever asks for the same meanwhile waits for the same.
    ///
    /// # Errors
    /// It cannot be had; the text tells a user why, because it becomes the reason of the pod's waiting.
    fn pull<'a>(&'a self, reference: &'a str, credentials: Option<Credentials>) -> BoxFuture<'a, Pulled>;
    /// Takes the image away with all its names, whichever of them is given. What is not there is no error (CRI v1).
    fn remove(&self, reference_or_id: &str) -> Result<(), ImageError>;
    /// Room that images and snapshots take on their filesystem.
    fn usage(&self) -> Result<Usage, ImageError>;
    /// Prepares and mounts the container's root file system at `at`, a folder that exists, so that its files belong to the right ones
    /// among `users`, if the container has users of its own; `correlation` is for the trace.
    ///
    /// # Errors
    /// The image is not there, or the kernel refuses; nothing is mounted then.
    fn mount(
        &self,
        image_id: &str,
        container_id: &str,
        at: &Path,
        users: Option<&Users>,
        correlation: Option<&str>,
    ) -> Result<(), ImageError>;
    /// Unmounts what [`Images::mount`] has mounted, if it is mounted.
    fn unmount(&self, at: &Path) -> Result<(), ImageError>;
    /// Deletes the container's snapshot and what it wrote, if there is one. It must not be mounted.
    fn release(&self, container_id: &str) -> Result<(), ImageError>;
    /// The same, for whoever does not wait until its files are gone: the room is given back in a while, and after a crash when the
    /// store is next opened.
    fn release_soon(&self, container_id: &str) -> Result<(), ImageError> {
        self.release(container_id)
    }
    /// Ids of the containers that have snapshots, for whoever cleans up after a crash.
    fn snapshots(&self) -> Result<Vec<String>, ImageError>;
    /// What a container wrote over its image; nothing if it has no snapshot (any more).
    fn written(&self, container_id: &str) -> Result<Option<Usage>, ImageError>;
}

impl Images for ImageStore {
    fn resolve(&self, reference_or_id: &str) -> Result<Option<Image>, ImageError> {
        Self::resolve(self, reference_or_id)
    }
    fn list(&self) -> Result<Vec<Image>, ImageError> {
        Self::list(self)
    }
    fn pull<'a>(&'a self, reference: &'a str, credentials: Option<Credentials>) -> BoxFuture<'a, Pulled> {
        Box::pin(Self::pull(self, reference, credentials, Arc::new(Unwatched)))
    }
    fn remove(&self, reference_or_id: &str) -> Result<(), ImageError> {
        Self::remove(self, reference_or_id)
    }
    fn usage(&self) -> Result<Usage, ImageError> {
        Self::usage(self)
    }
    fn mount(
        &self,
        image_id: &str,
        container_id: &str,
        at: &Path,
        users: Option<&Users>,
        correlation: Option<&str>,
    ) -> Result<(), ImageError> {
        let store = self.correlated(correlation);
        store.prepare(image_id, container_id)?;
        Self::mount(&store, container_id, at, users)
    }
    fn unmount(&self, at: &Path) -> Result<(), ImageError> {
        Self::unmount(self, at)
    }
    fn release(&self, container_id: &str) -> Result<(), ImageError> {
        Self::release(self, container_id)
    }
    fn release_soon(&self, container_id: &str) -> Result<(), ImageError> {
        let retired = self.retire(container_id)?;
        if !retired.is_empty() {
            std::thread::spawn(move || {
                if let Err(error) = retired.remove() {
                    tracing::warn!("{error}; it goes when the image store is next opened");
                }
            });
        }
        Ok(())
    }
    fn snapshots(&self) -> Result<Vec<String>, ImageError> {
        Self::snapshots(self)
    }
    fn written(&self, container_id: &str) -> Result<Option<Usage>, ImageError> {
        match self.snapshot_usage(container_id) {
            Err(ImageError::NoSnapshot(_)) => Ok(None),
            usage => usage.map(Some),
        }
    }
}

/// Pod networks, as CNI has them: a sandbox gets its addresses before its first container and gives them back after its last.
///
/// Each call can be repeated. What an implementation keeps about a sandbox must survive the process, because sandboxes do.
pub trait Networks: Send + Sync + 'static {
    /// Gives the pod's network namespace an interface and addresses; again: the same ones (CNI ADD).
    ///
    /// # Errors
    /// It cannot be done; what was begun is taken back, or will be by [`Networks::detach`] or [`Networks::retain`].
    fn attach<'a>(&'a self, pod: &'a PodNetwork) -> BoxFuture<'a, Result<Attached, CriError>>;
    /// Takes them back; also when the namespace is gone or nothing was attached (CNI DEL).
    fn detach<'a>(&'a self, pod: &'a PodNetwork) -> BoxFuture<'a, Result<(), CriError>>;
    /// The error is the sentence for the condition NetworkReady.
    fn ready(&self) -> Result<(), CriError>;
    /// Takes back what belongs to no sandbox of this list, which is complete (CNI GC).
    fn retain<'a>(&'a self, live_sandbox_ids: &'a [String]) -> BoxFuture<'a, Result<(), CriError>>;
    /// From now on pods get addresses of this range (CRI UpdateRuntimeConfig); those that have some keep them.
    fn use_pod_cidr<'a>(&'a self, pod_cidr: &'a str) -> BoxFuture<'a, Result<(), CriError>>;
}

impl Networks for PodNetworks {
    fn attach<'a>(&'a self, pod: &'a PodNetwork) -> BoxFuture<'a, Result<Attached, CriError>> {
        Box::pin(async move { Ok(Self::attach(self, pod).await?) })
    }
    fn detach<'a>(&'a self, pod: &'a PodNetwork) -> BoxFuture<'a, Result<(), CriError>> {
        Box::pin(async move { Ok(Self::detach(self, pod).await?) })
    }
    fn ready(&self) -> Result<(), CriError> {
        Ok(Self::ready(self)?)
    }
    fn retain<'a>(&'a self, live_sandbox_ids: &'a [String]) -> BoxFuture<'a, Result<(), CriError>> {
        Box::pin(async move { Ok(Self::retain(self, live_sandbox_ids).await?) })
    }
    fn use_pod_cidr<'a>(&'a self, pod_cidr: &'a str) -> BoxFuture<'a, Result<(), CriError>> {
        Box::pin(async move { Ok(Self::use_pod_cidr(self, pod_cidr).await?) })
    }
}
