//! Why a suite could not be run. That a suite fails is no error: it is an [`crate::Outcome`].

use std::fmt::Display;
use std::io;
use std::time::Duration;
use thiserror::Error;

/// Why a suite could not be run to its end.
#[derive(Debug, Error)]
pub enum Error {
    /// This machine lacks something; a test skips, saying this.
    #[error("{what} is not here: {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// How to get it.
        remedy: String,
    },
    /// What was asked for contradicts itself, or the host's files.
    #[error("{0}")]
    Refused(String),
    /// The machine did not get as far as process 1, however often it was started.
    #[error("the guest did not start in {boots} boots; its last lines:\n{console}")]
    NotBooted {
        /// How often it was started.
        boots: u32,
        /// The end of the console of the last boot.
        console: String,
    },
    /// The watchdog ended the machine.
    #[error("the guest was stopped {why}; its last lines:\n{console}")]
    Stopped {
        /// Which limit was passed.
        why: Limit,
        /// The end of its console.
        console: String,
    },
    /// The machine ended by itself before the suite did: a kernel panic, or process 1 in trouble.
    #[error("the guest ended before its suite did ({trouble}); its last lines:\n{console}")]
    Died {
        /// What process 1 said, if it could.
        trouble: String,
        /// The end of its console.
        console: String,
    },
    /// A file or a process of the host.
    #[error("{operation} {operand}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        operand: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// A limit of the watchdog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Limit {
    /// All of it together took too long.
    #[error("after {0:?}, which is all the time it had")]
    Total(Duration),
    /// Nothing was heard for too long.
    #[error("because nothing was heard of it for {0:?}")]
    Silence(Duration),
}

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the operation and operand of an I/O error.
pub(crate) trait On<T> {
    fn on(self, operation: &'static str, operand: impl Display) -> Result<T>;
}

impl<T> On<T> for io::Result<T> {
    fn on(self, operation: &'static str, operand: impl Display) -> Result<T> {
        self.map_err(|source| Error::Io { operation, operand: operand.to_string(), source })
    }
}
