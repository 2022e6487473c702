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

/// Answer to [`Backend::since`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Nothing, up to and including this revision, which is the newest.
    Nothing(Revision),
    /// Something, which watches are told or about to be told.
    Something,
    /// It cannot be said without asking: other servers write to the same store.
    Unknown,
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
    /// A value stands there and cannot be decrypted, or could not be encrypted (Kubernetes: 500, in these words).
    #[error("unable to transform key {key:?}: {problem}")]
    Transform {
        /// The key.
        key: String,
        /// Why.
        problem: String,
    },
    /// Anything else: a failed disk, a broken protocol.
    #[error("store: {0}")]
    Internal(String),
}

/// What an API server needs of its store.
///
/// # What an implementation guarantees
/// - One counter: each committed write has a revision of its own, greater than all before, whatever its key.
/// - Durable before answered: a write that was answered survives a power failure.
/// - Linearizable: an answer shows every write that was answered before the call began, also those of another API server on
///   the same store.
/// - A watch leaves nothing out: after revision `after` it delivers every change below its prefix once, in order of
///   revision, and never part of a revision. What it cannot deliver ends it with an error.
/// - A write that ends in [`BackendError::Unavailable`] may have happened or may still happen. Every other error means that
///   it did not.
///
/// # What it may assume
/// Keys and values are opaque and at most 1.5 MiB (etcd's limit). Futures may be dropped at any await; a write that has
/// been sent may then happen unseen, as if its answer had been lost.
///
/// # Example
/// The one way in which the API server writes: read, compute, and write if nobody was faster.
/// ```
/// use bytes::Bytes;
/// use skiff_store::backend::{Backend, BackendError, Swapped};
///
/// async fn append(store: &dyn Backend, key: Bytes, tail: &[u8]) -> Result<(), BackendError> {
///     loop {
///         let present = store.get(key.clone()).await?.entry;
///         let (expected, old) = present.map_or((0, Bytes::new()), |entry| (entry.mod_revision, entry.value));
///         let value = Bytes::from([&old[..], tail].concat());
///         if let Swapped::Done(_) = store.put(key.clone(), value, expected, 0).await? {
///             return Ok(());
///         }
///     }
/// }
/// ```
pub trait Backend: Send + Sync + 'static {
    /// Reads one key at the present revision.
    fn get(&self, key: Bytes) -> BoxFuture<'_, Result<Got, BackendError>>;

    /// Reads the keys below a prefix, as they stood together at one revision.
    ///
    /// A long list is read in pages: each next call names the first page's revision and, as `from`, the last key with a
    /// zero byte behind it.
    ///
    /// # Errors
    /// [`BackendError::Compacted`] when the revision asked for is no longer kept, [`BackendError::Future`] when it has not
    /// happened yet.
    fn list(&self, range: ListRange) -> BoxFuture<'_, Result<Listed, BackendError>>;

    /// Writes `value` if the key's `mod_revision` is `expected` (0: if it does not exist). `ttl_seconds` attaches a lease
    /// (0: none), after whose end the key is deleted.
    ///
    /// # Errors
    /// [`BackendError::NoSpace`] and [`BackendError::TooLarge`]: nothing was written.
    fn put(
        &self,
        key: Bytes,
        value: Bytes,
        expected: Revision,
        ttl_seconds: i64,
    ) -> BoxFuture<'_, Result<Swapped, BackendError>>;

    /// Deletes the key if its `mod_revision` is `expected`. A full store still deletes, or it could not be emptied.
    fn delete(&self, key: Bytes, expected: Revision) -> BoxFuture<'_, Result<Swapped, BackendError>>;

    /// Every change below `prefix` after revision `after`, and now and then how far it is.
    ///
    /// # Errors
    /// The stream ends with [`BackendError::Compacted`] when the next change is no longer kept or the watcher fell too far
    /// behind; whoever watches then lists again. With [`BackendError::Unavailable`] it may go on from the last revision seen.
    fn watch(&self, prefix: Bytes, after: Revision) -> BoxStream<'static, Result<WatchBatch, BackendError>>;

    /// What has happened below `prefix` after revision `after`, as far as is known at once. Who follows a prefix learns with it that
    /// it has seen everything, though others are written to all the time.
    fn since(&self, _prefix: &Bytes, _after: Revision) -> Since {
        Since::Unknown
    }

    /// Bytes on disk, for health and metrics.
    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, BackendError>>;

    /// Whether it answers a read now that is as good as any: of a cluster, one that most members agree on. Bounded.
    fn health(&self) -> BoxFuture<'_, Result<(), BackendError>>;
}
