//! What is recorded and where: kube-apiserver's flags of auditing, under their names.

use serde_json::Value;
use skiff_audit::{Policy, ReadPolicy};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// When an event goes where it is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditMode {
    /// Later, through a bounded queue: what does not fit is dropped and told of.
    Batch,
    /// Before the request goes on.
    Blocking,
    /// The same, and a request whose arrival cannot be recorded is refused.
    BlockingStrict,
}

/// A queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AuditBatch {
    /// How many events wait at most.
    pub events_max: usize,
    /// How many go together at most.
    pub size_max: usize,
    /// How long the first of them waits for others.
    pub wait: Duration,
    /// How many batches go a second, and how many at once after a rest; `None`: as many as there are.
    pub throttle: Option<(f64, u32)>,
}

/// How large an event may be, and the events of one batch together; in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditLimits {
    /// `--audit-…-truncate-max-event-size`.
    pub event_bytes: usize,
    /// `--audit-…-truncate-max-batch-size`.
    pub batch_bytes: usize,
}

/// A file.
#[derive(Debug, Clone)]
pub struct AuditLog {
    /// `-`: standard output.
    pub path: PathBuf,
    /// `legacy`: lines of text; else JSON.
    pub legacy: bool,
    /// When events are written.
    pub mode: AuditMode,
    /// The queue of [`AuditMode::Batch`].
    pub batch: AuditBatch,
    /// `None`: events are as large as they are.
    pub limits: Option<AuditLimits>,
    /// When the file is put aside and another begun.
    pub rotation: Rotation,
}

/// When a file is put aside, and for how long. 0: never, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// At which size.
    pub bytes_max: u64,
    /// How many old files stay.
    pub files_max: usize,
    /// For how many days.
    pub days_max: u32,
    /// Whether old files are compressed.
    pub compress: bool,
}

/// A server of others.
#[derive(Debug, Clone)]
pub struct AuditWebhook {
    /// A kubeconfig that says where it is and as whom we come.
    pub config_file: PathBuf,
    /// How long to wait after a batch that did not arrive; longer after each of its failures.
    pub initial_backoff: Duration,
    /// When events are sent.
    pub mode: AuditMode,
    /// The queue of [`AuditMode::Batch`].
    pub batch: AuditBatch,
    /// `None`: events are as large as they are.
    pub limits: Option<AuditLimits>,
}

/// What is recorded and where.
#[derive(Debug, Clone)]
pub struct Audit {
    pub(crate) policy: Policy,
    /// Where to; `None`: to no file.
    pub log: Option<AuditLog>,
    /// Whom events are sent to; `None`: nobody.
    pub webhook: Option<AuditWebhook>,
}

/// Why auditing does not begin.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", .path.display())]
pub struct AuditError {
    operation: &'static str,
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl AuditError {
    pub(super) fn new(
        operation: &'static str,
        path: &Path,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { operation, path: path.to_owned(), source: source.into() }
    }
}

impl Audit {
    /// Reads the policy.
    ///
    /// # Errors
    /// The file cannot be read, or is no policy.
    pub fn read(policy: &Path) -> Result<Self, AuditError> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| AuditError::new("read audit policy", policy, source);
        let text = std::fs::read_to_string(policy).map_err(|error| failed(error.into()))?;
        let value: Value = serde_norway::from_str(&text).map_err(|error| failed(error.into()))?;
        let read = ReadPolicy::of(&value).map_err(|error| failed(error.into()))?;
        if !read.unknown.is_empty() {
            let path = policy.display();
            tracing::warn!(%path, fields = read.unknown.join(", "), "the audit policy has fields that are not known");
        }
        Ok(Self { policy: read.policy, log: None, webhook: None })
    }
}
