//! The etcd stand-in: an MVCC key/value store with watch and leases, and its etcd v3 gRPC service.
//!
//! The store knows keys and bytes, no Kubernetes word. [`Store`] is the embedded store; [`backend::Backend`] is the API
//! server's door to it, and to any etcd through [`etcd::Remote`].

pub mod backend;
mod error;
pub mod etcd;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use backend::{Backend, BackendError, Revision};
pub use error::StoreError;

/// How a store behaves; the default suits one node.
#[derive(Debug, Clone)]
pub struct Options {
    /// Refuse writes once the kept history reaches this many bytes (etcd's `--quota-backend-bytes`).
    pub quota_bytes: u64,
    /// Pages of the database kept in memory, at most.
    pub cache_bytes: usize,
    /// Compact history older than this; `None`: only when asked (etcd's `--auto-compaction-retention`). Costs nothing while
    /// nothing is written.
    pub history_kept: Option<Duration>,
    /// How often an idle watch that asked for it is told the revision (`--experimental-watch-progress-notify-interval`).
    pub progress_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            quota_bytes: 2 << 30,
            cache_bytes: 8 << 20,
            history_kept: None,
            progress_interval: Duration::from_secs(5),
        }
    }
}

/// The embedded store: one folder, one writer, any number of readers.
#[derive(Clone)]
pub struct Store {
    _private: (),
}

impl Store {
    /// Opens or makes the store in `folder` and takes the folder's lock. Blocks while it reads the index.
    pub fn open(folder: &Path, options: Options) -> Result<Self, StoreError> {
        let _ = options;
        Err(StoreError::Foreign { path: folder.to_owned(), what: "the embedded store is being written".to_owned() })
    }

    /// The API server's door to this store.
    pub fn backend(&self) -> Arc<dyn Backend> {
        unreachable!("no Store can be opened yet")
    }

    /// Finishes what is queued, closes the database and releases the folder. Later requests on clones are refused.
    pub async fn close(self) {}
}
