//! The audit log: which requests are recorded, what is known of each, and where it is written. `skiff-audit` decides and words; here
//! requests pass and files are written.
//!
//! ```text
//!  arrival ──► who asks ──policy──► Record ──► Metadata, objects, annotations ──► outlets: file, webhook
//! ```
//!
//! Without a policy nobody is recorded, and a request passes by one look at an empty place.

mod arrival; // what is known before anybody is asked
mod call; // a call over gRPC
mod counts; // what becomes of events
mod door; // a request passes
mod log; // the file
mod options; // what is recorded, and where
mod outlet; // at once, or through a queue
mod record; // what is known of one request
mod rotation; // old files
mod webhook; // a server of others

pub use options::{Audit, AuditBatch, AuditError, AuditLimits, AuditLog, AuditMode, AuditWebhook, Rotation};

pub(crate) use call::Call;
pub(crate) use door::{Visit, answered};
pub(crate) use record::Record;

use counts::Counts;
use http::Extensions;
use jiff::Timestamp;
use outlet::LogOutlet;
use skiff_audit::{Event, Policy};
use std::sync::Arc;
use webhook::WebhookOutlet;

/// Who records.
#[derive(Debug)]
pub(crate) struct Auditor {
    policy: Policy,
    log: Option<LogOutlet>,
    webhook: Option<WebhookOutlet>,
    counts: Arc<Counts>,
}

impl Auditor {
    /// Opens what `options` name; nobody if they name nothing.
    pub(crate) async fn open(options: &Audit) -> Result<Option<Arc<Self>>, AuditError> {
        let counts = Arc::new(Counts::default());
        let log = options.log.as_ref().map(|log| LogOutlet::open(log, Arc::clone(&counts))).transpose()?;
        let webhook = match &options.webhook {
            Some(webhook) => Some(WebhookOutlet::open(webhook, Arc::clone(&counts)).await?),
            None => None,
        };
        let is_heard = log.is_some() || webhook.is_some();
        Ok(is_heard.then(|| Arc::new(Self { policy: options.policy.clone(), log, webhook, counts })))
    }

    /// What became of all events, for Prometheus.
    pub(crate) fn metrics(&self) -> String {
        self.counts.metrics()
    }

    /// Takes an event everywhere; false: it is not kept somewhere where it must be.
    async fn process(&self, event: &Event, durable: bool) -> bool {
        self.counts.event();
        let written = match &self.log {
            Some(log) => log.take(event, durable).await,
            None => true,
        };
        let sent = match &self.webhook {
            Some(webhook) => Box::pin(webhook.take(event)).await,
            None => true,
        };
        written && sent
    }

    /// The same for somebody who cannot wait.
    fn process_later(self: &Arc<Self>, event: Event) {
        self.counts.event();
        if let Some(log) = &self.log {
            log.put(&event, false);
        }
        if let Some(webhook) = &self.webhook {
            webhook.take_later(event);
        }
    }
}

/// The record of the request with these extensions; `None`: it is not recorded.
pub(crate) fn of(extensions: &Extensions) -> Option<&Arc<Record>> {
    extensions.get::<Arc<Record>>().or_else(|| extensions.get::<Arc<Call>>()?.record())
}

/// Microseconds since 1970.
fn now() -> i64 {
    Timestamp::now().as_microsecond()
}
