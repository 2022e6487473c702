//! Saying what went wrong, as runc does: lines with a level for engines in their log, which is standard error unless they name
//! a file, and then a sentence for people there.

use crate::cli::Words;
use crate::error::{Error, On, Result};
use crate::time;
use std::fmt::Arguments;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

/// Writes a line to standard output: `show!("{id}")?`. `println!` would panic when nobody reads any more.
macro_rules! show {
    ($($words:tt)*) => { $crate::report::print(format_args!($($words)*)) };
}
pub(crate) use show;

/// Writes `words` and a newline to standard output at once.
///
/// # Errors
/// [`Error::Closed`], or what the kernel says.
pub(crate) fn print(words: Arguments<'_>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(format_args!("{words}\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Error::Closed),
        written => written.on("write", "standard output"),
    }
}

/// A line on standard error. Who cannot be told anything is not told why.
fn complain(text: &str) {
    let _nobody_listens = std::io::stderr().lock().write_fmt(format_args!("{text}\n"));
}

/// Reports `text` as the command's failure: in the log, and in plain words for people where the log is a file.
pub(crate) fn failure(global: &Words, text: &str) {
    let text = printable(text);
    line(global, "error", &text);
    if log_file(global).is_some() {
        complain(&text);
    }
}

/// Reports what does not stop the command.
pub(crate) fn warning(global: &Words, text: &str) {
    line(global, "warning", &printable(text));
}

/// Reports what is of interest to who looks for a mistake.
pub(crate) fn debug(global: &Words, text: &str) {
    line(global, "debug", &printable(text));
}

/// Adds one line to the log, which is the file of `--log`, or standard error (as with runc, whose readers look for `level=`).
fn line(global: &Words, level: &str, text: &str) {
    let time = time::now();
    let line = match global.value("log-format") {
        Some("json") => serde_json::json!({"level": level, "msg": text, "time": time}).to_string(),
        _ => format!("time=\"{time}\" level={level} msg={text:?}"),
    };
    let Some(path) = log_file(global) else { return complain(&line) };
    let written = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        complain(&line);
        complain(&format!("time=\"{time}\" level=error msg={:?}", format!("log {path}: {error}")));
    }
}

fn log_file(global: &Words) -> Option<&str> {
    global.value("log").filter(|path| !path.is_empty())
}

/// Texts may quote names that an image chose; they must not drive the terminal of who reads them.
fn printable(text: &str) -> String {
    text.trim_end().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
