//! The gRPC side: requests in, the node's operations, answers out; nothing is decided here.

mod images; // ImageService
mod runtime; // RuntimeService

pub(crate) use images::ImageServer;
pub(crate) use runtime::RuntimeServer;

use crate::error::CriError;
use std::collections::HashMap;
use tonic::{Response, Status};

/// What every call returns.
type Answer<T> = Result<Response<T>, Status>;

/// Runs an operation to its end even if the caller goes away: half of it would leak.
async fn to_the_end<T: Send + 'static>(
    operation: impl Future<Output = Result<T, CriError>> + Send + 'static,
) -> Result<T, Status> {
    match tokio::spawn(operation).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Status::internal(format!("the operation ended: {error}"))),
    }
}

/// What a removal or stop of something absent is: done.
fn absent_is_fine<T>(found: Result<T, CriError>) -> Result<Option<T>, CriError> {
    match found {
        Ok(object) => Ok(Some(object)),
        Err(CriError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether all selected labels are there.
fn has_labels(labels: &HashMap<String, String>, selector: &HashMap<String, String>) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The answer to calls that Skiff does not have.
fn unimplemented<T>(what: &str) -> Result<T, Status> {
    Err(CriError::Unimplemented(what.to_owned()).into())
}
