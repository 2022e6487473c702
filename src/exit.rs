//! How an error is shown, and what the exit code means.
//!
//! 0: done. 1: refused or failed, with one sentence on stderr. 2: the command line is wrong (clap). For `exec` the exit code
//! is that of the command in the container; for `why`, 1: a cause was found, 2: it could not tell; for `run`, 3: the image cannot be had, 4: the
//! container does not start or ends, 5: nothing listens at the port. 141: nobody read the output to its end, as a shell says of a program that died of
//! SIGPIPE.

use crate::out::{Closed, complain};
use std::fmt;
use std::process::ExitCode;

/// The exit code of a program that ran somewhere else, passed on as our own.
#[derive(Debug)]
pub(crate) struct Exited(pub(crate) u8);

impl fmt::Display for Exited {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "command terminated with exit code {}", self.0)
    }
}

impl std::error::Error for Exited {}

/// Everything has been said; only the exit code is left.
#[derive(Debug)]
pub(crate) struct Said(pub(crate) u8);

impl fmt::Display for Said {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "exit code {}", self.0)
    }
}

impl std::error::Error for Said {}

/// An error whose kind the exit code tells.
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl fmt::Display for Coded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Coded {}

/// 128 and SIGPIPE's number.
const CLOSED: u8 = 141;

/// The whole chain in one sentence.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    skiff_client::sentence(error.as_ref())
}

/// Prints the error in one sentence.
pub(crate) fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if error.is::<Closed>() {
        return ExitCode::from(CLOSED);
    }
    if let Some(Said(code)) = error.downcast_ref::<Said>() {
        return ExitCode::from(*code);
    }
    complain!("skiff: {}", sentence(&error));
    let exited = error.downcast_ref::<Exited>().map(|exited| exited.0);
    let code = exited.or_else(|| error.downcast_ref::<Coded>().map(|coded| coded.code));
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
