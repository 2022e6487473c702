//! What can go wrong, and which gRPC code says so.

use skiff_image::{ImageError, Kind};
use skiff_net::NetError;
use std::io;
use std::sync::Arc;
use tonic::Status;

/// Why an operation of the CRI service failed; each text names operation and operand.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// A field of the request cannot be what it is.
    #[error("{0}")]
    Invalid(String),
    /// Nothing has this id.
    #[error("{kind} {id}: not found")]
    NotFound {
        /// `sandbox`, `container` or `image`.
        kind: &'static str,
        /// As asked.
        id: String,
    },
    /// The name is taken.
    #[error("{name} is reserved for {id}")]
    Taken {
        /// Kind and metadata.
        name: String,
        /// Who has it.
        id: String,
    },
    /// The object is not in the state that the operation needs.
    #[error("{0}")]
    Precondition(String),
    /// The pod's supervisor ended before it answered, or was not there: what was asked of its containers is moot.
    #[error("{0}: the supervisor of the pod has ended")]
    Gone(String),
    /// The protocol has it, Skiff has not.
    #[error("{0} is not implemented")]
    Unimplemented(String),
    /// It took longer than the caller allowed.
    #[error("{0}")]
    Timeout(String),
    /// A file or system call.
    #[error("{operation}: {source}")]
    Io {
        /// Operation and operand.
        operation: String,
        /// Why.
        source: io::Error,
    },
    /// The supervisor or the OCI runtime refused, in their words.
    #[error("{0}")]
    Runtime(String),
    /// Images and snapshots.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A pull, for everybody who waited for it.
    #[error(transparent)]
    Pull(#[from] Arc<ImageError>),
    /// Pod networks.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A planned fault struck.
    #[error("{}: {}", .0.step, io::Error::from_raw_os_error(.0.errno))]
    Injected(skiff_step::Injected),
    /// A teardown kept going and these failed.
    #[error("{0}")]
    Left(String),
}

impl From<skiff_step::Injected> for CriError {
    fn from(fault: skiff_step::Injected) -> Self {
        Self::Injected(fault)
    }
}

impl From<CriError> for Status {
    fn from(error: CriError) -> Self {
        let text = error.chain();
        match error {
            CriError::Invalid(_) => Self::invalid_argument(text),
            CriError::NotFound { .. } | CriError::Image(ImageError::NotFound(_)) => Self::not_found(text),
            CriError::Taken { .. } => Self::already_exists(text),
            CriError::Precondition(_) | CriError::Gone(_) => Self::failed_precondition(text),
            CriError::Unimplemented(_) | CriError::Image(ImageError::Unimplemented(_)) => Self::unimplemented(text),
            CriError::Timeout(_) => Self::deadline_exceeded(text),
            CriError::Image(ImageError::Reference { .. } | ImageError::Digest(_)) => Self::invalid_argument(text),
            CriError::Pull(error) => of_pull(&error, text),
            CriError::Io { .. }
            | CriError::Runtime(_)
            | CriError::Image(_)
            | CriError::Net(_)
            | CriError::Injected(_)
            | CriError::Left(_) => Self::unknown(text),
        }
    }
}

/// The code by which a client can tell whether another try may help.
fn of_pull(error: &ImageError, text: String) -> Status {
    match error {
        ImageError::NotFound(_) => Status::not_found(text),
        ImageError::Unimplemented(_) => Status::unimplemented(text),
        ImageError::Reference { .. } | ImageError::Digest(_) => Status::invalid_argument(text),
        ImageError::Registry { source, .. } => match source.kind {
            Kind::NotFound => Status::not_found(text),
            Kind::Denied => Status::permission_denied(text),
            Kind::Limited => Status::resource_exhausted(text),
            Kind::Unreachable | Kind::Failed => Status::unavailable(text),
            Kind::Protocol | Kind::Configuration => Status::unknown(text),
        },
        _ => Status::unknown(text),
    }
}

impl CriError {
    /// The text with its causes: other crates keep theirs in `source()`.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        text
    }
}

/// Says on what an I/O operation failed.
pub(crate) trait During<T> {
    /// `operation` is verb and operand.
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, CriError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, CriError> {
        self.map_err(|source| CriError::Io { operation: operation(), source: source.into() })
    }
}
