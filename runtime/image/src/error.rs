//! What can go wrong with images: every error names the operation and its operand.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Why an image operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The text is no image reference.
    #[error("image reference `{reference}`: {reason}")]
    Reference {
        /// As it was given.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is no digest (`sha256:` and 64 lower-case hexadecimal digits).
    #[error("digest `{0}`: expected sha256: and 64 lower-case hexadecimal digits")]
    Digest(String),
    /// A container id that may not become a file name.
    #[error("container id `{0}`: expected [a-z0-9][a-z0-9._-]{{0,252}}")]
    ContainerId(String),
    /// A system call or file operation failed.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The archive or one of its documents is not what it says it is.
    #[error("{what}: {reason}")]
    Malformed {
        /// Which archive, document or entry.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes do not have the digest under which they were announced.
    #[error("{what}: expected {expected}, got {actual}")]
    Mismatch {
        /// Which blob or layer.
        what: String,
        /// As announced.
        expected: String,
        /// As computed.
        actual: String,
    },
    /// An image exceeds a limit; the limit's name says which.
    #[error("{what}: more than {limit}")]
    TooLarge {
        /// What exceeds it.
        what: String,
        /// The limit with its unit.
        limit: String,
    },
    /// A registry did not do what it was asked for.
    #[error("{operation} {reference}")]
    Registry {
        /// `pull` or `push`.
        operation: &'static str,
        /// Which image.
        reference: String,
        /// Why.
        source: skiff_distribution::RegistryError,
    },
    /// No image goes by this name or id.
    #[error("no image `{0}`")]
    NotFound(String),
    /// No snapshot belongs to this container.
    #[error("no snapshot of container `{0}`")]
    NoSnapshot(String),
    /// The protocol has it, this program does not yet.
    #[error("{0}")]
    Unimplemented(String),
    /// A fault was planned at this step.
    #[error("{step}: {source}")]
    Injected {
        /// The step.
        step: &'static str,
        /// The planned errno.
        source: std::io::Error,
    },
}

impl ImageError {
    /// The text with its causes.
    #[must_use]
    pub fn chain(&self) -> String {
        skiff_distribution::chain(self)
    }

    pub(crate) fn malformed(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { what: what.into(), reason: reason.into() }
    }
}

impl From<skiff_step::Injected> for ImageError {
    fn from(fault: skiff_step::Injected) -> Self {
        Self::Injected { step: fault.step, source: std::io::Error::from_raw_os_error(fault.errno) }
    }
}

/// Refuses what came as something else than it was announced as.
pub(crate) fn expect<T: PartialEq + Display>(
    what: impl Display,
    announced: &T,
    computed: &T,
) -> Result<(), ImageError> {
    if announced == computed {
        return Ok(());
    }
    let (what, expected, actual) = (what.to_string(), announced.to_string(), computed.to_string());
    Err(ImageError::Mismatch { what, expected, actual })
}

/// Adds the operation and the operand to an error of the operating system.
pub(crate) trait On<T> {
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, ImageError>;
}

impl<T, E: Into<std::io::Error>> On<T> for Result<T, E> {
    fn on(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, ImageError> {
        self.map_err(|source| ImageError::Io { operation, path: path.as_ref().to_owned(), source: source.into() })
    }
}
