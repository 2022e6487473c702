//! Why a store cannot be opened, served or reached.

use std::io;
use std::path::PathBuf;

/// An error of the store itself, as opposed to the refusal of one request (see [`crate::backend::BackendError`]).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the folder's lock.
    #[error("data folder {} is in use by another node ({holder})", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// `pid 123`, or what is known instead.
        holder: String,
    },
    /// A file operation failed: read-only folder, full disk, missing rights.
    #[error("{operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is not a store of ours, or is damaged.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The engine failed; the store takes no more requests until it is opened anew.
    #[error("the store failed and must be opened anew: {0}")]
    Poisoned(String),
    /// An address cannot be served or parsed.
    #[error("{operation} {address}: {what}")]
    Listen {
        /// What was tried.
        operation: &'static str,
        /// The address as given.
        address: String,
        /// Why it failed.
        what: String,
    },
    /// No endpoint of a remote store could be used.
    #[error("connect to {endpoints}: {what}")]
    Connect {
        /// The endpoints as given.
        endpoints: String,
        /// Why it failed.
        what: String,
    },
}
