//! The trace: one JSON line a step, appended by every program that takes part.
//!
//! The file is opened with `O_APPEND` and each line is one write(2), so lines of several processes do not mix (POSIX
//! write, "O_APPEND … no intervening file modification").

use crate::Step;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
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

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The open trace file.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    file: std::fs::File,
}

impl File {
    /// Opens (and creates) `path` for appending; the descriptor is close-on-exec, as all of std's are.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The path as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line. A trace must never break what it observes, so a full disk loses lines, not containers.
    pub(crate) fn append(&self, line: &Line) {
        if let Ok(mut text) = serde_json::to_vec(line) {
            text.push(b'\n');
            let _lost_when_full = (&self.file).write_all(&text);
        }
    }
}
