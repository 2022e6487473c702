//! The Kubernetes REST API (`docs/reference/using-api/api-concepts`): thin, every decision is the registry's.

pub(crate) mod body; // what was sent
mod deadline; // how long it may take
mod discovery; // what is served here
mod dispatch; // which path, which verb
mod lists; // many objects in one answer
mod metrics; // what nodes and pods use
mod negotiate; // in which form the answer is wanted
mod openapi; // its documents
mod options; // query parameters
mod path; // what a path names
mod respond; // the answer
mod stream; // watches
mod verbs; // get, list, create, update, patch, delete

#[cfg(test)]
mod chance; // texts by chance

pub(crate) use deadline::limit as time_limit;
pub(crate) use negotiate::Cbor;
pub(crate) use path::{percent_bytes, percent_decode};

use crate::app::App;
use crate::status::Status;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use respond::Style;
use std::sync::Arc;

/// Serves every path that is not gRPC.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new().fallback(handle).with_state(app)
}

/// What is answered in place of an answer that came to no end.
pub(crate) fn broken() -> Response {
    respond::json_value(StatusCode::INTERNAL_SERVER_ERROR, &Status::internal("the answer broke off").value())
}

/// A refusal of a request that no handler has seen.
pub(crate) fn refusal(request: &Request, status: &Status) -> Response {
    respond::failure(Style::of_refusal(request.headers(), request.uri(), request.extensions()), status)
}

async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let style = Style::of_refusal(request.headers(), request.uri(), request.extensions());
    let failed = dispatch::answer(&app, request).await;
    failed.unwrap_or_else(|status| {
        if status.code.is_server_error() {
            tracing::warn!(code = status.code.as_u16(), message = status.message, "request failed");
        }
        respond::failure(style, &status)
    })
}
