//! What a component that runs alone counts: `/metrics` and `/healthz` at an address of its own.

use anyhow::Context;
use axum::routing::get;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves the figures of this process from now on, if an address is named.
///
/// # Errors
/// Nothing can listen there.
pub(super) async fn serve(at: Option<SocketAddr>, stop: &CancellationToken) -> anyhow::Result<()> {
    let Some(address) = at else { return Ok(()) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("--metrics-listen {address}"))?;
    let figures = || async { ([("content-type", "text/plain; version=0.0.4")], skiff_client::figures()) };
    let router = axum::Router::new().route("/metrics", get(figures)).route("/healthz", get(async || "ok"));
    let stop = stop.clone().cancelled_owned();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
            tracing::error!(error = skiff_client::sentence(&error), "serve figures");
        }
    });
    Ok(())
}
