//! Pulls: from a name to an image in the store, by way of registries.
//!
//! ```text
//! name ─► what the tag stands for ─► index? ─► manifest ─► configuration ─► layers ─► unpacked ─► listed
//!         (HEAD: perhaps nothing     plan                                   fetch     (beside     (all of it
//!          is left to do)            (pure)                                           each other)  or nothing)
//! ```
//!
//! However many ask for one image at once, it is pulled once. Layers are fetched and unpacked beside each other; what was fetched when a pull
//! breaks is there for the next one. Async, unlike the rest of the crate: what blocks runs on threads for that.

mod fetch; // one blob, from whoever has it
mod plan; // what was delivered; no I/O

use crate::blobs::DOCUMENT_BYTES_MAX;
use crate::documents::{self, Found, IndexOrManifest, Layer};
use crate::error::On;
use crate::index::{Content, Record};
use crate::layers;
use crate::store::{Entering, Staged, UNPACK};
use crate::unpack::Limits;
use crate::{Digest, Image, ImageError, ImageStore, Reference, demo};
use fetch::Fetched;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use plan::Delivered;
use skiff_distribution::{Credentials, Kind, Registries, RegistryError, Repository};
use skiff_step::Step;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const PULL: Step = Step::new("image.pull", "distribution-spec, Pull");

/// Layers that one pull fetches at once; containerd and Docker have the same.
const FETCHES_MAX: usize = 3;
/// Layers that one pull unpacks at once.
const UNPACKS_MAX: usize = 2;
/// How often what was there at first may have gone by the time of the commit, because somebody removed an image.
const TRIES: u32 = 4;
/// Hosts of names that no registry has.
const LOCAL: [&str; 2] = ["skiff.local", "localhost"];

/// What happens to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It comes.
    Fetching,
    /// It has come and is being unpacked.
    Unpacking,
    /// It goes to a registry.
    Sending,
    /// It is there.
    Ready,
}

/// Is told how a pull goes; from several threads.
pub trait Progress: Send + Sync {
    /// Of `total` bytes of a layer `done` have come.
    fn layer(&self, digest: &Digest, stage: Stage, done: u64, total: u64);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn layer(&self, _: &Digest, _: Stage, _: u64, _: u64) {}
}

/// How a pull ends for everybody who waits for it.
pub type Pulled = Result<Image, Arc<ImageError>>;
/// One name as one caller.
type Key = (String, Option<Credentials>);

/// Who is asked for images, and what is under way.
#[derive(Clone, Default)]
pub(crate) struct Pulls {
    registries: Registries,
    flights: Arc<Mutex<HashMap<Key, Shared<BoxFuture<'static, Pulled>>>>>,
}

impl std::fmt::Debug for Pulls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulls").field("registries", &self.registries).finish_non_exhaustive()
    }
}

impl ImageStore {
    /// The same store, that asks these registries.
    #[must_use]
    pub fn with_registries(mut self, registries: Registries) -> Self {
        self.pulls = Pulls { registries, ..Pulls::default() };
        self
    }

    /// Who is asked.
    pub(crate) fn registries(&self) -> &Registries {
        &self.pulls.registries
    }

    /// Sees to it that the image is what its name stands for now, at the registry that the name names. The demo image is built here; an
    /// image that came out of an archive serves when its registry cannot be reached.
    ///
    /// # Errors
    /// It cannot be had; whoever waited for the same pull gets the same error.
    pub async fn pull(&self, reference: &str, credentials: Option<Credentials>, progress: Arc<dyn Progress>) -> Pulled {
        let parsed: Reference = reference.parse()?;
        if LOCAL.contains(&parsed.host()) {
            let store = self.clone();
            return Ok(blocking(move || store.here(&parsed)).await?);
        }
        let key = (parsed.to_string(), credentials.clone());
        let flight = {
            // A map of futures is whole whatever panicked while it was held.
            let mut flights = self.pulls.flights.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = || self.begin(parsed, credentials, progress, key.clone());
            flights.entry(key.clone()).or_insert_with(begin).clone()
        };
        flight.await
    }

