//! Refusals, as CSI has them: the code says what the caller may do about it.

use tonic::{Code, Status};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The request says too little or contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// There is no such volume.
    #[error("volume {0} does not exist")]
    Absent(String),
    /// It is there, and different from what is asked for.
    #[error("{0}")]
    Different(String),
    /// The sizes asked for cannot be had.
    #[error("{0}")]
    Size(String),
    /// The disk is too full.
    #[error("{0}")]
    Full(String),
    /// The caller's view is out of date: it has to begin anew.
    #[error("{0}")]
    Stale(String),
    /// Something has to be done before.
    #[error("{0}")]
    NotNow(String),
    /// The machine did not do it.
    #[error("{operation}: {why}")]
    Failed {
        /// What was being done to what.
        operation: String,
        /// What it said.
        why: String,
    },
}

pub(crate) type Done<T> = Result<T, Refusal>;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Invalid(_) => Code::InvalidArgument,
            Refusal::Absent(_) => Code::NotFound,
            Refusal::Different(_) => Code::AlreadyExists,
            Refusal::Size(_) => Code::OutOfRange,
            Refusal::Full(_) => Code::ResourceExhausted,
            Refusal::Stale(_) => Code::Aborted,
            Refusal::NotNow(_) => Code::FailedPrecondition,
            Refusal::Failed { .. } => Code::Internal,
        };
        Self::new(code, refusal.to_string())
    }
}

/// Says what was being done.
pub(crate) trait During<T> {
    /// Names the operation and its operand.
    fn during(self, operation: impl FnOnce() -> String) -> Done<T>;
}

impl<T, E: std::fmt::Display> During<T> for Result<T, E> {
    fn during(self, operation: impl FnOnce() -> String) -> Done<T> {
        self.map_err(|why| Refusal::Failed { operation: operation(), why: why.to_string() })
    }
}

/// A field that a request must have.
pub(crate) fn required<'a>(field: &str, value: &'a str) -> Done<&'a str> {
    if value.is_empty() { Err(Refusal::Invalid(format!("{field} is missing"))) } else { Ok(value) }
}
