//! The trace: one JSON line a step, appended by every program that takes part.
//!
//! The file is opened with `O_APPEND` and each line is one write(2), so lines of several processes do not mix (POSIX
//! write, "O_APPEND … no intervening file modification").

use crate::Step;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It failed, with this text.
    Error(String),
}

/// One line of the trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it began, microseconds since the epoch.
    pub at_us: u64,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// Which program: `apiserver`, `kubelet`, `cri`, `oci`, …
    pub component: String,
    /// Process id of the writer.
    pub pid: u32,
    /// `<pod uid>/<attempt>`, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// The step's id.
    pub step: String,
    /// The clause that asks for it.
    pub clause: String,
    /// On what.
    pub operand: String,
    /// How it ended.
    pub outcome: Outcome,
}

impl Line {
    pub(crate) fn new(
        component: &str,
        step: &Step,
        at: SystemTime,
        took: Duration,
        correlation: Option<&str>,
        operand: String,
        outcome: Outcome,
    ) -> Self {
        Self {
            at_us: micros(at.duration_since(UNIX_EPOCH).unwrap_or_default()),
            took_us: micros(took),
            component: component.to_owned(),
            pid: std::process::id(),
            correlation: correlation.map(str::to_owned),
            step: step.id.to_owned(),
            clause: step.clause.to_owned(),
            operand,
            outcome,
        }
    }
}

impl Line {
    /// As it stands in the file.
    fn text(&self) -> Vec<u8> {
        // Strings and numbers can always be written so.
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The open trace file.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    file: std::fs::File,
    /// Lines that could not be written since one could.
    lost: AtomicU64,
    /// Whether the file ends in the middle of one.
    torn: AtomicBool,
}

/// Says in the trace itself what is missing from it.
const LOST: Step = Step::new("trace.lost", "skiff-step, the trace");

impl File {
    /// Opens (and creates) `path` for appending; the descriptor is close-on-exec, as all of std's are.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { path: path.to_owned(), file, lost: AtomicU64::new(0), torn: AtomicBool::new(false) })
    }

    /// The path as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line. A trace must never break what it observes, so a full disk loses lines, not containers; the next line that finds
    /// room comes with one that says how many were lost.
    pub(crate) fn append(&self, line: &Line) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut text = Vec::new();
        if self.torn.swap(false, Ordering::Relaxed) {
            text.push(b'\n');
        }
        if lost > 0 {
            let (now, operand) = (SystemTime::now(), format!("{lost} lines could not be written"));
            let note = Line::new(&line.component, &LOST, now, Duration::ZERO, None, operand, Outcome::Ok);
            text.extend(note.text());
        }
        text.extend(line.text());
        match (&self.file).write(&text) {
            Ok(written) if written == text.len() => {}
            Ok(_) => {
                self.torn.store(true, Ordering::Relaxed);
                self.lost.fetch_add(lost + 1, Ordering::Relaxed);
            }
            Err(_) => drop(self.lost.fetch_add(lost + 1, Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault N2: a full disk loses lines, and the trace says how many.
    #[test]
    fn lines_that_found_no_room_are_counted() {
        let line = |operand: &str| {
            Line::new("test", &LOST, SystemTime::now(), Duration::ZERO, None, operand.to_owned(), Outcome::Ok)
        };
        let mut file = File::open(Path::new("/dev/full")).unwrap();
        file.append(&line("a"));
        file.append(&line("b"));
        let folder = std::env::temp_dir().join(format!("skiff-trace-{}", std::process::id()));
        file.file = std::fs::File::create(&folder).unwrap();
        file.append(&line("c"));
        file.append(&line("d"));
        let text = std::fs::read_to_string(&folder).unwrap();
        std::fs::remove_file(&folder).unwrap();
        let operands: Vec<_> = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().operand).collect();
        assert_eq!(operands, ["2 lines could not be written", "c", "d"]);
    }
}
