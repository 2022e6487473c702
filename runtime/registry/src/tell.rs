//! Tells what happened: a file that records each call, and webhooks, which are asked to take each event a few times.

use crate::config::Webhook;
use crate::disk::private;
use crate::error::{On, StorageError};
use crate::happened::Happened;
use crate::scan::Scanned;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Events that wait for webhooks. More are dropped, with a line in the log: nobody's push waits for them.
const WAITING_MAX: usize = 1024;
/// How often a webhook is asked.
const TRIES: u32 = 4;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of its answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Who is told.
#[derive(Default)]
pub struct Listeners {
    record: Option<Mutex<File>>,
    events: Option<mpsc::Sender<(&'static str, Bytes)>>,
}

/// Opens the file of records, to append to.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn record(path: &Path) -> Result<Mutex<File>, StorageError> {
    private().append(true).create(true).open(path).map(Mutex::new).on("open", path)
}

impl Listeners {
    /// Records into `path`, and tells `webhooks` from a task of their own.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn new(path: Option<&Path>, webhooks: Vec<Webhook>) -> Result<Self, StorageError> {
        let record = path.map(record).transpose()?;
        let events = (!webhooks.is_empty()).then(|| {
            let (send, receive) = mpsc::channel(WAITING_MAX);
            tokio::spawn(deliver_all(webhooks, receive));
            send
        });
        Ok(Self { record, events })
    }

    pub(crate) fn tell(&self, happened: &Happened) {
        if self.record.is_none() && self.events.is_none() {
            return;
        }
        let at = jiff::Timestamp::now().to_string();
        if let Some(record) = &self.record {
            let line = format!("{}\n", happened.record(&at));
            let written = record.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
            if let Err(error) = written {
                tracing::error!(%error, "a call could not be recorded");
            }
        }
        if let (Some(events), Some(event)) = (&self.events, happened.event()) {
            send(events, event, &happened.cloud_event(event, &Uuid::new_v4().to_string(), &at));
        }
    }

    /// Tells that findings of an image are others than before: how many, and not which, which the registry answers who may ask.
    pub(crate) fn tell_scan(&self, scanned: &Scanned) {
        let (repository, digest, counts) =
            (scanned.repository.as_str(), scanned.digest.as_str(), &scanned.report.counts);
        let found: usize = counts.values().sum();
        tracing::info!(repository, digest, found, "scanned");
        let Some(events) = &self.events else { return };
        let event = json!({
            "specversion": "1.0", "id": Uuid::new_v4().to_string(), "source": "/skiff/registry", "type": "dev.skiff.registry.scan",
            "time": jiff::Timestamp::now().to_string(), "subject": format!("{repository}@{digest}"), "datacontenttype": "application/json",
            "data": {"repository": repository, "digest": digest, "counts": counts, "databaseRevision": scanned.database_revision},
        });
        send(events, "scan", &event);
    }
}

fn send(events: &mpsc::Sender<(&'static str, Bytes)>, event: &'static str, body: &Value) {
    if events.try_send((event, body.to_string().into())).is_err() {
        tracing::warn!(event, "webhooks are too slow, and an event is dropped");
    }
}

async fn deliver_all(webhooks: Vec<Webhook>, mut events: mpsc::Receiver<(&'static str, Bytes)>) {
    while let Some((event, body)) = events.recv().await {
        let wants = |webhook: &&Webhook| webhook.events.is_empty() || webhook.events.iter().any(|one| one == event);
        for webhook in webhooks.iter().filter(wants) {
            deliver(webhook, &body).await;
        }
    }
}

async fn deliver(webhook: &Webhook, body: &Bytes) {
    for attempt in 1..=TRIES {
        let reason = match tokio::time::timeout(PATIENCE, post(&webhook.url, body.clone())).await {
            Ok(Ok(status)) if status.is_success() => return,
            // It has read the event and does not want it.
            Ok(Ok(status)) if status.is_client_error() => {
                return tracing::warn!(url = webhook.url, %status, "a webhook refuses an event");
            }
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(reason)) => reason,
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(url = webhook.url, attempt, reason, "tell a webhook");
        tokio::time::sleep(Duration::from_millis(250) * 4u32.pow(attempt - 1)).await;
    }
}

async fn post(url: &str, body: Bytes) -> Result<http::StatusCode, String> {
    let uri: http::Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let authority = uri.authority().ok_or("the URL has no host")?.clone();
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = http::Request::post(path)
        .header("host", authority.as_str())
        .header("content-type", "application/cloudevents+json; charset=utf-8")
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let _only_the_status_counts = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    connection.abort();
    Ok(status)
}
