//! Saying what went wrong: a sentence for people on standard error, a line for engines in their log file.

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
    let _nobody_listens = std::io::stderr().lock().write_fmt(format_args!("skiff-oci: {text}\n"));
}

/// Reports `text` as the command's failure.
pub(crate) fn failure(global: &Words, text: &str) {
    let text = printable(text);
    complain(&text);
    line(global, "error", &text);
}

/// Appends one line to the file of `--log`, if one is given.
pub(crate) fn line(global: &Words, level: &str, text: &str) {
    let Some(path) = global.value("log").filter(|path| !path.is_empty()) else { return };
    let time = time::now();
    let line = match global.value("log-format") {
        Some("json") => serde_json::json!({"level": level, "msg": text, "time": time}).to_string(),
        _ => format!("time=\"{time}\" level={level} msg={text:?}"),
    };
    let written = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        complain(&format!("log {path}: {error}"));
    }
}

/// Texts may quote names that an image chose; they must not drive the terminal of who reads them.
fn printable(text: &str) -> String {
    text.trim_end().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