    /// A pull that goes on when whoever asked for it has gone.
    fn begin(
        &self,
        reference: Reference,
        credentials: Option<Credentials>,
        progress: Arc<dyn Progress>,
        key: Key,
    ) -> Shared<BoxFuture<'static, Pulled>> {
        let (store, flights) = (self.clone(), Arc::clone(&self.pulls.flights));
        let task = tokio::spawn(async move {
            let operand = || reference.to_string();
            let pull = Pull { store: &store, reference: &reference, credentials, progress };
            let pulled = store.engine.run_async(&PULL, operand, pull.or_what_is_here()).await;
            flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            pulled.map_err(Arc::new)
        });
        let ended = |error: tokio::task::JoinError| Arc::new(ImageError::malformed("pull", error.to_string()));
        async move { task.await.map_err(ended)? }.boxed().shared()
    }

    /// An image whose name is this machine's own.
    fn here(&self, reference: &Reference) -> Result<Image, ImageError> {
        if let Some(image) = self.resolve(&reference.to_string())? {
            return Ok(image);
        }
        if reference.tagged().as_deref() == Some(demo::NAME) && reference.digest().is_none() {
            return self.demo();
        }
        Err(ImageError::NotFound(format!("{reference} (names of {} are this machine's own)", reference.host())))
    }
}

/// One pull.
struct Pull<'a> {
    /// Where the image goes.
    store: &'a ImageStore,
    /// Its name, normalised.
    reference: &'a Reference,
    /// Who we are to the registry of that name.
    credentials: Option<Credentials>,
    /// Who watches.
    progress: Arc<dyn Progress>,
}

