//! What can go wrong, said as operation, operand and reason; and the performer of named steps.

use nix::errno::Errno;
use skiff_step::{Engine, Step};
use std::fmt::Display;

/// Why a command of the runtime was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kernel said no.
    #[error("{operation} {operand}: {}", errno.desc())]
    Failed {
        /// What was tried: a step's id or a few words.
        operation: &'static str,
        /// On what.
        operand: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A field of config.json asks for what we cannot give.
    #[error("{field}: {reason}")]
    Refused {
        /// The field's path, as in `linux.seccomp.listenerPath`.
        field: String,
        /// Why.
        reason: String,
    },
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// Nobody reads our standard output any more: a reason to end, and nothing to say.
    #[error("nobody reads standard output any more")]
    Closed,
    /// Everything else, including what the container's first process reported before it became the payload.
    #[error("{0}")]
    Said(String),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Refuses the field at `field`.
    pub(crate) fn refused(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { field: field.into(), reason: reason.into() }
    }

    /// The kernel's answer, if that is what this is.
    pub(crate) fn errno(&self) -> Option<Errno> {
        if let Self::Failed { errno, .. } = self { Some(*errno) } else { None }
    }
}

/// Adds operation and operand to an error of the kernel or the standard library.
pub(crate) trait On<T> {
    /// `Err` becomes `operation operand: reason`.
    fn on(self, operation: &'static str, operand: impl Display) -> Result<T>;
}

impl<T, E: IntoErrno> On<T> for std::result::Result<T, E> {
    fn on(self, operation: &'static str, operand: impl Display) -> Result<T> {
        self.map_err(|error| failed(operation, &operand, error.into_errno()))
    }
}

/// Kept out of line: nearly every call of the kernel ends here or does not.
#[cold]
#[inline(never)]
fn failed(operation: &'static str, operand: &dyn Display, reason: std::result::Result<Errno, String>) -> Error {
    match reason {
        Ok(errno) => Error::Failed { operation, operand: operand.to_string(), errno },
        Err(text) => Error::Said(format!("{operation} {operand}: {text}")),
    }
}

/// Errors that usually carry an errno.
pub(crate) trait IntoErrno {
    /// The errno, or the text of an error that has none.
    fn into_errno(self) -> std::result::Result<Errno, String>;
}

impl IntoErrno for Errno {
    fn into_errno(self) -> std::result::Result<Errno, String> {
        Ok(self)
    }
}

impl IntoErrno for std::io::Error {
    fn into_errno(self) -> std::result::Result<Errno, String> {
        self.raw_os_error().map(Errno::from_raw).ok_or_else(|| self.to_string())
    }
}

impl IntoErrno for serde_json::Error {
    fn into_errno(self) -> std::result::Result<Errno, String> {
        Err(self.to_string())
    }
}

/// Performs named steps and turns their failures into [`Error`]s.
#[derive(Debug, Clone)]
pub(crate) struct Acts(Engine);

impl Acts {
    pub(crate) const fn new(engine: Engine) -> Self {
        Self(engine)
    }

    /// The same, with lines that carry the correlation id of a container.
    pub(crate) fn correlated(&self, id: Option<&str>) -> Self {
        Self(self.0.correlated(id))
    }

    /// Performs `operation` on `operand` as `step`.
    pub(crate) fn step<T>(
        &self,
        step: &Step,
        operand: impl Display,
        operation: impl FnOnce() -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        self.0.run(step, || operand.to_string(), operation).on(step.id, &operand)
    }

    /// Like [`Acts::step`] for an operation that does not come back when it succeeds.
    pub(crate) fn last_step<T>(
        &self,
        step: &Step,
        operand: impl Display,
        operation: impl FnOnce() -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        self.0.leave(step, || operand.to_string(), operation).on(step.id, &operand)
    }

    /// Like [`Acts::step`] for an operation of the standard library.
    pub(crate) fn step_io<T>(
        &self,
        step: &Step,
        operand: impl Display,
        operation: impl FnOnce() -> std::io::Result<T>,
    ) -> Result<T> {
        self.0.run(step, || operand.to_string(), operation).on(step.id, &operand)
    }
}
