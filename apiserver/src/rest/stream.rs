//! Watches: one line of JSON or one frame of Protobuf per event, until the client goes, the time is up or the server stops.

use super::negotiate::{Encoding, Shape};
use super::options::Parameters;
use super::respond::{self, Style, partial, table_options};
use crate::app::App;
use crate::registry::object::Object;
use crate::registry::{Event, Watcher};
use crate::status::Status;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use serde_json::{Value, json};
use skiff_schema::{Resource, TableOptions, protobuf, table};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Content type of events that stand behind their lengths.
const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Serves the watch that `parameters` describe.
pub(super) async fn watch(
    app: &Arc<App>,
    resource: &Arc<Resource>,
    namespace: &str,
    parameters: &Parameters,
    style: Style,
) -> Result<Response, Status> {
    // YAML has no end of a document that a reader could wait for.
    let style = style.of_resource(resource)?;
    if style.form.encoding == Encoding::Yaml {
        return Err(Status::not_acceptable());
    }
    let options = parameters.watch(resource)?;
    let until = Instant::now() + parameters.watch_timeout()?;
    let watcher = app.registry.watch(resource, namespace, options).await?;
    let lines =
        Lines { watcher, resource: Arc::clone(resource), style, until, stopping: app.stopping.clone(), headed: false };
    let chunks = stream::unfold(lines, |mut lines| async move {
        let chunk = lines.next().await?;
        Some((Ok::<Bytes, Infallible>(chunk), lines))
    });
    let content_type = match style.form.encoding {
        Encoding::Protobuf => PROTOBUF_STREAM,
        _ => "application/json",
    };
    Ok(respond::bytes(StatusCode::OK, content_type, Body::from_stream(chunks)))
}

struct Lines {
    watcher: Watcher,
    resource: Arc<Resource>,
    style: Style,
    until: Instant,
    stopping: CancellationToken,
    /// Whether a table has shown its column definitions.
    headed: bool,
}

impl Lines {
    async fn next(&mut self) -> Option<Bytes> {
        let events = tokio::select! {
            biased;
            () = self.stopping.cancelled() => return None,
            events = self.watcher.next() => events?,
            () = sleep_until(self.until) => return None,
        };
        let mut chunk = Vec::with_capacity(1024);
        for event in events {
            if let Err(status) = self.write(&event, &mut chunk) {
                self.write_event(&mut chunk, "ERROR", &status.value());
            }
        }
        Some(chunk.into())
    }

    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Status> {
        match event {
            Event::Object(kind, object) if self.style.form.is_plain_json() => {
                let length = out.len();
                out.extend_from_slice(format!(r#"{{"type":"{}","object":"#, kind.text()).as_bytes());
                if let Err(status) = object.write_json(out) {
                    out.truncate(length);
                    return Err(status);
                }
                out.extend_from_slice(b"}\n");
            }
            Event::Object(kind, object) => {
                let value = self.shape(object)?;
                self.write_event(out, kind.text(), &value);
            }
            Event::Bookmark { revision, initial_end } => {
                self.write_event(out, "BOOKMARK", &self.bookmark(*revision, *initial_end));
            }
            Event::Error(status) => self.write_event(out, "ERROR", &status.value()),
        }
        Ok(())
    }

    fn write_event(&self, out: &mut Vec<u8>, kind: &str, object: &Value) {
        if self.style.form.encoding != Encoding::Protobuf {
            out.extend_from_slice(json!({"type": kind, "object": object}).to_string().as_bytes());
            out.push(b'\n');
            return;
        }
        // What does not fit its schema is an error that is told in its place, and a Status always fits.
        let body = protobuf::from_json(object).map(|body| (kind, body)).or_else(|error| {
            protobuf::from_json(&Status::internal(error.to_string()).value()).map(|body| ("ERROR", body))
        });
        match body {
            Ok((kind, body)) => out.extend(protobuf::event(kind, &body)),
            Err(error) => tracing::error!("write an event of a watch: {error}"),
        }
    }

    fn shape(&mut self, object: &Object) -> Result<Value, Status> {
        let value = object.value()?;
        Ok(match self.style.form.shape {
            Shape::Table(version) => {
                let options = TableOptions { no_headers: self.headed, ..table_options(self.style, version) };
                self.headed = true;
                let metadata = json!({"resourceVersion": object.revision.to_string()});
                table(&self.resource, &[value], &metadata, &options)
            }
            Shape::Metadata(api_version) => partial(api_version, &value),
            Shape::Whole => value,
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
