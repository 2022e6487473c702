//! Words for the user: the only place that writes to standard output and standard error.
//!
//! `println!` panics when nobody reads any more, as in `skiff get events | head -1`. There are two answers to that, and each
//! caller chooses one:
//!
//! - `show!` is for what a command was asked for. Without a reader the command has lost its purpose: [`Closed`] goes up to
//!   `exit`, which ends quietly, with the code that a shell gives to a program that died of SIGPIPE.
//! - `tell!` is for what a command says while it does something. The work goes on, without the words.

use anyhow::Context;
use std::fmt::{self, Arguments};
use std::io::{self, ErrorKind, Write};

/// Nobody reads our output any more.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("nobody reads standard output any more")
    }
}

impl std::error::Error for Closed {}

/// Writes a line that the command was asked for: `show!("{name}")?`.
macro_rules! show {
    ($($words:tt)*) => { $crate::out::print(format_args!("{}\n", format_args!($($words)*))) };
}

/// Writes a line about the command's work: `tell!("removed {number} pods")`.
macro_rules! tell {
    ($($words:tt)*) => { $crate::out::try_print(format_args!($($words)*)) };
}

/// Writes a line to standard error.
macro_rules! complain {
    ($($words:tt)*) => { $crate::out::try_print_error(format_args!($($words)*)) };
}

pub(crate) use {complain, show, tell};

/// Writes `words` to standard output at once.
///
/// # Errors
/// [`Closed`], or what the kernel says.
pub(crate) fn print(words: Arguments<'_>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    passed_on(out.write_fmt(words).and_then(|()| out.flush()))
}

/// Writes `bytes` to standard output at once.
///
/// # Errors
/// [`Closed`], or what the kernel says.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    passed_on(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Writes a line to standard output; when that fails for another reason than a missing reader, standard error has it.
pub(crate) fn try_print(words: Arguments<'_>) {
    let mut out = io::stdout().lock();
    match out.write_fmt(format_args!("{words}\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => complain!("skiff: write to standard output: {error}"),
        _ => {}
    }
}

/// Writes a line to standard error. Who cannot be told anything is not told why.
pub(crate) fn try_print_error(words: Arguments<'_>) {
    let _nobody_listens = io::stderr().lock().write_fmt(format_args!("{words}\n"));
}

fn passed_on(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => written.context("write to standard output"),
    }
}
