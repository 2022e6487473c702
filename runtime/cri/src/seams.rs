//! What the service needs of images and networks: two small traits, so that tests can put fakes behind them.

use crate::error::CriError;
use futures::future::BoxFuture;
use skiff_image::{Image, ImageError, ImageStore, Usage};
use skiff_net::{Attached, PodNetwork, PodNetworks};
use std::path::Path;

/// Images and snapshots; blocking, as [`ImageStore`] is.
#[allow(missing_docs, reason = "each method is the one of ImageStore with that name")]
pub trait Images: Send + Sync + 'static {
    fn resolve(&self, reference_or_id: &str) -> Result<Option<Image>, ImageError>;
    fn list(&self) -> Result<Vec<Image>, ImageError>;
    fn pull(&self, reference: &str) -> Result<Image, ImageError>;
    fn remove(&self, reference_or_id: &str) -> Result<(), ImageError>;
    fn usage(&self) -> Result<Usage, ImageError>;
    /// Prepares and mounts the container's root file system at `at`; `correlation` is for the trace.
    fn mount(&self, image_id: &str, container_id: &str, at: &Path, correlation: Option<&str>)
    -> Result<(), ImageError>;
    fn unmount(&self, at: &Path) -> Result<(), ImageError>;
    fn release(&self, container_id: &str) -> Result<(), ImageError>;
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
    fn pull(&self, reference: &str) -> Result<Image, ImageError> {
        Self::pull(self, reference)
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
        correlation: Option<&str>,
    ) -> Result<(), ImageError> {
        let store = self.correlated(correlation);
        store.prepare(image_id, container_id)?;
        Self::mount(&store, container_id, at)
    }
    fn unmount(&self, at: &Path) -> Result<(), ImageError> {
        Self::unmount(self, at)
    }
    fn release(&self, container_id: &str) -> Result<(), ImageError> {
        Self::release(self, container_id)
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

/// Pod networks.
#[allow(missing_docs, reason = "each method is the one of PodNetworks with that name")]
pub trait Networks: Send + Sync + 'static {
    fn attach<'a>(&'a self, pod: &'a PodNetwork) -> BoxFuture<'a, Result<Attached, CriError>>;
    fn detach<'a>(&'a self, pod: &'a PodNetwork) -> BoxFuture<'a, Result<(), CriError>>;
    /// The error is the sentence for the condition NetworkReady.
    fn ready(&self) -> Result<(), CriError>;
    fn retain<'a>(&'a self, live_sandbox_ids: &'a [String]) -> BoxFuture<'a, Result<(), CriError>>;
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
