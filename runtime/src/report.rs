//! Saying what went wrong: a sentence for people on standard error, a line for engines in their log file.

use crate::cli::Words;
use crate::time;
use std::fs::OpenOptions;
use std::io::Write;

/// Reports `text` as the command's failure.
pub(crate) fn failure(global: &Words, text: &str) {
    let text = printable(text);
    eprintln!("skiff-oci: {text}");
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
        eprintln!("skiff-oci: log {path}: {error}");
    }
}

/// Texts may quote names that an image chose; they must not drive the terminal of who reads them.
fn printable(text: &str) -> String {
    text.trim_end().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
