//! Pushes: an image's blobs and its manifest into a registry, as they were delivered, so that its digest stays what it is.

use crate::index::Record;
use crate::pull::{Progress, Stage, blocking};
use crate::{Digest, ImageError, ImageStore, Reference};
use skiff_distribution::{Credentials, RegistryError, Sent, Upload};
use skiff_step::Step;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const PUSH: Step = Step::new("image.push", "distribution-spec, Push");
/// Blobs that one push sends at once.
const SENDS_MAX: usize = 3;
/// Repositories of the same registry that blobs are looked for in.
const SOURCES_MAX: usize = 4;

impl ImageStore {
    /// Puts the image into the registry under `name`; what it is called there by digest. What the registry has is not sent, and what another
    /// repository of it has is taken over there.
    ///
    /// # Errors
    /// There is no such image, what was delivered of it was not kept, or the registry refuses.
    pub async fn push(
        &self,
        image: &str,
        name: &str,
        credentials: Option<Credentials>,
        progress: Arc<dyn Progress>,
    ) -> Result<String, ImageError> {
        let name: Reference = name.parse()?;
        let push = self.push_now(image, &name, credentials, progress);
        self.engine.run_async(&PUSH, || name.to_string(), push).await
    }

    async fn push_now(
        &self,
        image: &str,
        name: &Reference,
        credentials: Option<Credentials>,
        progress: Arc<dyn Progress>,
    ) -> Result<String, ImageError> {
        let failed =
            |source: RegistryError| ImageError::Registry { operation: "push", reference: name.to_string(), source };
        let (store, wanted) = (self.clone(), image.to_owned());
        let (id, record, content) = blocking(move || store.delivered_whole(&wanted)).await?;
        let manifest: Digest = Digest::from_hex(&content.manifest)?;
        if name.digest().is_some_and(|digest| digest != manifest) {
            return Err(ImageError::malformed(name.to_string(), format!("the image's manifest is {manifest}")));
        }
        let known = record.digests.iter().chain(&record.tags).filter_map(|text| text.parse::<Reference>().ok());
        let sources: BTreeSet<String> = known
            .filter(|other| other.host() == name.host() && other.path() != name.path())
            .map(|other| other.path().to_owned())
            .collect();
        let sources: Vec<String> = sources.into_iter().take(SOURCES_MAX).collect();
        let repository = self.registries().repository(name.host(), name.path(), credentials).map_err(failed)?;
        let upload = repository.upload(&sources).await.map_err(failed)?;
        let mut hexes: Vec<&String> = content.layers.iter().collect();
        hexes.push(&id);
        let once: BTreeSet<Digest> = hexes.into_iter().map(|hex| Digest::from_hex(hex)).collect::<Result<_, _>>()?;
        self.send_all(&upload, once, &sources, progress).await.map_err(|error| match error {
            Failed::Registry(source) => failed(source),
            Failed::Local(error) => error,
        })?;
        let store = self.clone();
        let bytes = blocking(move || store.blobs.document(&manifest)).await?;
        let reference = name.tag().map_or_else(|| manifest.to_string(), str::to_owned);
        let said = upload.manifest(&reference, &content.media_type, bytes).await.map_err(failed)?;
        if let Some(said) = said.filter(|said| *said != manifest.to_string()) {
            return Err(ImageError::Mismatch { what: "manifest".into(), expected: manifest.to_string(), actual: said });
        }
        let by_digest = format!("{}@{manifest}", name.name());
        let (store, added) = (self.clone(), by_digest.clone());
        let add = |record: &mut Record| record.digests.extend([added]);
        blocking(move || store.change(&format!("sha256:{id}"), add)).await?;
        Ok(by_digest)
    }

    async fn send_all(
        &self,
        upload: &Upload,
        digests: BTreeSet<Digest>,
        sources: &[String],
        progress: Arc<dyn Progress>,
    ) -> Result<(), Failed> {
        let permits = Arc::new(Semaphore::new(SENDS_MAX));
        let mut under_way = JoinSet::new();
        for digest in digests {
            let (store, upload, sources) = (self.clone(), upload.clone(), sources.to_vec());
            let (progress, permits) = (Arc::clone(&progress), Arc::clone(&permits));
            under_way.spawn(async move {
                let _permit = permits.acquire().await;
                send(&store, &upload, digest, &sources, &*progress).await
            });
        }
        while let Some(ended) = under_way.join_next().await {
            ended.map_err(|error| Failed::Local(ImageError::malformed("push", error.to_string())))??;
        }
        Ok(())
    }
}

enum Failed {
    Registry(RegistryError),
    Local(ImageError),
}

impl From<RegistryError> for Failed {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

async fn send(
    store: &ImageStore,
    upload: &Upload,
    digest: Digest,
    sources: &[String],
    progress: &dyn Progress,
) -> Result<(), Failed> {
    let (text, path) = (digest.to_string(), store.blobs.path(&digest));
    let bytes = std::fs::metadata(&path)
        .map_err(|source| Failed::Local(ImageError::Io { operation: "stat", path: path.clone(), source }))?;
    let bytes = bytes.len();
    if upload.has(&text).await? {
        progress.layer(&digest, Stage::Ready, bytes, bytes);
        return Ok(());
    }
    for source in sources {
        if upload.mount(&text, source).await? {
            progress.layer(&digest, Stage::Ready, bytes, bytes);
            return Ok(());
        }
    }
    progress.layer(&digest, Stage::Sending, 0, bytes);
    upload.blob(&text, &path, bytes, &Told { digest, bytes, progress }).await?;
    progress.layer(&digest, Stage::Ready, bytes, bytes);
    Ok(())
}

struct Told<'a> {
    digest: Digest,
    bytes: u64,
    progress: &'a dyn Progress,
}

impl Sent for Told<'_> {
    fn sent(&self, bytes: u64) {
        self.progress.layer(&self.digest, Stage::Sending, bytes, self.bytes);
    }
}
