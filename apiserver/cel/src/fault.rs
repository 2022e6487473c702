//! Why an evaluation gives no value.

use std::fmt;

/// Why an evaluation gives no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The expression is wrong for these values; `&&`, `||` and comprehensions can absorb it.
    Error(Box<str>),
    /// It cost more than it may; nothing absorbs that.
    CostExceeded,
}

impl Fault {
    /// An error with that message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Error(message.into().into())
    }

    /// The arguments fit no overload, and the message does not say whose.
    pub(crate) fn no_overload() -> Self {
        Self::new("no such overload")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(message) => f.write_str(message),
            Self::CostExceeded => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}

impl std::error::Error for Fault {}