impl Pull<'_> {
    fn failed(&self, source: RegistryError) -> ImageError {
        ImageError::Registry { operation: "pull", reference: self.reference.to_string(), source }
    }

    /// Pulls; an image that came from elsewhere serves where nobody can be asked.
    async fn or_what_is_here(self) -> Result<Image, ImageError> {
        let error = match self.run().await {
            Err(ImageError::Registry { operation, reference, source }) if source.kind == Kind::Unreachable => {
                ImageError::Registry { operation, reference, source }
            }
            ended => return ended,
        };
        let (store, name) = (self.store.clone(), self.reference.to_string());
        match blocking(move || store.resolve_local(&name)).await? {
            Some(image) => {
                tracing::warn!("{}: the image that was imported under this name serves", error.chain());
                Ok(image)
            }
            None => Err(error),
        }
    }

    /// Pulls, and again if somebody removes meanwhile what it counted on.
    async fn run(&self) -> Result<Image, ImageError> {
        let (host, path) = (self.reference.host(), self.reference.path());
        let repository = self.store.registries().repository(host, path, self.credentials.clone());
        let repository = repository.map_err(|error| self.failed(error))?;
        for _try in 0..TRIES {
            if let Some(image) = self.is_here_already(&repository).await? {
                return Ok(image);
            }
            if let Some(image) = self.fetch_all(&repository).await? {
                return Ok(image);
            }
        }
        Err(ImageError::malformed(
            self.reference.to_string(),
            "others removed its layers again and again while it was pulled",
        ))
    }

    /// Whether what the name stands for is in the store, by the registry's word about its digest.
    async fn is_here_already(&self, repository: &Repository) -> Result<Option<Image>, ImageError> {
        let digest = match (self.reference.digest(), repository.resolve(&self.wanted()).await) {
            (Some(digest), Ok(_)) => digest,
            (None, Ok(Some(digest))) => digest.parse()?,
            // The manifest itself will tell, or say why not.
            (None, Ok(None)) => return Ok(None),
            (_, Err(error)) if error.kind == Kind::Protocol => return Ok(None),
            (_, Err(error)) => return Err(self.failed(error)),
        };
        let (store, reference) = (self.store.clone(), self.reference.clone());
        blocking(move || store.name_again(&reference, &digest)).await
    }

    /// What is asked for: the digest decides where there is one.
    fn wanted(&self) -> String {
        match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        }
    }

    /// Fetches, unpacks and lists; none if what was counted on has been removed meanwhile.
    async fn fetch_all(&self, repository: &Repository) -> Result<Option<Image>, ImageError> {
        let (found, index, top) = self.documents(repository).await?;
        let store = self.store.clone();
        let mut staged = blocking(move || Staged::new(&store.disk)).await?;
        let held = self.layers(repository, &found, &mut staged).await?;
        let (store, reference) = (self.store.clone(), self.reference.clone());
        let listed = blocking(move || {
            let entering = enter(&reference, found, index, &top, &mut staged)?;
            let images = store.commit(&staged, &[entering])?;
            // Until the blobs are in their place nobody else may write them.
            drop(held);
            Ok(images)
        });
        Ok(listed.await?.and_then(|mut images| images.pop()))
    }

    /// The image's documents, each checked; the index that led to them, and the digest of what the name stands for.
    async fn documents(&self, repository: &Repository) -> Result<(Found, Option<Vec<u8>>, Digest), ImageError> {
        let document = repository.manifest(&self.wanted()).await.map_err(|error| self.failed(error))?;
        let top = plan::digest(self.reference.digest(), &document)?;
        let (manifest, bytes, index) = match plan::delivered(&document.media_type, &document.bytes)? {
            Delivered::Image(manifest) => (manifest, document.bytes, None),
            Delivered::Index(chosen) => {
                let inner = repository.manifest(&chosen.to_string()).await.map_err(|error| self.failed(error))?;
                plan::digest(Some(chosen), &inner)?;
                match plan::delivered(&inner.media_type, &inner.bytes)? {
                    Delivered::Image(manifest) => (manifest, inner.bytes, Some(document.bytes)),
                    Delivered::Index(_) => {
                        return Err(ImageError::malformed(chosen.to_string(), "an index leads to another index"));
                    }
                }
            }
        };
        let digest = Digest::of(&bytes);
        let config = self.configuration(repository, &manifest).await?;
        plan::check_platform(&config)?;
        Ok((documents::image_of(manifest, digest, &bytes, config)?, index, top))
    }

    /// The configuration, from the store or from the registry, as long as its descriptor says and no longer.
    async fn configuration(&self, repository: &Repository, manifest: &IndexOrManifest) -> Result<Vec<u8>, ImageError> {
        let descriptor = manifest.config.as_ref();
        let descriptor = descriptor.ok_or_else(|| ImageError::malformed("manifest", "it has no configuration"))?;
        let digest: Digest = descriptor.digest.parse()?;
        if descriptor.size > DOCUMENT_BYTES_MAX {
            let limit = format!("{DOCUMENT_BYTES_MAX} bytes");
            return Err(ImageError::TooLarge { what: "image configuration".into(), limit });
        }
        if self.store.blobs.has(&digest) {
            let store = self.store.clone();
            if let Ok(bytes) = blocking(move || store.blobs.document(&digest)).await {
                return Ok(bytes);
            }
        }
        let mut blob = repository.blob(&digest.to_string(), 0).await.map_err(|error| self.failed(error))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = blob.chunk().await.map_err(|error| self.failed(error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > descriptor.size {
                break;
            }
        }
        let actual = Digest::of(&bytes);
        if actual != digest || bytes.len() as u64 != descriptor.size {
            let (expected, actual) = (digest.to_string(), format!("{actual} of {} bytes", bytes.len()));
            return Err(ImageError::Mismatch { what: "image configuration".into(), expected, actual });
        }
        Ok(bytes)
    }

    /// Fetches and unpacks what is missing of the layers; what has to be held until they are listed.
    async fn layers(
        &self,
        repository: &Repository,
        found: &Found,
        staged: &mut Staged,
    ) -> Result<Vec<Fetched>, ImageError> {
        let (fetches, unpacks) = (Arc::new(Semaphore::new(FETCHES_MAX)), Arc::new(Semaphore::new(UNPACKS_MAX)));
        let mut seen = BTreeSet::new();
        let mut under_way = JoinSet::new();
        for layer in found.layers.iter().filter(|layer| seen.insert(layer.diff)) {
            let work = OneLayer {
                store: self.store.clone(),
                repository: repository.clone(),
                layer: layer.clone(),
                at: staged.place("layer", &layer.diff),
                progress: Arc::clone(&self.progress),
                reference: self.reference.to_string(),
            };
            under_way.spawn(work.run(Arc::clone(&fetches), Arc::clone(&unpacks)));
        }
        let mut held = Vec::new();
        while let Some(ended) = under_way.join_next().await {
            let ended = ended.map_err(|error| ImageError::malformed("pull", error.to_string()))?;
            let (fetched, unpacked) = ended?;
            if let Some(fetched) = &fetched {
                staged.blob(fetched.digest, fetched.path.clone());
            }
            if let Some((diff, at)) = unpacked {
                staged.layer(diff, at);
            }
            held.extend(fetched);
        }
        Ok(held)
    }
}

