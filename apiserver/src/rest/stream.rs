//! Watches: one line of JSON per event, until the client goes, the time is up or the server stops.

use super::negotiate::Form;
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
use skiff_schema::{Resource, TableOptions, table};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Serves the watch that `parameters` describe.
pub(super) async fn watch(
    app: &Arc<App>,
    resource: &'static Resource,
    namespace: &str,
    parameters: &Parameters,
    style: Style,
) -> Result<Response, Status> {
    // YAML has no end of a document that a reader could wait for.
    if style.form == Form::Yaml {
        return Err(Status::not_acceptable());
    }
    let options = parameters.watch(resource)?;
    let until = Instant::now() + parameters.watch_timeout()?;
    let watcher = app.registry.watch(resource, namespace, options).await?;
    let lines = Lines { watcher, resource, style, until, stopping: app.stopping.clone(), headed: false };
    let chunks = stream::unfold(lines, |mut lines| async move {
        let chunk = lines.next().await?;
        Some((Ok::<Bytes, Infallible>(chunk), lines))
    });
    Ok(respond::bytes(StatusCode::OK, "application/json", Body::from_stream(chunks)))
}

struct Lines {
    watcher: Watcher,
    resource: &'static Resource,
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
                write_line(&mut chunk, "ERROR", &status.value());
            }
        }
        Some(chunk.into())
    }

    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Status> {
        match event {
            Event::Object(kind, object) if self.style.form == Form::Json => {
                let length = out.len();
                out.extend_from_slice(format!(r#"{{"type":"{}","object":"#, kind.text()).as_bytes());
                if let Err(status) = object.write_json(out) {
                    out.truncate(length);
                    return Err(status);
                }
                out.extend_from_slice(b"}\n");
            }
            Event::Object(kind, object) => write_line(out, kind.text(), &self.shape(object)?),
            Event::Bookmark { revision, initial_end } => {
                write_line(out, "BOOKMARK", &self.bookmark(*revision, *initial_end));
            }
            Event::Error(status) => write_line(out, "ERROR", &status.value()),
        }
        Ok(())
    }

    fn shape(&mut self, object: &Object) -> Result<Value, Status> {
        let value = object.value()?;
        Ok(match self.style.form {
            Form::Table(version) => {
                let options = TableOptions { no_headers: self.headed, ..table_options(self.style, version) };
                self.headed = true;
                let metadata = json!({"resourceVersion": object.revision.to_string()});
                table(self.resource, &[value], &metadata, &options)
            }
            Form::Metadata(api_version) => partial(api_version, &value),
            Form::Json | Form::Yaml => value,
        })
    }

    fn bookmark(&self, revision: i64, initial_end: bool) -> Value {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let api_version = self.resource.api_version();
        match self.style.form {
            Form::Metadata(api_version) => partial(api_version, &json!({ "metadata": metadata })),
            Form::Table(_) => json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                "columnDefinitions": [], "rows": []}),
            Form::Json | Form::Yaml => bookmark_object(self.resource, &api_version, &metadata),
        }
    }
}

/// Typed clients decode a bookmark as the object it stands for, so its required parts must be there, empty.
fn bookmark_object(resource: &Resource, api_version: &str, metadata: &Value) -> Value {
    let mut object = json!({"kind": resource.kind, "apiVersion": api_version, "metadata": metadata});
    match resource.plural {
        "endpointslices" => (object["addressType"], object["endpoints"]) = ("".into(), json!([])),
        "events" => object["involvedObject"] = json!({}),
        _ => {}
    }
    object
}

fn write_line(out: &mut Vec<u8>, kind: &str, object: &Value) {
    out.extend_from_slice(json!({"type": kind, "object": object}).to_string().as_bytes());
    out.push(b'\n');
}
