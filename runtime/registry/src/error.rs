//! What can go wrong with the folder; every error names the operation and the file.

use crate::refusal::{Code, Refusal};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why the registry's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A file operation failed.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The journal has a line that is not what was written, with later ones behind it.
    #[error("the journal {} is damaged at line {line}: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A change could not be made durable; what the disk has of it is not known, so nothing more is written.
    #[error("an earlier change could not be made durable; the registry must be started again")]
    Poisoned,
}

/// Adds the operation and the operand to an error of the operating system.
pub(crate) trait On<T> {
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, StorageError>;
}

impl<T> On<T> for std::io::Result<T> {
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io { operation, path: path.as_ref().to_owned(), source })
    }
}

impl StorageError {
    /// An error with its causes, as one sentence.
    fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        text
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        // Strangers are not told where our files are.
        tracing::error!("{}", error.chain());
        match &error {
            StorageError::Io { source, .. }
                if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
            {
                Self::new(507, Code::Unknown, "the registry's disk is full")
            }
            _ => Self::new(500, Code::Unknown, "the registry cannot use its folder; its log says why"),
        }
    }
}
