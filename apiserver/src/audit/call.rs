//! A call over gRPC is recorded as a request for the resource that its message names, which is known only when the message has been read;
//! one whose message names nothing is recorded by its path.

use super::door::{Visit, answered};
use super::record::Record;
use crate::status::Status;
use axum::response::Response;
use skiff_audit::Attributes;
use skiff_client::Identity;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A call that may be recorded.
pub(crate) struct Call {
    /// Until it has begun: what is known of it, who asks, and as whom.
    waiting: Mutex<Option<(Visit, Identity, Option<Identity>)>>,
    record: OnceLock<Arc<Record>>,
}

impl Call {
    pub(crate) fn new(visit: Visit, who: Identity, acting: Identity) -> Arc<Self> {
        let acting = (acting != who).then_some(acting);
        Arc::new(Self { waiting: Mutex::new(Some((visit, who, acting))), record: OnceLock::new() })
    }

    /// The record, if there is one by now.
    pub(crate) fn record(&self) -> Option<&Arc<Record>> {
        self.record.get()
    }

    /// Begins the record of a call that asks for `attributes`; nothing: by its path.
    ///
    /// # Errors
    /// It cannot be recorded, and must be.
    pub(crate) async fn begin(&self, attributes: Option<Attributes>) -> Result<Option<&Arc<Record>>, Status> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((visit, who, acting)) = waiting else { return Ok(self.record()) };
        let visit = attributes.into_iter().fold(visit, Visit::about);
        if let Some(record) = visit.known(&who).await? {
            acting.iter().for_each(|acting| record.impersonated(acting));
            self.record.get_or_init(|| record);
        }
        Ok(self.record())
    }

    /// Records the answer.
    pub(crate) async fn answered(&self, response: Response) -> Response {
        match self.begin(None).await {
            Ok(Some(record)) => answered(Arc::clone(record), std::future::ready(response)).await,
            Ok(None) => response,
            Err(status) => crate::grpc::refusal(&status),
        }
    }
}
