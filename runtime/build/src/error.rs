//! Why a build failed: the line, and a sentence.

use skiff_image::ImageError;

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Something is wrong with a line of the Dockerfile.
    #[error("line {line}: {message}")]
    Line {
        /// Counted from 1.
        line: u32,
        /// What is wrong.
        message: String,
    },
    /// Something is wrong with the whole.
    #[error("{0}")]
    Whole(String),
    /// The store failed at a line.
    #[error("line {line}: {instruction}")]
    Store {
        /// Counted from 1.
        line: u32,
        /// As it was written.
        instruction: String,
        /// Why.
        source: ImageError,
    },
}

impl BuildError {
    pub(crate) fn at(line: u32, message: impl Into<String>) -> Self {
        Self::Line { line, message: message.into() }
    }
}
