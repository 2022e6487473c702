//! A store whose values are encrypted: between the registry, which sees none of it, and whatever keeps the bytes. Caches and feeds above hold
//! plain values, in memory only.

use super::keyring::Keyring;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use skiff_encryption::{Opened, Sealed};
use skiff_store::backend::{
    Backend, BackendError, Change, Entry, Got, ListRange, Listed, Revision, Since, Swapped, WatchBatch,
};
use std::sync::{Arc, PoisonError, RwLock};

/// The same store, encrypted. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub(super) struct Encrypted {
    backend: Arc<dyn Backend>,
    keyring: Arc<RwLock<Arc<Keyring>>>,
}

/// A value as it is, and whether it would be written otherwise now.
struct Plain {
    value: Bytes,
    stale: bool,
}

impl Encrypted {
    pub(super) fn new(backend: Arc<dyn Backend>, keyring: Keyring) -> Self {
        Self { backend, keyring: Arc::new(RwLock::new(Arc::new(keyring))) }
    }

    /// The store as it is.
    pub(super) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Who encrypts now. A request takes it once.
    pub(super) fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on somebody else does.
    pub(super) fn change(&self, keyring: Keyring) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }

    async fn read(&self, keyring: &Keyring, key: &[u8], value: Bytes) -> Result<Plain, BackendError> {
        let failed = |problem: String| failed(key, problem);
        match keyring.at(key).map_err(failed)? {
            None if !value.starts_with(b"k8s:enc:") => Ok(Plain { value, stale: false }),
            None => Err(failed("identity transformer tried to read encrypted data".to_owned())),
            Some(transformer) => match transformer.open(&value, key).map_err(|error| failed(error.to_string()))? {
                Opened::AsItIs { stale } => Ok(Plain { value, stale }),
                Opened::Plain { value, stale } => Ok(Plain { value: value.into(), stale }),
                Opened::Sealed { plugin, object, stale } => {
                    let opened = keyring.plugin(&plugin).map_err(failed)?.open(&object, key).await;
                    let (value, other) = opened.map_err(failed)?;
                    Ok(Plain { value: value.into(), stale: stale || other })
                }
            },
        }
    }

    async fn write(&self, key: &[u8], value: Bytes) -> Result<Bytes, BackendError> {
        let keyring = self.keyring();
        let failed = |problem: String| failed(key, problem);
        let Some(transformer) = keyring.at(key).map_err(failed)? else { return Ok(value) };
        match transformer.seal(&value, key).map_err(|error| failed(error.to_string()))? {
            Sealed::AsItIs => Ok(value),
            Sealed::Bytes(bytes) => Ok(bytes.into()),
            Sealed::By { plugin, prefix } => {
                let sealed = keyring.plugin(&plugin).and_then(|plugin| plugin.seal(&value, key)).map_err(failed)?;
                Ok([prefix, sealed].concat().into())
            }
        }
    }

    async fn entry(&self, keyring: &Keyring, mut entry: Entry) -> Result<Entry, BackendError> {
        entry.value = self.read(keyring, &entry.key, entry.value).await?.value;
        Ok(entry)
    }

    async fn maybe(&self, keyring: &Keyring, entry: Option<Entry>) -> Result<Option<Entry>, BackendError> {
        match entry {
            Some(entry) => self.entry(keyring, entry).await.map(Some),
            None => Ok(None),
        }
    }

    async fn swapped(&self, swapped: Swapped) -> Result<Swapped, BackendError> {
        match swapped {
            Swapped::Done(revision) => Ok(Swapped::Done(revision)),
            Swapped::Conflict(entry) => self.maybe(&self.keyring(), entry).await.map(Swapped::Conflict),
        }
    }

    async fn change_of(&self, keyring: &Keyring, change: Change) -> Result<Change, BackendError> {
        Ok(match change {
            Change::Put { entry, previous } => {
                Change::Put { entry: self.entry(keyring, entry).await?, previous: self.maybe(keyring, previous).await? }
            }
            Change::Delete { previous, revision } => {
                Change::Delete { previous: self.entry(keyring, previous).await?, revision }
            }
        })
    }

    async fn batch(&self, batch: WatchBatch) -> Result<WatchBatch, BackendError> {
        let WatchBatch::Changes(changes) = batch else { return Ok(batch) };
        let keyring = self.keyring();
        let mut plain = Vec::with_capacity(changes.len());
        for change in changes {
            plain.push(self.change_of(&keyring, change).await?);
        }
        Ok(WatchBatch::Changes(plain))
    }

    /// Writes what stands in `entry` again if somebody else would write it now; whether that was done.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub(super) async fn renew(&self, entry: Entry) -> Result<bool, BackendError> {
        let plain = self.read(&self.keyring(), &entry.key, entry.value).await?;
        if !plain.stale {
            return Ok(false);
        }
        let sealed = self.write(&entry.key, plain.value).await?;
        // Who was faster has written it as it is to be written now.
        let swapped = self.backend.put(entry.key, sealed, entry.mod_revision, 0).await?;
        Ok(matches!(swapped, Swapped::Done(_)))
    }
}

fn failed(key: &[u8], problem: String) -> BackendError {
    BackendError::Transform { key: String::from_utf8_lossy(key).into_owned(), problem }
}

impl Backend for Encrypted {
    fn get(&self, key: Bytes) -> BoxFuture<'_, Result<Got, BackendError>> {
        Box::pin(async move {
            let Got { entry, revision } = self.backend.get(key).await?;
            Ok(Got { entry: self.maybe(&self.keyring(), entry).await?, revision })
        })
    }

    fn list(&self, range: ListRange) -> BoxFuture<'_, Result<Listed, BackendError>> {
        Box::pin(async move {
            let mut listed = self.backend.list(range).await?;
            let keyring = self.keyring();
            for entry in &mut listed.entries {
                let value = std::mem::take(&mut entry.value);
                entry.value = self.read(&keyring, &entry.key, value).await?.value;
            }
            Ok(listed)
        })
    }

    fn put(
        &self,
        key: Bytes,
        value: Bytes,
        expected: Revision,
        ttl_seconds: i64,
    ) -> BoxFuture<'_, Result<Swapped, BackendError>> {
        Box::pin(async move {
            let sealed = self.write(&key, value).await?;
            self.swapped(self.backend.put(key, sealed, expected, ttl_seconds).await?).await
        })
    }

    fn delete(&self, key: Bytes, expected: Revision) -> BoxFuture<'_, Result<Swapped, BackendError>> {
        Box::pin(async move { self.swapped(self.backend.delete(key, expected).await?).await })
    }

    fn watch(&self, prefix: Bytes, after: Revision) -> BoxStream<'static, Result<WatchBatch, BackendError>> {
        let store = self.clone();
        let batches = self.backend.watch(prefix, after).then(move |batch| {
            let store = store.clone();
            async move { store.batch(batch?).await }
        });
        batches.boxed()
    }

    fn since(&self, prefix: &Bytes, after: Revision) -> Since {
        self.backend.since(prefix, after)
    }

    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, BackendError>> {
        self.backend.size_bytes()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        Box::pin(async move {
            self.keyring().health().map_err(BackendError::Unavailable)?;
            self.backend.health().await
        })
    }
}
