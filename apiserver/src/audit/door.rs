//! A request passes, and is recorded: at its arrival, when an answer that lasts begins, and at its end. What is answered goes out after it is
//! recorded, so that what must be on disk is there before anybody learns of it.

use super::Auditor;
use super::arrival::Arrival;
use super::record::Record;
use crate::rest;
use crate::status::Status;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use futures::FutureExt;
use http::{HeaderMap, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use serde_json::Value;
use skiff_audit::{Attributes, Level, Stage};
use skiff_client::Identity;
use skiff_schema::{cbor, protobuf};
use std::any::Any;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A request whose sender is known by now, or is refused.
pub(crate) struct Visit {
    arrival: Arrival,
    auditor: Arc<Auditor>,
}

impl Visit {
    /// Looks at `request` before its credentials are taken off it.
    pub(crate) fn begin(auditor: &Arc<Auditor>, request: &Request, audit_id: &str) -> Self {
        Self { arrival: Arrival::of(request, audit_id, super::now()), auditor: Arc::clone(auditor) }
    }

    /// The same about what a message names.
    pub(super) fn about(mut self, attributes: Attributes) -> Self {
        self.arrival.turn_to(attributes);
        self
    }

    /// Records that nobody believes who asks, and passes the refusal on.
    pub(crate) async fn refused(self, response: Response) -> Response {
        let Some(record) = Record::begin(&self.auditor, self.arrival, None) else { return response };
        let response = observed(&record, response).await;
        record.reach(Stage::ResponseStarted).await;
        record.close();
        response
    }

    /// Records that `who` asks; the record if there is to be one.
    ///
    /// # Errors
    /// It cannot be recorded, and must be.
    pub(crate) async fn known(self, who: &Identity) -> Result<Option<Arc<Record>>, Status> {
        let Some(record) = Record::begin(&self.auditor, self.arrival, Some(who)) else { return Ok(None) };
        if record.reach(Stage::RequestReceived).await {
            return Ok(Some(record));
        }
        record.rejected();
        Err(Status::internal("failed to store audit event"))
    }
}

/// Lets `answer` come and records it.
pub(crate) async fn answered(record: Arc<Record>, answer: impl Future<Output = Response>) -> Response {
    let response = match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => observed(&record, response).await,
        Err(panic) => {
            record.panicked(format!("APIServer panic'd: {}", said(&*panic))).await;
            resume_unwind(panic)
        }
    };
    if !record.lasting {
        record.reach(Stage::ResponseComplete).await;
        return response;
    }
    record.reach(Stage::ResponseStarted).await;
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, Body::new(Held { body, _record: record }))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for a reason that is no text")
}

/// Tells `record` what `response` says, which is read for that if it must be.
async fn observed(record: &Record, response: Response) -> Response {
    let code = response.status();
    if let Some(status) = of_call(response.headers()) {
        let code = status["code"].as_u64().and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
        record.answered(code.unwrap_or(StatusCode::OK), code.is_some().then_some(&status), None);
        return response;
    }
    let objects = record.wants(Level::RequestResponse) && code.as_u16() != 101;
    let ends = response.body().size_hint().exact().is_some() || !record.lasting;
    // A Status is told of whatever the level is: refusals are ones, and some successes. Other answers that have no length are lists.
    let may_be_status = code.is_client_error() || code.is_server_error() || record.ends_with_status;
    if !ends || !(objects || may_be_status) {
        record.answered(code, None, None);
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(read) = body.collect().await else {
        record.answered(StatusCode::INTERNAL_SERVER_ERROR, None, None);
        return rest::broken();
    };
    let bytes = read.to_bytes();
    let value = object(&parts.headers, &bytes);
    let status = value.as_ref().filter(|value| value["kind"] == "Status");
    let text = value.as_ref().filter(|_| objects).map(|value| record.written(value.clone()));
    record.answered(code, status, text);
    Response::from_parts(parts, Body::from(bytes))
}

/// The Status that a call over gRPC was refused with; null: none that is said so. Nothing: it is no answer to a call.
fn of_call(headers: &HeaderMap) -> Option<Value> {
    let is_call =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let said = headers.get("status-json-bin").and_then(|said| BASE64_STANDARD_NO_PAD.decode(said.as_bytes()).ok());
    is_call.then(|| said.and_then(|said| serde_json::from_slice(&said).ok()).unwrap_or_default())
}

/// The object that an answer is, whatever its form.
fn object(headers: &HeaderMap, bytes: &[u8]) -> Option<Value> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let value: Value = match kind {
        "application/json" => serde_json::from_slice(bytes).ok()?,
        "application/yaml" => serde_norway::from_slice(bytes).ok()?,
        protobuf::CONTENT_TYPE => protobuf::to_json(bytes).ok()?,
        cbor::CONTENT_TYPE => cbor::to_json(bytes).ok()?,
        _ => return None,
    };
    (value["kind"].is_string() && value["apiVersion"].is_string()).then_some(value)
}

/// A body that holds the record of its request until it ends.
struct Held {
    body: Body,
    _record: Arc<Record>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