/// What becomes of one layer.
struct OneLayer {
    store: ImageStore,
    repository: Repository,
    layer: Layer,
    at: PathBuf,
    progress: Arc<dyn Progress>,
    reference: String,
}

impl OneLayer {
    async fn run(
        self,
        fetches: Arc<Semaphore>,
        unpacks: Arc<Semaphore>,
    ) -> Result<(Option<Fetched>, Option<(Digest, PathBuf)>), ImageError> {
        let (digest, bytes) =
            self.layer.blob.ok_or_else(|| ImageError::malformed("manifest", "a layer has no digest"))?;
        let fetched = {
            let _permit = fetches.acquire().await;
            let fetch = fetch::Fetch { store: &self.store, reference: &self.reference, progress: &*self.progress };
            fetch.blob(&self.repository, digest, bytes).await?
        };
        if self.store.layers.has(&self.layer.diff) {
            self.progress.layer(&digest, Stage::Ready, bytes, bytes);
            return Ok((fetched, None));
        }
        let _permit = unpacks.acquire().await;
        self.progress.layer(&digest, Stage::Unpacking, bytes, bytes);
        let path = fetched.as_ref().map_or_else(|| self.store.blobs.path(&digest), |fetched| fetched.path.clone());
        let (layer, at, engine) = (self.layer, self.at, self.store.engine.clone());
        let unpack = move || {
            let operand = || layer.diff.to_string();
            let made = engine.run(&UNPACK, operand, || {
                let blob = std::fs::File::open(&path).on("open", &path)?;
                layers::make(&layer, blob, &at, None, Limits::GENEROUS)
            })?;
            made.left_out.iter().for_each(|note| tracing::warn!("pull: {note}"));
            Ok((layer.diff, at))
        };
        let unpacked = blocking(unpack).await?;
        self.progress.layer(&digest, Stage::Ready, bytes, bytes);
        Ok((fetched, Some(unpacked)))
    }
}

/// The image as it will be listed; its documents are staged.
fn enter(
    reference: &Reference,
    found: Found,
    index: Option<Vec<u8>>,
    top: &Digest,
    staged: &mut Staged,
) -> Result<Entering, ImageError> {
    let id = staged.document(&found.config_bytes)?;
    let manifest = found.manifest.ok_or_else(|| ImageError::malformed(reference.to_string(), "it has no manifest"))?;
    staged.document(&manifest.bytes)?;
    let index = index.map(|bytes| staged.document(&bytes)).transpose()?;
    let content = Content {
        manifest: manifest.digest.hex(),
        media_type: manifest.media_type,
        manifest_bytes: manifest.bytes.len() as u64,
        index: index.map(|digest| digest.hex()),
        layers: found.layers.iter().filter_map(|layer| layer.blob).map(|(digest, _)| digest.hex()).collect(),
    };
    let record = Record {
        tags: reference.tagged().filter(|_| reference.digest().is_none()).into_iter().collect(),
        digests: BTreeSet::from([format!("{}@{top}", reference.name())]),
        layers: found.layers.iter().map(|layer| layer.diff.hex()).collect(),
        size_bytes: found.size_bytes,
        content: Some(content),
        ..Record::default()
    };
    Ok(Entering { id, record })
}

/// Runs what blocks beside the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ImageError::malformed("work on images", error.to_string())),
    }
}
