//! A store on which some objects are only stored when the test lets them: a moment, made long.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use skiff_store::Backend;
use skiff_store::backend::{BackendError, Got, ListRange, Listed, Revision, Swapped, WatchBatch};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// See the module.
pub(crate) struct Held {
    store: Arc<dyn Backend>,
    /// How the keys begin that wait.
    prefix: &'static [u8],
    /// As many may pass as it has permits.
    pub(crate) gate: Semaphore,
    /// How many have come to it.
    pub(crate) held: AtomicUsize,
}

impl Held {
    pub(crate) fn of(store: Arc<dyn Backend>, prefix: &'static [u8]) -> Self {
        Self { store, prefix, gate: Semaphore::new(0), held: AtomicUsize::new(0) }
    }
}

impl Backend for Held {
    fn get(&self, key: Bytes) -> BoxFuture<'_, Result<Got, BackendError>> {
        self.store.get(key)
    }
    fn list(&self, range: ListRange) -> BoxFuture<'_, Result<Listed, BackendError>> {
        self.store.list(range)
    }
    fn put(
        &self,
        key: Bytes,
        value: Bytes,
        expected: Revision,
        ttl_seconds: i64,
    ) -> BoxFuture<'_, Result<Swapped, BackendError>> {
        Box::pin(async move {
            if key.starts_with(self.prefix) {
                self.held.fetch_add(1, Ordering::Relaxed);
                self.gate.acquire().await.expect("open").forget();
            }
            self.store.put(key, value, expected, ttl_seconds).await
        })
    }
    fn delete(&self, key: Bytes, expected: Revision) -> BoxFuture<'_, Result<Swapped, BackendError>> {
        self.store.delete(key, expected)
    }
    fn watch(&self, prefix: Bytes, after: Revision) -> BoxStream<'static, Result<WatchBatch, BackendError>> {
        self.store.watch(prefix, after)
    }
    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, BackendError>> {
        self.store.size_bytes()
    }
    fn health(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        self.store.health()
    }
}
