//! Where events go: written at once, or through a bounded queue. What is lost on the way is counted and told of, never silently dropped.

use super::counts::Counts;
use super::log::Log;
use super::options::{AuditError, AuditLog, AuditMode};
use skiff_audit::{Event, Fit, fitted};
use std::sync::Arc;
use tokio::sync::mpsc::{self, Sender};

/// A file, and how events come to it.
#[derive(Debug)]
pub(super) struct LogOutlet {
    log: Arc<Log>,
    writer: Arc<Writer>,
    queue: Option<Sender<Event>>,
    strict: bool,
    counts: Arc<Counts>,
}

/// Makes lines of events.
#[derive(Debug)]
struct Writer {
    legacy: bool,
    event_bytes_max: Option<usize>,
    counts: Arc<Counts>,
}

impl LogOutlet {
    pub(super) fn open(options: &AuditLog, counts: Arc<Counts>) -> Result<Self, AuditError> {
        let log = Arc::new(Log::open(&options.path, options.rotation, !options.legacy)?);
        let event_bytes_max = options.limits.map(|limits| limits.event_bytes);
        let writer = Arc::new(Writer { legacy: options.legacy, event_bytes_max, counts: Arc::clone(&counts) });
        let queue = (options.mode == AuditMode::Batch).then(|| {
            let (queue, mut events) = mpsc::channel::<Event>(options.batch.events_max);
            let (log, writer) = (Arc::clone(&log), Arc::clone(&writer));
            std::thread::spawn(move || {
                while let Some(event) = events.blocking_recv() {
                    writer.write(&log, &event);
                }
            });
            queue
        });
        Ok(Self { log, writer, queue, strict: options.mode == AuditMode::BlockingStrict, counts })
    }

    /// Takes an event; how many lines there are with it if it was written, `None` if it was not. Those that must be on disk do not wait in
    /// the queue.
    pub(super) fn put(&self, event: &Event, durable: bool) -> Put {
        match &self.queue {
            Some(queue) if !durable => {
                if queue.try_send(event.clone()).is_err() {
                    self.counts.lost("buffered", "audit buffer queue blocked", &[event]);
                }
                Put::Queued
            }
            _ => self.writer.write(&self.log, event).map_or(Put::Lost, Put::Written),
        }
    }

    /// The same, and waits until it is on disk if it must be; false: it is not kept, and must be.
    pub(super) async fn take(&self, event: &Event, durable: bool) -> bool {
        match self.put(event, durable) {
            Put::Queued => true,
            Put::Lost => !self.strict,
            Put::Written(_) if !durable => true,
            Put::Written(lines) => {
                let log = Arc::clone(&self.log);
                let synced = tokio::task::spawn_blocking(move || log.sync(lines)).await;
                let failed = match synced {
                    Ok(Ok(())) => return true,
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                self.counts.lost("log", &format!("sync: {failed}"), &[event]);
                !self.strict
            }
        }
    }
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It is the so-manieth line.
    Written(u64),
    Queued,
    Lost,
}

impl Writer {
    fn write(&self, log: &Log, event: &Event) -> Option<u64> {
        let line = match self.event_bytes_max {
            _ if self.legacy => event.legacy(),
            None => event.json(),
            Some(bytes_max) => match fitted(event, bytes_max) {
                Fit::Whole(line) | Fit::Truncated(line) => line,
                Fit::TooLarge => {
                    self.counts.lost("truncate", "event is too large even after truncating", &[event]);
                    return None;
                }
            },
        };
        let written = log.append(&line);
        if let Err(error) = &written {
            self.counts.lost("log", &error.to_string(), &[event]);
        }
        written.ok()
    }
}
