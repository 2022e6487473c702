//! Performs replication: asks what the other side has, and sends or takes what is missing.

use super::{Direction, Image, Replication, manifests};
use crate::digest::Digest;
use crate::disk::blob_below;
use crate::manifest::{self, About};
use crate::name::{Name, Tag};
use crate::plan::Reference;
use crate::refusal::Refusal;
use crate::serve::{Registry, blocking};
use skiff_distribution::{Credentials, Document, Kind, Registries, RegistryError, Repository, Sent, Upload};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a push rests before it goes on: its tags come one after the other.
const REST: Duration = Duration::from_millis(200);
/// How deep indexes may list indexes in what is taken from others.
const DEPTH_MAX: usize = 8;
/// Manifests of one image that is taken from others; they are in memory until their parts are here.
const MANIFESTS_MAX: usize = 1000;

/// What stopped a copy.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("{0}")]
    There(#[from] RegistryError),
    #[error("{}", .0.message)]
    Here(#[from] Refusal),
    #[error("{0}")]
    Wrong(String),
}

/// A rule, and with whom to go where.
pub struct Replicator {
    rule: Replication,
    credentials: Option<Credentials>,
    registries: Registries,
}

/// Nobody watches how far it is.
struct Unseen;

impl Sent for Unseen {
    fn sent(&self, _bytes: u64) {}
}

impl Replicator {
    /// A rule, with the password that its file holds.
    #[must_use]
    pub fn new(rule: Replication, credentials: Option<Credentials>, registries: Registries) -> Self {
        Self { rule, credentials, registries }
    }

    fn there(&self, path: &str) -> Result<Repository, RegistryError> {
        self.registries.repository(&self.rule.registry, path, self.credentials.clone())
    }
}

/// The digest that a tag has on the other side; none if it is not there.
async fn resolved(there: &Repository, reference: &str) -> Result<Option<String>, RegistryError> {
    match there.resolve(reference).await {
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        resolved => resolved,
    }
}

impl Registry {
    /// Sends an image, if the other side has not the same under its tag.
    async fn send(&self, by: &Replicator, (name, tag, digest): &Image) -> Result<bool, CopyError> {
        let there = by.there(&by.rule.received(name.as_str()))?;
        if resolved(&there, tag.as_str()).await?.as_deref() == Some(digest.as_str()) {
            return Ok(false);
        }
        let manifests: Vec<(Digest, About)> = {
            let state = self.store.state();
            let held = state.repository(name).ok_or_else(|| Refusal::no_repository(name))?;
            let order = manifests(held, digest).into_iter();
            order.filter_map(|one| Some((one.clone(), (*held.manifests.get(&one)?.about).clone()))).collect()
        };
        let upload = there.upload(&[]).await?;
        for (one, about) in &manifests {
            self.send_blobs(&upload, about).await?;
            let (store, wanted) = (self.store.clone(), one.clone());
            let bytes = blocking(move || Ok(store.manifest(&wanted)?)).await?;
            let reference = if one == digest { tag.as_str() } else { one.as_str() };
            upload.manifest(reference, &about.media_type, bytes).await?;
        }
        Ok(true)
    }

    async fn send_blobs(&self, upload: &Upload, about: &About) -> Result<(), CopyError> {
        for blob in &about.blobs {
            if !upload.has(blob.digest.as_str()).await? {
                let path = blob_below(self.store.disk.root(), &blob.digest);
                upload.blob(blob.digest.as_str(), &path, blob.size, &Unseen).await?;
            }
        }
        Ok(())
    }

    /// Takes an image, if it is not here under its tag.
    async fn take_image(&self, there: &Repository, name: &Name, tag: &Tag) -> Result<bool, CopyError> {
        let reference = Reference::Tag(tag.clone());
        let here = crate::plan::resolve(&self.store.state(), name, &reference).ok().map(|(digest, _)| digest);
        let digest = there.resolve(tag.as_str()).await?;
        if digest.is_some() && digest.as_deref() == here.as_ref().map(Digest::as_str) {
            return Ok(false);
        }
        let document = there.manifest(tag.as_str()).await?;
        let mut open = vec![(document, reference, 0)];
        let mut order: Vec<(Document, Reference)> = Vec::new();

        while let Some((document, reference, depth)) = open.pop() {
            let about = manifest::read(&document.bytes, Some(&document.media_type))?;
            if depth > DEPTH_MAX || order.len() + about.manifests.len() > MANIFESTS_MAX {
                let text = format!("an index of more than {MANIFESTS_MAX} manifests, or more than {DEPTH_MAX} deep");
                return Err(CopyError::Wrong(text));
            }
            for listed in &about.manifests {
                let document = there.manifest(listed.digest.as_str()).await?;
                open.push((document, Reference::Digest(listed.digest.clone()), depth + 1));
            }
            self.take_blobs(there, name, &about).await?;
            order.push((document, reference));
        }
        // What lists others was read before them, and is named when they are here.
        for (document, reference) in order.into_iter().rev() {
            self.place(name, document, reference).await?;
        }
        Ok(true)
    }

    async fn take_blobs(&self, there: &Repository, name: &Name, about: &About) -> Result<(), CopyError> {
        for blob in &about.blobs {
            let is_here = crate::plan::blob(&self.store.state(), name, &blob.digest).is_ok();
            if !is_here {
                self.fetch_blob(there, name, &blob.digest).await?;
            }
        }
        Ok(())
    }

    /// One round of a rule that pulls.
    async fn take_all(&self, by: &Replicator, stop: &CancellationToken) {
        for path in &by.rule.repositories {
            let tags = async { by.there(path)?.tags().await };
            let tags = match tags.await {
                Ok(tags) => tags,
                Err(error) => {
                    tracing::error!(registry = by.rule.registry, repository = path, %error, "replicate: list tags");
                    continue;
                }
            };
            let Ok(name) = by.rule.received(path).parse::<Name>() else { continue };
            for tag in tags.iter().filter(|tag| by.rule.takes(tag)).filter_map(|tag| tag.parse::<Tag>().ok()) {
                if stop.is_cancelled() {
                    return;
                }
                let taken = async { self.take_image(&by.there(path)?, &name, &tag).await };
                self.copied(by, &name, &tag, Box::pin(taken).await);
            }
        }
    }

    /// Tells what came of a copy; whether it is there.
    fn copied(&self, by: &Replicator, name: &Name, tag: &Tag, copied: Result<bool, CopyError>) -> bool {
        let (registry, tag) = (by.rule.registry.as_str(), tag.as_str());
        match copied {
            Ok(false) => return true,
            Ok(true) => tracing::info!(registry, %name, tag, "replicated"),
            Err(ref error) => tracing::error!(registry, %name, tag, %error, "replicate"),
        }
        self.metrics.replicated(copied.is_ok());
        copied.is_ok()
    }
}

/// Keeps another registry and this one as a rule says, until `stop`.
pub async fn replicate(registry: Arc<Registry>, by: Replicator, stop: CancellationToken) {
    let every = Duration::from_secs(by.rule.every_seconds);
    let mut pushes = registry.pushed.subscribe();
    let mut done: BTreeSet<Image> = BTreeSet::new();
    let mut sweep = tokio::time::interval(every);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        let is_push = by.rule.direction == Direction::Push;
        tokio::select! {
            () = stop.cancelled() => return,
            _ = sweep.tick() => done.clear(),
            changed = pushes.changed(), if is_push => {
                if changed.is_err() { return }
                tokio::time::sleep(REST).await;
            }
        }
        if !is_push {
            registry.take_all(&by, &stop).await;
            continue;
        }
        pushes.mark_unchanged();
        let wanted = by.rule.wanted(&registry.store.state());
        done.retain(|image| wanted.contains(image));
        for image in wanted {
            if stop.is_cancelled() {
                return;
            }
            if !done.contains(&image) {
                let sent = Box::pin(registry.send(&by, &image)).await;
                if registry.copied(&by, &image.0, &image.1, sent) {
                    done.insert(image);
                }
            }
        }
    }
}
