//! The access log: a line of JSON for each request, written by a task of its own, so that a slow disk holds up nobody. Lines for which there is no room
//! are counted and lost.

use crate::metrics::Metrics;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// How many lines may wait: some 300 bytes each, so about 2.5 MiB.
const WAITING_MAX: usize = 8192;
/// How many are written at once.
const AT_ONCE: usize = 256;

/// Where lines go.
#[derive(Clone)]
pub(crate) struct AccessLog(Option<mpsc::Sender<String>>);

impl AccessLog {
    /// No log.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Appends to a file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) async fn open(path: &Path) -> std::io::Result<Self> {
        let mut file = OpenOptions::new().append(true).create(true).open(path).await?;
        let (sender, mut lines) = mpsc::channel::<String>(WAITING_MAX);
        let shown = path.display().to_string();
        tokio::spawn(async move {
            let mut waiting = Vec::with_capacity(AT_ONCE);
            while lines.recv_many(&mut waiting, AT_ONCE).await > 0 {
                let text = waiting.concat();
                waiting.clear();
                let written = match file.write_all(text.as_bytes()).await {
                    Ok(()) => file.flush().await,
                    failed => failed,
                };
                if let Err(error) = written {
                    tracing::warn!(error = skiff_client::sentence(&error), "write the access log {shown}");
                }
            }
        });
        Ok(Self(Some(sender)))
    }

    /// Whether anybody reads lines.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes a line, without waiting.
    pub(crate) fn write(&self, line: String, metrics: &Arc<Metrics>) {
        if self.0.as_ref().is_some_and(|sender| sender.try_send(line).is_err()) {
            metrics.log_lines_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
