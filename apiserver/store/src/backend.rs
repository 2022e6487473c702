//! The API server's door to its store: one trait, two implementations.
//!
//! [`Backend`] is what a Kubernetes API server needs of etcd and no more: the request shapes are those that kube-apiserver
//! sends (get, list by prefix at a revision, create, compare-and-swap, delete, watch from a revision, lease). The embedded store
//! implements it in process; `etcd::Remote` implements it over gRPC for any etcd v3 endpoint.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// A key that is asked for only to see whether there is an answer: the one that etcdctl asks for.
pub(crate) const HEALTH_KEY: Bytes = Bytes::from_static(b"health");

/// The store-wide counter of committed writes (etcd's revision, Kubernetes' resourceVersion).
pub type Revision = i64;

/// One key as it stood at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Revision of the write that made the key.
    pub create_revision: Revision,
    /// Revision of the last write.
    pub mod_revision: Revision,
}

/// Answer to [`Backend::get`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The key, if it existed.
    pub entry: Option<Entry>,
    /// The store's revision when it was read.
    pub revision: Revision,
}

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRange {
    /// Every key that starts with this.
    pub prefix: Bytes,
    /// Begin at this key (inclusive) instead of at the prefix: the continue token.
    pub from: Option<Bytes>,
    /// At most this many entries; 0: all.
    pub limit: usize,
    /// As of this revision; 0: the present.
    pub revision: Revision,
}

/// Answer to [`Backend::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Ascending by key.
    pub entries: Vec<Entry>,
    /// Entries from `from` on, limit or not.
    pub count: i64,
    /// The revision the list shows: the one asked for, or the present one.
    pub revision: Revision,
}

/// Outcome of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// Written at this revision.
    Done(Revision),
    /// The condition did not hold; this stands there now (`None`: nothing).
    Conflict(Option<Entry>),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A key was written; `previous` is what it replaced.
    Put {
        /// The new state.
        entry: Entry,
        /// The old one; `None`: the key was created.
        previous: Option<Entry>,
    },
    /// A key was deleted.
    Delete {
        /// What stood there.
        previous: Entry,
        /// Revision of the deletion.
        revision: Revision,
    },
}

/// What a watch delivers, in order of revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchBatch {
    /// All changes of one or more whole revisions.
    Changes(Vec<Change>),
    /// Nothing up to and including this revision is missing.
    Progress(Revision),
}

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackendError {
    /// The revision asked for is no longer kept (Kubernetes: 410 Gone).
    #[error("required revision has been compacted; the oldest kept is {oldest}")]
    Compacted {
        /// Oldest revision that can still be read; 0: the store did not say.
        oldest: Revision,
    },
    /// The revision asked for has not happened yet.
    #[error("required revision is a future revision; the newest is {newest}")]
    Future {
        /// Newest revision; 0: the store did not say.
        newest: Revision,
    },
    /// The value is larger than the store takes (Kubernetes: 413).
    #[error("request is too large")]
    TooLarge,
    /// The disk is full, or the database has reached its quota. Reads go on (Kubernetes: 507).
    #[error("database space exceeded: {0}")]
    NoSpace(String),
    /// The store cannot be reached or does not answer; for a write, its outcome is unknown.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// Anything else: a failed disk, a broken protocol.
    #[error("store: {0}")]
    Internal(String),
}

/// What an API server needs of its store.
pub trait Backend: Send + Sync + 'static {
    /// Reads one key at the present revision.
    fn get(&self, key: Bytes) -> BoxFuture<'_, Result<Got, BackendError>>;
    /// Reads the keys below a prefix.
    fn list(&self, range: ListRange) -> BoxFuture<'_, Result<Listed, BackendError>>;
    /// Writes `value` if the key's `mod_revision` is `expected` (0: if it does not exist). `ttl_seconds` attaches a lease (0: none).
    fn put(
        &self,
        key: Bytes,
        value: Bytes,
        expected: Revision,
        ttl_seconds: i64,
    ) -> BoxFuture<'_, Result<Swapped, BackendError>>;
    /// Deletes the key if its `mod_revision` is `expected`.
    fn delete(&self, key: Bytes, expected: Revision) -> BoxFuture<'_, Result<Swapped, BackendError>>;
    /// Every change below `prefix` after revision `after`; ends with an error when `after` is compacted or the watcher fell behind.
    fn watch(&self, prefix: Bytes, after: Revision) -> BoxStream<'static, Result<WatchBatch, BackendError>>;
    /// Bytes on disk, for health and metrics.
    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, BackendError>>;
    /// Whether it answers a read now that is as good as any: of a cluster, one that most members agree on. Bounded.
    fn health(&self) -> BoxFuture<'_, Result<(), BackendError>>;
}
