//! Watches: one line of JSON, one frame of Protobuf or one item of CBOR per event, until the client goes, the time is up or the server stops.

use super::negotiate::{Encoding, Shape};
use super::options::Parameters;
use super::respond::{self, Style, partial, table_options};
use crate::app::App;
use crate::registry::{Event, EventKind, FormNumber, Shared, Watcher};
use crate::request::Request;
use crate::status::Status;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use serde_json::{Value, json};
use skiff_schema::protobuf::ProtobufError;
use skiff_schema::{Resource, TableOptions, cbor, protobuf, table};
use std::convert::Infallible;
use std::pin::Pin;
use std::slice;
use std::sync::Arc;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Content type of events that stand behind their lengths.
const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Serves the watch that `parameters` describe.
pub(super) async fn watch(
    app: &Arc<App>,
    asked: &Request,
    parameters: &Parameters,
    style: Style,
) -> Result<Response, Status> {
    let resource = &asked.resource;
    // YAML has no end of a document that a reader could wait for.
    let style = style.of_resource(resource)?;
    if style.form.encoding == Encoding::Yaml {
        return Err(Status::not_acceptable());
    }
    let options = parameters.watch(resource)?;
    let until = Instant::now() + parameters.watch_timeout()?;
    let watcher = app.registry.watch(resource, &asked.namespace, options).await?;
    let (stopping, stopped) = (app.stopping.clone(), Box::pin(app.stopping.clone().cancelled_owned()));
    let (resource, until) = (Arc::clone(resource), Box::pin(sleep_until(until)));
    let lines = Lines { watcher, resource, style, until, stopping, stopped, headed: false };
    let chunks = stream::unfold(lines, |mut lines| async move {
        let chunk = lines.next().await?;
        Some((Ok::<Bytes, Infallible>(chunk), lines))
    });
    let content_type = match style.form.encoding {
        Encoding::Protobuf => PROTOBUF_STREAM,
        Encoding::Cbor => cbor::SEQUENCE,
        _ => "application/json",
    };
    Ok(respond::bytes(StatusCode::OK, content_type, Body::from_stream(chunks)))
}

struct Lines {
    watcher: Watcher,
    resource: Arc<Resource>,
    style: Style,
    // Kept from one event to the next: to wait for them anew would cost more than the event.
    until: Pin<Box<Sleep>>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    stopping: CancellationToken,
    /// Whether a table has shown its column definitions.
    headed: bool,
}

impl Lines {
    async fn next(&mut self) -> Option<Bytes> {
        if self.stopping.is_cancelled() {
            return None;
        }
        let events = tokio::select! {
            biased;
            events = self.watcher.next() => events?,
            () = &mut self.stopped => return None,
            () = &mut self.until => return None,
        };
        let mut lines = Vec::with_capacity(events.len());
        for event in events {
            lines.push(self.line(&event).unwrap_or_else(|status| self.event("ERROR", &status.value())));
        }
        // One line, which everybody gets, goes out as it is.
        Some(if lines.len() == 1 { lines.remove(0) } else { lines.concat().into() })
    }

    fn line(&mut self, event: &Event) -> Result<Bytes, Status> {
        match event {
            Event::Object(kind, object) => {
                let line = object.written(self.form(*kind), || self.object(*kind, object));
                self.headed = true;
                line
            }
            Event::Bookmark { revision, initial_end } => {
                Ok(self.event("BOOKMARK", &self.bookmark(*revision, *initial_end)))
            }
            Event::Error(status) => Ok(self.event("ERROR", &status.value())),
        }
    }

    /// Equal for lines that are equal.
    fn form(&self, kind: EventKind) -> FormNumber {
        let shape = match self.style.form.shape {
            Shape::Whole => 0,
            Shape::Metadata("meta.k8s.io/v1") => 1,
            Shape::Metadata(_) => 2,
            Shape::Table(version) => {
                3 | (version as u32) << 2 | (self.style.include_object as u32) << 4 | u32::from(self.headed) << 6
            }
        };
        FormNumber(kind as u32 | (self.style.form.encoding as u32) << 2 | shape << 4)
    }

    fn object(&self, kind: EventKind, object: &Shared) -> Result<Bytes, Status> {
        if !self.style.form.is_plain_json() {
            return Ok(self.event(kind.text(), &self.shape(object)?));
        }
        let mut line = Vec::with_capacity(object.object().stored.len() + 128);
        line.extend_from_slice(format!(r#"{{"type":"{}","object":"#, kind.text()).as_bytes());
        object.object().write_json(&mut line)?;
        line.extend_from_slice(b"}\n");
        Ok(line.into())
    }

    fn event(&self, kind: &str, object: &Value) -> Bytes {
        let framed: Result<Vec<u8>, String> = match self.style.form.encoding {
            Encoding::Json | Encoding::Yaml => {
                let mut line = json!({"type": kind, "object": object}).to_string();
                line.push('\n');
                Ok(line.into_bytes())
            }
            Encoding::Cbor => {
                cbor::from_json(object).and_then(|body| cbor::event(kind, &body)).map_err(|error| error.to_string())
            }
            // What does not fit its schema is an error that is told in its place, and a Status always fits.
            Encoding::Protobuf => protobuf::from_json(object)
                .map(|body| protobuf::event(kind, &body))
                .or_else(|error| {
                    let body = protobuf::from_json(&Status::internal(error.to_string()).value())?;
                    Ok(protobuf::event("ERROR", &body))
                })
                .map_err(|error: ProtobufError| error.to_string()),
        };
        match framed {
            Ok(event) => event.into(),
            Err(error) => {
                tracing::error!("write an event of a watch: {error}");
                Bytes::new()
            }
        }
    }

    fn shape(&self, object: &Shared) -> Result<Value, Status> {
        let value = object.value()?;
        Ok(match self.style.form.shape {
            Shape::Table(version) => {
                let options = TableOptions { no_headers: self.headed, ..table_options(self.style, version) };
                let metadata = json!({"resourceVersion": object.object().revision.to_string()});
                table(&self.resource, slice::from_ref(value), &metadata, &options)
            }
            Shape::Metadata(api_version) => partial(api_version, value),
            Shape::Whole => value.clone(),
        })
    }

    fn bookmark(&self, revision: i64, initial_end: bool) -> Value {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        match self.style.form.shape {
            Shape::Metadata(api_version) => partial(api_version, &json!({ "metadata": metadata })),
            Shape::Table(_) => json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                "columnDefinitions": [], "rows": []}),
            Shape::Whole => self.resource.bookmark(&metadata),
        }
    }
}
